//! Elementwise operators: nodes of one expression each ([`crate::expression`]).

pub mod aligned;
pub mod cast_like;
mod node;

pub use node::{DEFS, Elementwise};
