//! The parts of a run by the host's clock: what goes into uploading, enqueueing, computing, reading back.

use crate::device::TimeSpent;
use crate::error::Result;
use crate::graph::ValueId;
use crate::session::{Prepared, Session};
use crate::tensor::Tensor;
use std::collections::HashMap;

/// What each of `runs` runs spent on the device's side; `None` on the CPU. Nothing else may run on the device
/// meanwhile.
///
/// Errors are those of a run.
pub fn time_split(
    session: &Session,
    prepared: &Prepared,
    inputs: &HashMap<ValueId, Tensor>,
    runs: usize,
) -> Result<Option<Vec<TimeSpent>>> {
    let Some(device) = session.gpu() else { return Ok(None) };
    let mut all = vec![];
    for _ in 0..runs {
        let before = device.time_spent();
        session.run_prepared(prepared, inputs)?;
        all.push(device.time_spent() - before);
    }
    Ok(Some(all))
}
