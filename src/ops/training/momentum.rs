//! [Momentum](https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Momentum.html), version 1 of
//! ai.onnx.preview.training: a step along the gradients and those before, also by Nesterov's rule.

use super::{
    BEFORE, DOMAIN, FIRST_KEPT, Method, RATE, VALUE, begin, eval, expect_lists, infer, lower, regularised,
    spread,
};
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "Momentum", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Momentum {
    /// What of the momentum before is kept.
    alpha: f64,
    /// The gradient's factor, but for the first step.
    beta: f64,
    norm: f64,
    nesterov: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    expect_lists(node, 1)?;
    let float = |name: &str| {
        let given = node.optional_float(name)?;
        given.map(f64::from).ok_or_else(|| Error::model(format!("attribute '{name}' is missing")))
    };
    Ok(Arc::new(Momentum {
        alpha: float("alpha")?,
        beta: float("beta")?,
        norm: float("norm_coefficient")?,
        nesterov: node.choice("mode", "", &["standard", "nesterov"])? == "nesterov",
    }))
}

impl Operator for Momentum {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(infer(inputs, 1)?)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        eval(inputs, |rate, before, x, gradient, [v]| {
            let gradient = regularised(self.norm, x, gradient);
            let beta = if before > 0.0 { self.beta } else { 1.0 };
            let v = self.alpha * v + beta * gradient;
            let along = if self.nesterov { gradient + self.alpha * v } else { v };
            (x - rate * along, [v])
        })
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn output_expression(&self, output: usize, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        spread(self, output, inputs)
    }
}

impl Method for Momentum {
    const KEPT: usize = 1;

    fn formula(&self, list: usize) -> Pointwise {
        let (mut steps, gradient) = begin(Self::KEPT, self.norm);
        let kept = steps.push(&table::MUL, vec![FIRST_KEPT, Arg::Const(self.alpha)]);
        let scaled = steps.push(&table::MUL, vec![gradient, Arg::Const(self.beta)]);
        let later = steps.push(&table::GREATER, vec![BEFORE, Arg::Const(0.0)]);
        let added = steps.push(&table::WHERE, vec![later, scaled, gradient]);
        let v = steps.push(&table::ADD, vec![kept, added]);
        if list == 0 {
            let mut along = v;
            if self.nesterov {
                let ahead = steps.push(&table::MUL, vec![v, Arg::Const(self.alpha)]);
                along = steps.push(&table::ADD, vec![gradient, ahead]);
            }
            let step = steps.push(&table::MUL, vec![along, RATE]);
            steps.push(&table::SUB, vec![VALUE, step]);
        }
        steps
    }
}

impl Lower for Momentum {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        lower(self, at)
    }
}

const CASES: &[Case] = &[
    case(
        &[
            ("alpha", Float(0.9)),
            ("beta", Float(0.3)),
            ("norm_coefficient", Float(0.01)),
            ("mode", Text("standard")),
        ],
        &[
            Scalar(0.1),
            Whole(3),
            Floats(&[2, 3]),
            Floats(&[4]),
            Floats(&[2, 3]),
            Floats(&[4]),
            Floats(&[2, 3]),
            Floats(&[4]),
        ],
    )
    .at(1)
    .outputs(4),
    case(
        &[
            ("alpha", Float(0.9)),
            ("beta", Float(0.3)),
            ("norm_coefficient", Float(0.01)),
            ("mode", Text("nesterov")),
        ],
        &[Scalar(0.1), Whole(0), Floats(&[5]), Floats(&[5]), Floats(&[5])],
    )
    .at(1)
    .outputs(2),
];
