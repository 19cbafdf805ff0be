//! Operators that take an axis away.

#[allow(clippy::module_inception)] // the room of the ten Reduce operators
pub mod reduce;
