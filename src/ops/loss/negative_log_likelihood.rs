//! [NegativeLogLikelihoodLoss](https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html), versions
//! 12, 13, 22: minus the logarithmic probability of each sample's class, weighted.
//!
//! Inputs: logarithmic probabilities `[n, c, d…]`, labels `[n, d…]`, and optionally a weight for each class.

use super::Loss;
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef =
    OpDef { domain: "", name: "NegativeLogLikelihoodLoss", since: 12, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct NegativeLogLikelihoodLoss(Loss);

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    Ok(Arc::new(NegativeLogLikelihoodLoss(Loss::parse(node)?)))
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
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[5, 3]), Indices(&[5], &[0, 2, 1, 1, 0])]).runs("cpu"),
    case(
        &[("reduction", Text("none"))],
        &[Floats(&[2, 3, 2, 2]), Indices(&[2, 2, 2], &[0, 2, 1, 1, 0, 2, 2, 0])],
    )
    .runs("cpu"),
    case(
        &[("reduction", Text("sum"))],
        &[Floats(&[2, 4, 3]), Indices(&[2, 3], &[3, 2, 1, 0, 0, 2]), Range(&[4], 0.2, 2.0)],
    )
    .runs("cpu"),
    case(
        &[("ignore_index", Int(-5))],
        &[Floats(&[2, 4, 3]), Indices(&[2, 3], &[3, -5, 1, 0, -5, 2]), Range(&[4], 0.2, 2.0)],
    )
    .runs("cpu"),
    case(
        &[("ignore_index", Int(1)), ("reduction", Text("none"))],
        &[Floats(&[3, 2, 1]), Indices(&[3, 1], &[1, 0, 1])],
    )
    .at(12)
    .runs("cpu"),
];
