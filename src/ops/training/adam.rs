//! [Adam](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html), version 1 of
//! ai.onnx.preview.training: a step along a running mean of the gradients, divided by the root of that of
//! their squares (Kingma and Ba, 2015).

use super::{
    BEFORE, DOMAIN, FIRST_KEPT, Method, RATE, SECOND_KEPT, VALUE, before, begin, eval, expect_lists, infer,
    lower, regularised, spread,
};
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread};
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
            let gradient = regularised(self.norm, x, gradient);
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

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn output_expression(&self, output: usize, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        spread(self, output, inputs)
    }
}

impl Method for Adam {
    const KEPT: usize = 2;

    fn formula(&self, list: usize) -> Pointwise {
        let (mut steps, gradient) = begin(Self::KEPT, self.norm);
        // A running mean: what of it is kept, and the rest of what is new.
        let mixed = |steps: &mut Pointwise, kept: Arg, new: Arg, share: f64| {
            let old = steps.push(&table::MUL, vec![kept, Arg::Const(share)]);
            let added = steps.push(&table::MUL, vec![new, Arg::Const(1.0 - share)]);
            steps.push(&table::ADD, vec![old, added])
        };
        if list == 1 {
            mixed(&mut steps, FIRST_KEPT, gradient, self.alpha);
            return steps;
        }
        let mean = if list == 0 { Some(mixed(&mut steps, FIRST_KEPT, gradient, self.alpha)) } else { None };
        let square = steps.push(&table::MUL, vec![gradient, gradient]);
        let squares = mixed(&mut steps, SECOND_KEPT, square, self.beta);
        let Some(mean) = mean else { return steps };
        // The means begin at 0, which the first steps make up for.
        let before = before(&mut steps, true);
        let mut lacking = |share: f64| {
            let kept = steps.push(&table::POW, vec![Arg::Const(share), before]);
            steps.push(&table::SUB, vec![Arg::Const(1.0), kept])
        };
        let (of_mean, of_squares) = (lacking(self.alpha), lacking(self.beta));
        let made_up = steps.push(&table::SQRT, vec![of_squares]);
        let made_up = steps.push(&table::MUL, vec![made_up, RATE]);
        let made_up = steps.push(&table::DIV, vec![made_up, of_mean]);
        let later = steps.push(&table::GREATER, vec![BEFORE, Arg::Const(0.0)]);
        let rate = steps.push(&table::WHERE, vec![later, made_up, RATE]);
        let root = steps.push(&table::SQRT, vec![squares]);
        let root = steps.push(&table::ADD, vec![root, Arg::Const(self.epsilon)]);
        let along = steps.push(&table::MUL, vec![mean, rate]);
        let step = steps.push(&table::DIV, vec![along, root]);
        let new = steps.push(&table::SUB, vec![VALUE, step]);
        if self.norm_post != 0.0 {
            steps.push(&table::MUL, vec![new, Arg::Const(1.0 - self.norm_post)]);
        }
        steps
    }
}

impl Lower for Adam {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        lower(self, at)
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
    .outputs(6),
    case(&[], &[Scalar(0.1), Whole(0), Floats(&[5]), Floats(&[5]), Floats(&[5]), Range(&[5], 0.5, 2.0)])
        .at(1)
        .outputs(3),
];
