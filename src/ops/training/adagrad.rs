//! [Adagrad](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adagrad.html), version 1 of
//! ai.onnx.preview.training: a step along the gradients, divided by the root of all squares so far.

use super::{
    DOMAIN, FIRST_KEPT, Method, RATE, VALUE, before, begin, eval, expect_lists, infer, lower, regularised,
    spread,
};
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "Adagrad", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Adagrad {
    /// By what the learning rate falls with each step.
    decay: f64,
    norm: f64,
    epsilon: f64,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    expect_lists(node, 1)?;
    Ok(Arc::new(Adagrad {
        decay: node.float("decay_factor", 0.0)? as f64,
        norm: node.float("norm_coefficient", 0.0)? as f64,
        epsilon: node.float("epsilon", 1e-6)? as f64,
    }))
}

impl Operator for Adagrad {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(infer(inputs, 1)?)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        eval(inputs, |rate, before, x, gradient, [squares]| {
            let gradient = regularised(self.norm, x, gradient);
            let squares = squares + gradient * gradient;
            let rate = rate / (1.0 + before * self.decay);
            (x - rate * gradient / (squares.sqrt() + self.epsilon), [squares])
        })
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn output_expression(&self, output: usize, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        spread(self, output, inputs)
    }
}

impl Method for Adagrad {
    const KEPT: usize = 1;

    fn formula(&self, list: usize) -> Pointwise {
        let (mut steps, gradient) = begin(Self::KEPT, self.norm);
        let square = steps.push(&table::MUL, vec![gradient, gradient]);
        let squares = steps.push(&table::ADD, vec![FIRST_KEPT, square]);
        if list == 0 {
            let before = before(&mut steps, false);
            let fallen = steps.push(&table::MUL, vec![before, Arg::Const(self.decay)]);
            let fallen = steps.push(&table::ADD, vec![fallen, Arg::Const(1.0)]);
            let rate = steps.push(&table::DIV, vec![RATE, fallen]);
            let root = steps.push(&table::SQRT, vec![squares]);
            let root = steps.push(&table::ADD, vec![root, Arg::Const(self.epsilon)]);
            let along = steps.push(&table::MUL, vec![gradient, rate]);
            let step = steps.push(&table::DIV, vec![along, root]);
            steps.push(&table::SUB, vec![VALUE, step]);
        }
        steps
    }
}

impl Lower for Adagrad {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        lower(self, at)
    }
}

const CASES: &[Case] = &[
    case(
        &[("decay_factor", Float(0.1)), ("norm_coefficient", Float(0.01)), ("epsilon", Float(1e-3))],
        &[
            Scalar(0.1),
            Whole(3),
            Floats(&[2, 3]),
            Floats(&[4]),
            Floats(&[2, 3]),
            Floats(&[4]),
            Range(&[2, 3], 0.1, 2.0),
            Range(&[4], 0.1, 2.0),
        ],
    )
    .at(1)
    .outputs(4),
    case(&[], &[Scalar(0.1), Whole(0), Floats(&[5]), Floats(&[5]), Range(&[5], 0.5, 2.0)]).at(1).outputs(2),
];
