//! Faults in the plans of a session, for tests of the comparison and of the command line.

use super::fault::{Planted, plant};
use crate::session::SessionBuilder;
use std::sync::{Arc, Mutex, PoisonError};

/// Plants a fault in each plan of the sessions that are made with it, and knows which one it was.
#[derive(Debug, Clone)]
pub struct Planter {
    seed: u64,
    last: Arc<Mutex<Option<Planted>>>,
}

impl Planter {
    /// For the fault that this seed draws.
    pub fn new(seed: u64) -> Self {
        Self { seed, last: Arc::default() }
    }
    /// What the fault is drawn by.
    pub fn seed(&self) -> u64 {
        self.seed
    }
    /// The builder of a session whose plans get the fault.
    pub fn applied(&self, builder: SessionBuilder) -> SessionBuilder {
        let planter = self.clone();
        builder.transform_plans(move |plan, inputs| {
            let planted = plant(plan, inputs, planter.seed)?;
            *planter.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(planted);
            Ok(())
        })
    }
    /// What the last plan got.
    pub fn planted(&self) -> Option<Planted> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
