//! Convolutions, pools, normalisations, activations along an axis.

pub mod attention;
pub mod batch_normalization;
pub mod conv;
pub mod conv_transpose;
pub mod global_pool;
pub mod hardmax;
pub mod instance_normalization;
pub mod layer_normalization;
pub mod lp_normalization;
pub mod lrn;
pub mod pool;
pub mod resample;
pub mod resize;
pub mod softmax;
pub mod window;

use crate::error::Result;
use crate::ops::pointwise::Pointwise;
use crate::ops::{Mode, Operands};
use crate::tensor::Tensor;

/// Applies an epilogue on the CPU: operand 0 is the result, the others are the node's extra inputs.
pub fn epilogue(expression: &Pointwise, result: Tensor, extra: Operands<'_, Tensor>, mode: Mode) -> Result<Vec<Tensor>> {
    if expression.is_identity() {
        return Ok(vec![result]);
    }
    let mut operands = vec![&result];
    for index in 0..expression.operands - 1 {
        operands.push(extra.required(index)?);
    }
    Ok(vec![expression.eval(&operands, mode)?])
}
