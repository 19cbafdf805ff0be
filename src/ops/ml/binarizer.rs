//! [Binarizer](https://onnx.ai/onnx/operators/onnx_aionnxml_Binarizer.html), version 1 of ai.onnx.ml: 1 where
//! an element is above a threshold, else 0.

use super::DOMAIN;
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::{Lowering, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::{DType, Tensor, cast};
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

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let x = inputs.required(0)?;
        let expression = self.expression(x.dtype());
        Ok(x.dtype().is_float().then(|| Spread { expression, operands: vec![(x.clone(), 0)] }))
    }
}

impl Binarizer {
    fn expression(&self, dtype: DType) -> Pointwise {
        let mut steps = Pointwise { operands: 1, steps: vec![] };
        let threshold = Arg::Const(f64::from(self.threshold));
        let above = steps.push(&table::GREATER, vec![Arg::Operand(0), threshold]);
        steps.push_cast(above, dtype);
        steps
    }
}

impl Lower for Binarizer {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        at.float_storage(0)?;
        let dtype = at.fact(0)?.dtype;
        pointwise::emit(&self.expression(dtype), at)
    }
}

const CASES: &[Case] = &[
    case(&[("threshold", Float(0.25))], &[Floats(&[3, 5])]).at(1),
    case(&[("threshold", Float(-0.5))], &[I32(&[5])]).at(1).runs("cpu"),
    case(&[], &[Floats(&[0, 3])]).at(1).runs("view"),
    case(&[], &[Values(&[4], &[0.0, -0.0, 1e-30, -1.0])]).at(1),
];
