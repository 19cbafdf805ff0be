//! What kernels tell of a run: an index that lies outside its axis can't be known when a plan is made.
//!
//! A run has a few words on the device, the *status*. A kernel that meets such an index keeps within its
//! buffers and writes the number of its [`Report`] there, the first one winning; the words are read back with
//! the outputs, and the run is then an error.

use super::Plan;
use crate::error::Error;
use crate::tensor::index::outside;

/// Bytes of the status: the report's number (0: nothing happened), which index of a tuple it was, the index
/// as two words, low first.
pub const STATUS_BYTES: u64 = 16;

/// What a number in the status means: one index tensor of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub node: String,
    pub op_type: String,
    /// The name of the tensor that holds the indices.
    pub tensor: String,
    /// The data's axis that the first index of a tuple walks; the others walk those that follow.
    pub axis: usize,
    /// The sizes of these axes.
    pub sizes: Vec<usize>,
    /// Whether negative indices count from the end.
    pub from_end: bool,
}

impl Plan {
    /// The error that a status tells of, if it does.
    pub fn told(&self, status: [u32; 4]) -> Option<Error> {
        let [number, entry, low, high] = status;
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        let Some(report) = self.reports.get(at) else {
            return Some(Error::internal(format!("a kernel told of {number}, which means nothing")));
        };
        let entry = (entry as usize).min(report.sizes.len().saturating_sub(1));
        let size = report.sizes.get(entry).copied().unwrap_or(0);
        let index = (u64::from(low) | u64::from(high) << 32) as i64;
        Some(
            outside(index, (report.axis + entry, size), report.from_end)
                .at_node(&report.node)
                .at_operator(&report.op_type)
                .at_tensor(&report.tensor),
        )
    }
}
