//! [SoftmaxCrossEntropyLoss](https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html), versions 12,
//! 13: the negative log-likelihood of what a softmax over the classes makes of scores.
//!
//! Inputs: scores `[n, c, d…]`, labels `[n, d…]`, and optionally a weight for each class. Outputs: the loss,
//! and the logarithm of the softmax.

use super::Loss;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::error::Result;
use crate::kernels::{Lowering, softmax};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "SoftmaxCrossEntropyLoss", since: 12, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxCrossEntropyLoss(Loss);

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    Ok(Arc::new(SoftmaxCrossEntropyLoss(Loss::parse(node)?)))
}

/// `x − ln Σ exp(x)` over the classes of `[n, c, d…]`.
fn log_softmax(scores: &[f64], shape: &[usize]) -> Result<Vec<f64>> {
    let (classes, inner) = (shape[1], shape[2..].iter().product::<usize>());
    let mut logarithms: Vec<f64> = zeros(scores.len())?;
    for sample in 0..shape[0] * inner {
        let at = |class: usize| (sample / inner * classes + class) * inner + sample % inner;
        let high = (0..classes).map(|class| scores[at(class)]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..classes).map(|class| (scores[at(class)] - high).exp()).sum();
        for class in 0..classes {
            logarithms[at(class)] = scores[at(class)] - high - sum.ln();
        }
    }
    Ok(logarithms)
}

impl SoftmaxCrossEntropyLoss {
    /// What it makes of logarithms.
    pub fn loss(&self) -> &Loss {
        &self.0
    }
}

impl Operator for SoftmaxCrossEntropyLoss {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let scores = inputs.required(0)?;
        Ok(vec![self.0.infer(inputs)?, Fact::new(scores.dtype, scores.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let logarithms = log_softmax(&x.to_f64s()?, x.shape())?;
        let loss = self.0.of(&logarithms, x.shape(), inputs.required(1)?, inputs.optional(2))?;
        let logarithms = Tensor::new(x.shape(), logarithms)?;
        Ok(vec![cast(&loss, x.dtype(), true)?, cast(&logarithms, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Loss { softmax: true }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        inputs.optional(0).map_or(0, |scores| 5 * scores.count() as u64)
    }
}

impl Lower for SoftmaxCrossEntropyLoss {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let fact = at.fact(0)?.clone();
        let scores = at.input(0, Layout::Rows4)?;
        let logarithms = if at.has_output(1) {
            at.output(1, Layout::Rows4)?
        } else {
            at.scratch(&Fact::new(fact.dtype, fact.shape), Layout::Rows4)?
        };
        softmax::run(at, storage, &scores, &logarithms, Layout::Rows4, 1, true)?;
        self.0.lower(at, logarithms, storage)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[5, 3]), Indices(&[5], &[0, 2, 1, 1, 0])]).outputs(2),
    case(
        &[("reduction", Text("none"))],
        &[Range(&[2, 3, 2, 2], -20.0, 20.0), Indices(&[2, 2, 2], &[0, 2, 1, 1, 0, 2, 2, 0])],
    )
    .outputs(2),
    case(
        &[("reduction", Text("sum"))],
        &[Floats(&[2, 4, 3]), Indices(&[2, 3], &[3, 2, 1, 0, 0, 2]), Range(&[4], 0.2, 2.0)],
    ),
    case(
        &[("ignore_index", Int(7))],
        &[Floats(&[2, 4, 3]), Indices(&[2, 3], &[3, 7, 1, 0, 7, 2]), Range(&[4], 0.2, 2.0)],
    )
    .at(12),
    case(
        &[("reduction", Text("none")), ("ignore_index", Int(-1))],
        &[Floats(&[2, 5, 3, 1]), Indices(&[2, 3, 1], &[4, -1, 2, 0, 1, -1]), Floats(&[5])],
    )
    .outputs(2),
    case(&[], &[Floats(&[70, 9]), Typed(DType::I32, &[70], &[3.0; 70])]).outputs(2),
    case(&[], &[Floats(&[3, 5002]), Indices(&[3], &[5001, 0, 77])]),
    case(&[("reduction", Text("sum"))], &[Floats(&[1, 1]), Indices(&[1], &[0])]).outputs(2),
];
