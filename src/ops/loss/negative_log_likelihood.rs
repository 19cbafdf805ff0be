//! [NegativeLogLikelihoodLoss](https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html), versions
//! 12, 13, 22: minus the logarithmic probability of each sample's class, weighted.
//!
//! Inputs: logarithmic probabilities `[n, c, d…]`, labels `[n, d…]`, and optionally a weight for each class.
//!
//! A mean over no samples, or over none that counts, is 0 / 0, which is NaN: what ONNX's function body and
//! reference evaluator give. onnxruntime gives 0.

use super::Loss;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::Result;
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef =
    OpDef { domain: "", name: "NegativeLogLikelihoodLoss", since: 12, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct NegativeLogLikelihoodLoss(Loss);

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    Ok(Arc::new(NegativeLogLikelihoodLoss(Loss::parse(node)?)))
}

impl NegativeLogLikelihoodLoss {
    /// What it makes of logarithms.
    pub fn loss(&self) -> &Loss {
        &self.0
    }
}

impl Operator for NegativeLogLikelihoodLoss {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(vec![self.0.infer(inputs)?])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let loss = self.0.of(&x.to_f64s()?, x.shape(), inputs.required(1)?, inputs.optional(2))?;
        Ok(vec![cast(&loss, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Loss { softmax: false }
    }
}

impl Lower for NegativeLogLikelihoodLoss {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let view = at.view(0)?;
        self.0.lower(at, view, storage)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[5, 3]), Indices(&[5], &[0, 2, 1, 1, 0])]),
    case(
        &[("reduction", Text("none"))],
        &[Floats(&[2, 3, 2, 2]), Indices(&[2, 2, 2], &[0, 2, 1, 1, 0, 2, 2, 0])],
    ),
    case(
        &[("reduction", Text("sum"))],
        &[Floats(&[2, 4, 3]), Indices(&[2, 3], &[3, 2, 1, 0, 0, 2]), Range(&[4], 0.2, 2.0)],
    ),
    case(
        &[("ignore_index", Int(-5))],
        &[Floats(&[2, 4, 3]), Indices(&[2, 3], &[3, -5, 1, 0, -5, 2]), Range(&[4], 0.2, 2.0)],
    ),
    case(
        &[("ignore_index", Int(1)), ("reduction", Text("none"))],
        &[Floats(&[3, 2, 1]), Indices(&[3, 1], &[1, 0, 1])],
    )
    .at(12),
    // Labels of int32; none that counts; no samples; more than a run.
    case(&[], &[Floats(&[3, 5]), Typed(DType::I32, &[3], &[4.0, 0.0, 2.0]), Floats(&[5])]),
    case(&[("ignore_index", Int(0))], &[Floats(&[2, 3, 2]), Indices(&[2, 2], &[0, 0, 0, 0])]),
    case(&[("reduction", Text("sum"))], &[Floats(&[0, 3]), Indices(&[0], &[])]),
    case(&[], &[Floats(&[0, 3]), Indices(&[0], &[])]),
    case(&[("reduction", Text("none"))], &[Floats(&[0, 3]), Indices(&[0], &[])]).runs("view"),
    case(&[("reduction", Text("none"))], &[Floats(&[1, 1]), Indices(&[1], &[0])]),
    case(
        &[("reduction", Text("sum")), ("ignore_index", Int(i64::MAX))],
        &[
            Floats(&[1, 2, 3, 2, 3]),
            Indices(&[1, 3, 2, 3], &[0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0]),
        ],
    ),
];
