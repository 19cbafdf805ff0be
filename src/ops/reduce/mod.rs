//! Operators that take an axis away.

pub mod cum_sum;
#[allow(clippy::module_inception)] // the room of the ten Reduce operators
pub mod reduce;
