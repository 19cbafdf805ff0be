//! [ArgMax](https://onnx.ai/onnx/operators/onnx__ArgMax.html) and
//! [ArgMin](https://onnx.ai/onnx/operators/onnx__ArgMin.html), versions 1, 11, 12, 13: the int64 index of an
//! extreme along an axis.

use super::order::keys;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{DType, Tensor, allocate};
use std::sync::Arc;

pub const MAX: OpDef =
    OpDef { domain: "", name: "ArgMax", since: 1, parse: |node| parse(node, true), cases: CASES };
pub const MIN: OpDef =
    OpDef { domain: "", name: "ArgMin", since: 1, parse: |node| parse(node, false), cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct ArgReduce {
    pub axis: i64,
    pub keep: bool,
    pub maximum: bool,
    /// The last of equal extremes, not the first.
    pub last: bool,
}

fn parse(node: &mut NodeView, maximum: bool) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let (axis, keep, last) =
        (node.int("axis", 0)?, node.flag("keepdims", true)?, node.flag("select_last_index", false)?);
    Ok(Arc::new(ArgReduce { axis, keep, maximum, last }))
}

impl ArgReduce {
    /// The axis and the result's shape.
    fn shape(&self, x: &[usize]) -> Result<(usize, Vec<usize>)> {
        let at = axis(self.axis, x.len())?;
        let mut shape = x.to_vec();
        if shape[at] == 0 {
            return Err(Error::input(format!("no element along axis {at} of a tensor of shape {x:?}")));
        }
        if self.keep {
            shape[at] = 1;
        } else {
            shape.remove(at);
        }
        Ok((at, shape))
    }
}

impl Operator for ArgReduce {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(vec![Fact::new(DType::I64, self.shape(&inputs.required(0)?.shape)?.1)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (at, shape) = self.shape(x.shape())?;
        let (length, after) = (x.shape()[at], x.shape()[at + 1..].iter().product::<usize>());
        let before: usize = x.shape()[..at].iter().product();
        let keys = keys(x)?;
        let mut result: Vec<i64> = allocate(before.saturating_mul(after))?;
        for outer in 0..before {
            for inner in 0..after {
                let key = |k: usize| keys[(outer * length + k) * after + inner];
                let better = |k: usize, best: usize| match key(k).cmp(&key(best)) {
                    std::cmp::Ordering::Equal => self.last,
                    order => order.is_gt() == self.maximum,
                };
                result.push((1..length).fold(0, |best, k| if better(k, best) { k } else { best }) as i64);
            }
        }
        Ok(vec![Tensor::new(shape, result)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let axis = inputs.optional(0).and_then(|x| self.shape(&x.shape).ok()).map_or(0, |(axis, _)| axis);
        Bound::Choice { axis, positions: 0 }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        inputs.optional(0).map_or(0, |x| x.count() as u64)
    }
}

impl Lower for ArgReduce {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let axis = self.shape(&at.fact(0)?.shape)?.0;
        crate::kernels::arg_reduce::emit(at, axis, self.maximum, self.last)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[5, 7])]),
    case(&[("axis", Int(-1)), ("keepdims", Int(0))], &[Floats(&[3, 1000])]),
    case(&[("axis", Int(1)), ("select_last_index", Int(1))], &[I32(&[2, 30, 3])]),
    case(&[("axis", Int(1)), ("keepdims", Int(0))], &[I32(&[2, 40, 5])]),
    case(&[("axis", Int(0)), ("keepdims", Int(0))], &[Floats(&[1])]),
    case(&[("axis", Int(1))], &[Floats(&[2, 1, 3])]).at(11),
    case(&[], &[I64(&[9, 2])]),
    case(&[("axis", Int(1)), ("select_last_index", Int(1))], &[I64(&[3, 197])]),
    case(&[("axis", Int(1))], &[Wide(DType::U64, &[3, 5])]),
    case(&[("axis", Int(1))], &[Wide(DType::I8, &[3, 5])]),
    // Equal extremes in several shares.
    case(&[("axis", Int(1))], &[I32(&[5, 700])]),
    case(&[("axis", Int(1)), ("select_last_index", Int(1))], &[I32(&[5, 700])]),
    case(&[("select_last_index", Int(1))], &[Wide(DType::I8, &[700, 6])]),
    case(&[("axis", Int(1))], &[Floats(&[1, 5000])]),
];
