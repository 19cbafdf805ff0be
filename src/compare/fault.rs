//! Faults planted on purpose, for the tests that show that the comparison finds them. (being written)

use crate::error::Result;
use crate::plan::Plan;

/// Plants the fault that a seed draws.
pub fn plant(_plan: &mut Plan, _seed: u64) -> Result<()> {
    Ok(())
}
