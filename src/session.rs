//! (being written)
pub struct Session;
