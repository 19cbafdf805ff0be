//! [CumSum](https://onnx.ai/onnx/operators/onnx__CumSum.html), versions 11, 14: running sums along an axis.
//!
//! Inputs: X, and the axis as a scalar. `exclusive` leaves an element out of its own sum, `reverse` runs from
//! the end.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::cum_sum::{self, Join, Running};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "CumSum", since: 11, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct CumSum {
    pub how: Running,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    Ok(Arc::new(CumSum { how: running(node)? }))
}

/// The one axis that input 1 gives.
fn single(given: &[i64], rank: usize) -> Result<usize> {
    let [at] = given else { return Err(Error::model("the axis is no scalar")) };
    axis(*at, rank)
}

/// Runs `join` over each line of `length` elements, `inner` apart, from `first` on.
fn scan<T: Copy>(
    how: Running,
    list: &mut [T],
    (length, inner): (usize, usize),
    first: T,
    join: impl Fn(T, T) -> T,
) {
    for line in 0..list.len() / length.max(1) {
        let base = line / inner * length * inner + line % inner;
        let mut sum = first;
        for k in 0..length {
            let at = base + if how.reverse { length - 1 - k } else { k } * inner;
            let next = join(sum, list[at]);
            list[at] = if how.exclusive { sum } else { next };
            sum = next;
        }
    }
}

/// How a CumSum or CumProd runs, by its attributes.
pub(super) fn running(node: &NodeView) -> Result<Running> {
    node.expect_inputs(2..=2)?;
    Ok(Running { exclusive: node.flag("exclusive", false)?, reverse: node.flag("reverse", false)? })
}

/// The result's type and shape. The GPU needs to know the axis.
pub(super) fn infer(inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
    let x = inputs.required(0)?;
    single(&inputs.ints(1)?, x.rank())?;
    Ok(vec![Fact::new(x.dtype, x.shape.clone())])
}

/// Floats joined in float64, integers in int64, which holds every type's bits; each from its `first`.
pub(super) fn eval(
    how: Running,
    inputs: Operands<'_, Tensor>,
    (first, join): (f64, fn(f64, f64) -> f64),
    (whole_first, whole_join): (i64, fn(i64, i64) -> i64),
) -> Result<Vec<Tensor>> {
    let x = inputs.required(0)?;
    let at = single(&inputs.required(1)?.to_i64s()?, x.rank())?;
    let line = (x.shape()[at], x.shape()[at + 1..].iter().product::<usize>());
    if x.is_empty() {
        return Ok(vec![x.clone()]);
    }
    let result = if x.dtype().is_float() {
        let mut list = x.to_f64s()?;
        scan(how, &mut list, line, first, join);
        Tensor::new(x.shape(), list)?
    } else {
        let wide = cast(x, DType::I64, true)?;
        let mut list = wide.as_slice::<i64>()?.to_vec();
        scan(how, &mut list, line, whole_first, whole_join);
        Tensor::new(x.shape(), list)?
    };
    Ok(vec![cast(&result, x.dtype(), true)?])
}

pub(super) fn lower(at: &mut dyn Lowering, join: Join, how: Running) -> Result<(), Unsupported> {
    let axis = single(&at.ints(1)?, at.fact(0)?.rank())?;
    cum_sum::emit(at, axis, join, how)
}

impl Operator for CumSum {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        infer(inputs)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        eval(self.how, inputs, (0.0, |sum, x| sum + x), (0, i64::wrapping_add))
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        Bound::Sum { length: inputs.optional(0).map_or(1, Fact::count), terms: Terms::Elements }
    }
}

impl Lower for CumSum {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        lower(at, Join::Sum, self.how)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 5]), Known(&[1])]),
    case(&[], &[Floats(&[3, 197]), Known(&[0])]),
    case(&[("reverse", Int(1))], &[Floats(&[2, 3, 5]), Known(&[-2])]),
    case(&[("exclusive", Int(1)), ("reverse", Int(1))], &[I64(&[4, 3]), Known(&[0])]),
    case(&[("exclusive", Int(1))], &[I32(&[4, 3]), Known(&[1])]),
    case(&[("reverse", Int(1))], &[Wide(DType::I64, &[197]), Known(&[0])]),
    case(&[], &[Wide(DType::U32, &[1, 5]), Known(&[-1])]),
    case(&[("exclusive", Int(1)), ("reverse", Int(1))], &[Wide(DType::U64, &[3, 5]), Known(&[1])]),
    case(&[], &[Floats(&[1, 1]), Known(&[0])]),
];
