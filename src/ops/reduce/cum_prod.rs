//! [CumProd](https://onnx.ai/onnx/operators/onnx__CumProd.html), version 26: running products along an axis.
//!
//! Inputs: X, and the axis as a scalar. `exclusive` leaves an element out of its own product, `reverse` runs
//! from the end.

use super::cum_sum::{scan, single};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::kernels::cum_sum::Running;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "CumProd", since: 26, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct CumProd {
    how: Running,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(CumProd {
        how: Running { exclusive: node.flag("exclusive", false)?, reverse: node.flag("reverse", false)? },
    }))
}

impl Operator for CumProd {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        single(&inputs.ints(1)?, x.rank())?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let at = single(&inputs.required(1)?.to_i64s()?, x.rank())?;
        let line = (x.shape()[at], x.shape()[at + 1..].iter().product::<usize>());
        if x.is_empty() {
            return Ok(vec![x.clone()]);
        }
        let result = if x.dtype().is_float() {
            let mut list = x.to_f64s()?;
            scan(self.how, &mut list, line, 1.0, |product, x| product * x);
            Tensor::new(x.shape(), list)?
        } else {
            // 64 bits hold every type's bits.
            let mut list = cast(x, DType::I64, true)?.to_i64s()?;
            scan(self.how, &mut list, line, 1, |product: i64, x| product.wrapping_mul(x));
            Tensor::new(x.shape(), list)?
        };
        Ok(vec![cast(&result, x.dtype(), true)?])
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 5]), Known(&[1])]).at(26).runs("cpu"),
    case(&[("reverse", Int(1))], &[Floats(&[2, 3, 5]), Known(&[-2])]).at(26).runs("cpu"),
    case(&[("exclusive", Int(1)), ("reverse", Int(1))], &[I64(&[4, 3]), Known(&[0])]).at(26).runs("cpu"),
    case(&[("exclusive", Int(1))], &[Wide(DType::I32, &[4, 3]), Known(&[1])]).at(26).runs("cpu"),
    case(&[], &[Wide(DType::U64, &[7]), Known(&[0])]).at(26).runs("cpu"),
    case(&[], &[Floats(&[0, 3]), Known(&[0])]).at(26).runs("cpu"),
];
