//! (being written)
pub struct Prelude;
