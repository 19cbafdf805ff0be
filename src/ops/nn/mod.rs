//! Convolutions, pools, normalisations, activations along an axis.

pub mod attention;
pub mod batch_normalization;
pub mod batch_training;
pub mod causal_conv;
pub mod conv;
pub mod conv_nd;
pub mod conv_transpose;
pub mod flex_attention;
pub mod global_pool;
pub mod hardmax;
pub mod instance_normalization;
pub mod layer_normalization;
pub mod linear_attention;
pub mod lp_normalization;
pub mod lrn;
pub mod max_unpool;
pub mod pool;
pub mod resize;
pub mod rotary_embedding;
pub mod softmax;
pub mod window;

use crate::base::{EvalPrecision, Operands};
use crate::error::Result;
use crate::expression::Pointwise;
use crate::ops::Engine;
use crate::tensor::Tensor;

/// Evaluates an operator of one image `[n, c, h, w]`, and what isn't an image, by its form for channels that
/// lie innermost. `None`: it has none for these inputs.
pub fn through_channels_last(
    op: &dyn Engine,
    inputs: Operands<'_, Tensor>,
    mode: EvalPrecision,
) -> Result<Option<Tensor>> {
    let x = crate::base::channels_last::permuted(inputs.required(0)?, crate::base::channels_last::TO_LAST)?;
    let operands: Vec<Option<&Tensor>> =
        std::iter::once(Some(&x)).chain((1..inputs.len()).map(|index| inputs.optional(index))).collect();
    let result = op
        .run_channels_last(Operands::new(&operands), None, mode)?
        .and_then(|results| results.into_iter().next());
    result
        .map(|result| crate::base::channels_last::permuted(&result, crate::base::channels_last::TO_FIRST))
        .transpose()
}

/// Applies an epilogue on the CPU: operand 0 is the result, the others are the node's extra inputs.
pub fn epilogue(
    expression: &Pointwise,
    result: Tensor,
    extra: Operands<'_, Tensor>,
    mode: EvalPrecision,
) -> Result<Vec<Tensor>> {
    if expression.is_identity() {
        return Ok(vec![result]);
    }
    let mut operands = vec![&result];
    for index in 0..expression.operands - 1 {
        operands.push(extra.required(index)?);
    }
    Ok(vec![expression.eval(&operands, mode)?])
}
