//! [Binarizer](https://onnx.ai/onnx/operators/onnx_aionnxml_Binarizer.html), version 1 of ai.onnx.ml: 1 where
//! an element is above a threshold, else 0.

use super::DOMAIN;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "Binarizer", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Binarizer {
    threshold: f32,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Binarizer { threshold: node.float("threshold", 0.0)? }))
}

impl Operator for Binarizer {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let ones: Vec<u8> = x.to_f64s()?.iter().map(|&x| u8::from(x > self.threshold as f64)).collect();
        Ok(vec![cast(&Tensor::new(x.shape(), ones)?, x.dtype(), true)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(&[("threshold", Float(0.25))], &[Floats(&[3, 5])]).at(1).runs("cpu"),
    case(&[], &[Values(&[4], &[0.0, -0.0, 1e-30, -1.0])]).at(1).runs("cpu"),
];
