//! [Shape](https://onnx.ai/onnx/operators/onnx__Shape.html) (1, 13, 15, 19, …) and
//! [Size](https://onnx.ai/onnx/operators/onnx__Size.html): known when a plan is made.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, Reads};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const SHAPE: OpDef = OpDef { domain: "", name: "Shape", since: 1, parse: parse_shape, cases: CASES };
pub const SIZE: OpDef = OpDef { domain: "", name: "Size", since: 1, parse: parse_size, cases: SIZE_CASES };

/// Sizes of the axes from `start` to `end` (clamped, negative from the back), or the number of elements.
#[derive(Debug, Clone, PartialEq)]
pub enum ShapeOf {
    Axes { start: i64, end: Option<i64> },
    Size,
}

fn parse_size(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(ShapeOf::Size))
}

fn parse_shape(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(ShapeOf::Axes { start: node.int("start", 0)?, end: node.optional_int("end")? }))
}

impl ShapeOf {
    fn of(&self, shape: &[usize]) -> Tensor {
        match *self {
            ShapeOf::Size => Tensor::scalar(shape.iter().product::<usize>() as i64),
            ShapeOf::Axes { start, end } => {
                let rank = shape.len() as i64;
                let clamp =
                    |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
                let (start, end) = (clamp(start), clamp(end.unwrap_or(rank)));
                Tensor::int64s(shape.get(start..end).unwrap_or_default().iter().map(|&size| size as i64))
            }
        }
    }
}

impl Operator for ShapeOf {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(vec![Fact::of(&self.of(&inputs.required(0)?.shape))])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        Ok(vec![self.of(inputs.required(0)?.shape())])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
    fn reads(&self) -> Reads {
        Reads::Shape
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

const CASES: &[Case] = &[case(&[("start", Int(1))], &[Floats(&[2, 3, 4])]).runs("plan")];
const SIZE_CASES: &[Case] = &[case(&[], &[Floats(&[2, 3])]).runs("plan")];
