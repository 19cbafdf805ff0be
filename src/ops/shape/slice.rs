//! [Slice](https://onnx.ai/onnx/operators/onnx__Slice.html), versions 1, 10, 11, 13: a range of some axes,
//! with steps.
//!
//! Inputs: data, starts, ends, and optionally axes and steps, which were attributes in version 1.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Reads};
use crate::tensor::Tensor;
use crate::tensor::index::{Odometer, axes, strides};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Slice", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Slice;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    for (index, name) in ["starts", "ends", "axes"].iter().enumerate() {
        node.ints_to_input(name, index + 1)?;
    }
    node.expect_inputs(3..=5)?;
    Ok(Arc::new(Slice))
}

/// A range of one axis: first element, step, count.
struct Range {
    axis: usize,
    first: usize,
    step: i64,
    count: usize,
}

fn ranges(
    shape: &[usize],
    starts: &[i64],
    ends: &[i64],
    given: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Result<Vec<Range>> {
    let list = given.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len()
        || list.len() != starts.len()
        || steps.len() != starts.len()
        || steps.contains(&0)
    {
        return Err(Error::model(format!(
            "starts {starts:?}, ends {ends:?}, axes {list:?} and steps {steps:?} don't fit together"
        )));
    }
    let range = |(k, axis): (usize, usize)| {
        let (size, step) = (shape[axis] as i64, steps[k]);
        // Backwards, a range may end before the first element, but it begins at an element: a start before
        // the first is the first.
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let first = if size == 0 { low } else { 0 };
        let (start, end) = (from_end(starts[k]).clamp(first, high), from_end(ends[k]).clamp(low, high));
        let span = if step > 0 { end - start } else { start - end };
        let count = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) as usize };
        // A step that is never taken may be any number: it must not reach a multiplication.
        let step = if count > 1 { step } else { 1 };
        Range { axis, first: start.max(0) as usize, step, count }
    };
    Ok(axes(&list, shape.len())?.into_iter().enumerate().map(range).collect())
}

fn shape_of(shape: &[usize], ranges: &[Range]) -> Vec<usize> {
    let mut result = shape.to_vec();
    ranges.iter().for_each(|range| result[range.axis] = range.count);
    result
}

impl Operator for Slice {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let ranges = ranges(
            &x.shape,
            &inputs.ints(1)?,
            &inputs.ints(2)?,
            inputs.optional_ints(3)?,
            inputs.optional_ints(4)?,
        )?;
        Ok(vec![Fact::new(x.dtype, shape_of(&x.shape, &ranges))])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let list = |index| inputs.optional(index).map(Tensor::to_i64s).transpose();
        let ranges = ranges(
            x.shape(),
            &inputs.required(1)?.to_i64s()?,
            &inputs.required(2)?.to_i64s()?,
            list(3)?,
            list(4)?,
        )?;
        let mut own = strides(x.shape());
        let mut base = 0usize;
        for range in &ranges {
            base += range.first * own[range.axis];
            // Backwards wraps around, and back when the base is added.
            own[range.axis] = own[range.axis].wrapping_mul(range.step as usize);
        }
        let shape = shape_of(x.shape(), &ranges);
        if ranges.iter().all(|range| range.step > 0) {
            // An empty range may begin behind the last element.
            let base = if shape.contains(&0) { 0 } else { base };
            return Ok(vec![x.strided(shape, &own, base)?]);
        }
        let mut walk = Odometer::new(&shape, [&own]);
        Ok(vec![x.pick(shape.clone(), |_| walk.next().map(|[at]| base.wrapping_add(at)))?])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn reads(&self) -> Reads {
        Reads::View
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Slice {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let mut view = at.view(0)?;
        let (given, steps) = (at.optional_ints(3)?, at.optional_ints(4)?);
        let ranges = ranges(&view.shape, &at.ints(1)?, &at.ints(2)?, given, steps)?;
        for range in &ranges {
            view.offset = (view.offset as isize + range.first as isize * view.strides[range.axis]) as usize;
            view.strides[range.axis] *= range.step as isize;
            view.shape[range.axis] = range.count;
        }
        at.alias(0, view);
        Ok(())
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[5, 7]), Known(&[1, 2]), Known(&[4, 100])]).runs("view"),
    case(&[], &[Floats(&[5, 7]), Known(&[-1]), Known(&[-100]), Known(&[1]), Known(&[-2])]).runs("view"),
    case(&[], &[Floats(&[5, 7]), Known(&[-100]), Known(&[-100]), Known(&[1]), Known(&[-1])]).runs("view"),
    case(&[("starts", Ints(&[1])), ("ends", Ints(&[3])), ("axes", Ints(&[0]))], &[I64(&[4, 3])])
        .at(9)
        .runs("view"),
];
