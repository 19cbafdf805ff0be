//! [FlexAttention](https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html), version 1 of
//! ai.onnx.preview: attention over `[batch, heads, rows, d]`, without the functions of scores and weights
//! that it may have as graphs.

use super::attention::Attention;
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::DType;
use std::sync::Arc;

pub const DEF: OpDef =
    OpDef { domain: "ai.onnx.preview", name: "FlexAttention", since: 1, parse, cases: CASES };

/// It is an [`Attention`] of rank 4 without masks.
fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    for name in ["score_mod", "prob_mod"] {
        if let Some(given) = node.get(name) {
            return Err(Error::unsupported(format!("attribute '{name}' is {given}"))
                .remedy("export the model with Attention, or with what the graph does written out"));
        }
    }
    let precision = node.optional_int("softmax_precision")?.map(|number| {
        let known = i32::try_from(number).ok().and_then(DType::from_onnx).filter(|dtype| dtype.is_float());
        known.ok_or_else(|| Error::model("attribute 'softmax_precision' is no float type"))
    });
    Ok(Arc::new(Attention {
        scale: node.optional_float("scale")?,
        precision: precision.transpose()?,
        zero_unseen: false,
        ..Attention::plain()
    }))
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5, 8]), Floats(&[2, 3, 7, 8]), Floats(&[2, 3, 7, 8])]).at(1),
    case(&[("scale", Float(0.3))], &[Floats(&[1, 4, 3, 5]), Floats(&[1, 2, 6, 5]), Floats(&[1, 2, 6, 7])])
        .at(1),
];
