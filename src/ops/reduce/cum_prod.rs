//! [CumProd](https://onnx.ai/onnx/operators/onnx__CumProd.html), version 26: running products along an axis.
//!
//! Inputs: X, and the axis as a scalar. `exclusive` leaves an element out of its own product, `reverse` runs
//! from the end.

use super::cum_sum;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms, Unsupported};
use crate::error::Result;
use crate::kernels::Lowering;
use crate::kernels::cum_sum::{Join, Running};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "CumProd", since: 26, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct CumProd {
    how: Running,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    Ok(Arc::new(CumProd { how: cum_sum::running(node)? }))
}

impl Operator for CumProd {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        cum_sum::infer(inputs)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        cum_sum::eval(self.how, inputs, (1.0, |product, x| product * x), (1, i64::wrapping_mul))
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        // The axis isn't always known here; no line is longer than the longest axis.
        let longest = inputs.optional(0).and_then(|x| x.shape.iter().copied().max());
        Bound::Sum { length: longest.unwrap_or(1), terms: Terms::Factors }
    }
}

impl Lower for CumProd {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        cum_sum::lower(at, Join::Product, self.how)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 5]), Known(&[1])]).at(26),
    case(&[("reverse", Int(1))], &[Floats(&[2, 3, 5]), Known(&[-2])]).at(26),
    case(&[("exclusive", Int(1)), ("reverse", Int(1))], &[I64(&[4, 3]), Known(&[0])]).at(26),
    case(&[("exclusive", Int(1))], &[Wide(DType::I32, &[4, 3]), Known(&[1])]).at(26),
    case(&[], &[Wide(DType::U64, &[7]), Known(&[0])]).at(26),
    case(&[], &[Floats(&[0, 3]), Known(&[0])]).at(26).runs("view"),
    case(&[], &[Range(&[1, 33], 0.8, 1.2), Known(&[-1])]).at(26),
    case(&[("exclusive", Int(1))], &[Floats(&[5, 3]), Known(&[0])]).at(26),
    case(&[("reverse", Int(1)), ("exclusive", Int(1))], &[Wide(DType::I64, &[2, 6]), Known(&[1])]).at(26),
    case(&[("reverse", Int(1))], &[Wide(DType::U32, &[5]), Known(&[0])]).at(26),
];
