//! [CenterCropPad](https://onnx.ai/onnx/operators/onnx__CenterCropPad.html), version 18: axes cut, or padded
//! with zeros, to sizes, about their centre.
//!
//! Inputs: data, and the sizes of all axes or of those that `axes` names. Where one element more goes on one
//! side, a crop leaves it out on the right, and a pad adds it there.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, single};
use crate::tensor::index::{axes, strides};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "CenterCropPad", since: 18, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct CenterCropPad {
    /// `None`: all of them.
    axes: Option<Vec<i64>>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(CenterCropPad { axes: node.ints("axes")? }))
}

impl CenterCropPad {
    fn shape(&self, x: &[usize], sizes: &[i64]) -> Result<Vec<usize>> {
        let all = || (0..x.len() as i64).collect();
        let axes = axes(&self.axes.clone().unwrap_or_else(all), x.len())?;
        if axes.len() != sizes.len() {
            return Err(Error::model(format!("{} sizes for {} axes", sizes.len(), axes.len())));
        }
        let mut shape = x.to_vec();
        for (&axis, &size) in axes.iter().zip(sizes) {
            shape[axis] = single::size(size, "a size")?;
        }
        Ok(shape)
    }
}

impl Operator for CenterCropPad {
    fn by_value(&self, index: usize) -> bool {
        index > 0
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Ok(vec![Fact::new(x.dtype, self.shape(&x.shape, &inputs.ints(1)?)?)])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let shape = self.shape(x.shape(), &inputs.required(1)?.to_i64s()?)?;
        let (own, steps) = (strides(&shape), strides(x.shape()));
        let source = |at: usize| {
            let along = |axis: usize| {
                let (from, to) = (x.shape()[axis], shape[axis]);
                let at = at / own[axis] % to;
                let at = if to <= from { at + (from - to) / 2 } else { at.checked_sub((to - from) / 2)? };
                (at < from).then_some(at * steps[axis])
            };
            (0..shape.len()).map(along).sum()
        };
        Ok(vec![x.pick(&shape[..], source)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for CenterCropPad {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (mut from, fact) = (at.view(0)?, at.output_fact(0)?.clone());
        // What of each axis is kept, and where it begins in the result.
        let mut begins = vec![0; fact.shape.len()];
        for (axis, (&to, begin)) in fact.shape.iter().zip(&mut begins).enumerate() {
            let given = from.shape[axis];
            let first = given.saturating_sub(to) / 2;
            *begin = to.saturating_sub(given) / 2;
            from.offset = from.offset.wrapping_add_signed(first as isize * from.strides[axis]);
            from.shape[axis] = given.min(to);
        }
        if from.shape == fact.shape {
            at.alias(0, from);
            return Ok(());
        }
        // A padded layout, so that no two rows of the part share a group of 4.
        let output = at.output(0, Layout::Rows4)?;
        let fill = at.filled("padding", &Tensor::scalar(0f32), fact.dtype, &fact.shape)?;
        at.copy(&fill, &output)?;
        let mut to = output;
        for (begin, stride) in begins.into_iter().zip(to.strides.clone()) {
            to.offset = to.offset.wrapping_add_signed(begin as isize * stride);
        }
        to.shape = from.shape.clone();
        at.copy(&from, &to)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[9, 6, 4]), Known(&[4, 3, 4])]).runs("view"),
    case(&[], &[I64(&[3, 4]), Known(&[6, 7])]),
    case(&[("axes", Ints(&[-1, 0]))], &[Small(DType::U8, &[4, 3, 5]), Known(&[8, 3])]),
    case(&[("axes", Ints(&[1, 2]))], &[Floats(&[2, 5, 6, 3]), Known(&[2, 9])]),
    case(&[], &[Bools(&[1, 1]), Known(&[1, 6])]),
    case(&[], &[Floats(&[0, 3]), Known(&[2, 5])]),
    case(&[], &[Floats(&[3, 3]), Known(&[0, 5])]).runs("view"),
];
