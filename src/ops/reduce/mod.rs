//! Operators that take an axis away.

pub mod arg;
pub mod cum_prod;
pub mod cum_sum;
pub mod order;
#[allow(clippy::module_inception)] // the ten Reduce operators
pub mod reduce;
pub mod top_k;
