//! Faults planted on purpose, for the tests that show that the comparison finds them. (being written)

use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::plan::Plan;
use crate::tensor::Tensor;
use serde::Serialize;
use std::collections::HashMap;

/// A fault that was planted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planted {
    /// The node by whose name the faulty step goes.
    pub node: String,
    pub kind: &'static str,
}

/// Plants the fault that a seed draws.
pub fn plant(_plan: &mut Plan, _inputs: &HashMap<ValueId, Tensor>, _seed: u64) -> Result<Planted> {
    Err(Error::internal("not yet"))
}
