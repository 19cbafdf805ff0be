//! [Adam](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html), version 1 of
//! ai.onnx.preview.training: a step along a running mean of the gradients, divided by the root of that of
//! their squares (Kingma and Ba, 2015).

use super::{DOMAIN, eval, expect_lists, infer};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "Adam", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Adam {
    /// What of the mean of gradients is kept, and of that of squares.
    alpha: f64,
    beta: f64,
    epsilon: f64,
    norm: f64,
    norm_post: f64,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    expect_lists(node, 2)?;
    Ok(Arc::new(Adam {
        alpha: node.float("alpha", 0.9)? as f64,
        beta: node.float("beta", 0.999)? as f64,
        epsilon: node.float("epsilon", 1e-6)? as f64,
        norm: node.float("norm_coefficient", 0.0)? as f64,
        norm_post: node.float("norm_coefficient_post", 0.0)? as f64,
    }))
}

impl Operator for Adam {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(infer(inputs, 2)?)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        eval(inputs, |rate, before, x, gradient, [mean, squares]| {
            let gradient = self.norm * x + gradient;
            let mean = self.alpha * mean + (1.0 - self.alpha) * gradient;
            let squares = self.beta * squares + (1.0 - self.beta) * gradient * gradient;
            // The means begin at 0, which the first steps make up for.
            let rate = if before > 0.0 {
                rate * (1.0 - self.beta.powf(before)).sqrt() / (1.0 - self.alpha.powf(before))
            } else {
                rate
            };
            let new = x - rate * mean / (squares.sqrt() + self.epsilon);
            ((1.0 - self.norm_post) * new, [mean, squares])
        })
    }
}

const CASES: &[Case] = &[
    case(
        &[
            ("alpha", Float(0.95)),
            ("beta", Float(0.1)),
            ("norm_coefficient", Float(0.01)),
            ("norm_coefficient_post", Float(0.02)),
            ("epsilon", Float(1e-3)),
        ],
        &[
            Scalar(0.1),
            Whole(2),
            Floats(&[2, 3]),
            Floats(&[4]),
            Floats(&[2, 3]),
            Floats(&[4]),
            Floats(&[2, 3]),
            Floats(&[4]),
            Range(&[2, 3], 0.1, 2.0),
            Range(&[4], 0.1, 2.0),
        ],
    )
    .at(1)
    .outputs(6)
    .runs("cpu"),
    case(&[], &[Scalar(0.1), Whole(0), Floats(&[5]), Floats(&[5]), Floats(&[5]), Range(&[5], 0.5, 2.0)])
        .at(1)
        .outputs(3)
        .runs("cpu"),
];
