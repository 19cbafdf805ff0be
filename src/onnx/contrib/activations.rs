//! The GELUs: exact, by tanh, by a sigmoid; with a bias before.

use super::{Body, float, text};
use crate::error::Result;

/// Gelu(X).
pub fn gelu(b: &mut Body<'_>) -> Result<()> {
    let y = b.op("Gelu", &[&b.required(0)?]);
    b.give(0, y);
    Ok(())
}

/// Gelu(A + B).
pub fn bias_gelu(b: &mut Body<'_>) -> Result<()> {
    b.required(1)?;
    let sum = b.plus(b.required(0)?, 1);
    let y = b.op("Gelu", &[&sum]);
    b.give(0, y);
    Ok(())
}

/// Gelu(X + bias) by tanh.
pub fn fast_gelu(b: &mut Body<'_>) -> Result<()> {
    let sum = b.plus(b.required(0)?, 1);
    let y = b.with("Gelu", &[&sum], vec![text("approximate", "tanh")]);
    b.give(0, y);
    Ok(())
}

/// X · sigmoid(alpha · X).
pub fn quick_gelu(b: &mut Body<'_>) -> Result<()> {
    let alpha = b.float("alpha", 1.702);
    let y = b.with("Swish", &[&b.required(0)?], vec![float("alpha", alpha)]);
    b.give(0, y);
    Ok(())
}
