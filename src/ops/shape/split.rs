//! [Split](https://onnx.ai/onnx/operators/onnx__Split.html), versions 1, 2, 11, 13, 18: parts of an axis.
//!
//! Inputs: data, and optionally the parts' sizes, which were an attribute before version 13; without them
//! equal parts, the last one smaller since version 18.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Reads};
use crate::tensor::Tensor;
use crate::tensor::index;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Split", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    pub axis: i64,
    pub parts: usize,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.ints_to_input("split", 1)?;
    node.expect_inputs(1..=2)?;
    let parts = node.int("num_outputs", node.output_count as i64)?;
    if parts != node.output_count as i64 {
        return Err(Error::model(format!(
            "num_outputs is {parts}, the node has {} outputs",
            node.output_count
        )));
    }
    Ok(Arc::new(Split { axis: node.int("axis", 0)?, parts: node.output_count }))
}

impl Split {
    /// The axis and the size of each part.
    fn sizes(&self, shape: &[usize], given: Option<Vec<i64>>) -> Result<(usize, Vec<usize>)> {
        let axis = index::axis(self.axis, shape.len())?;
        let size = shape[axis];
        let sizes: Vec<usize> = match given {
            Some(list) => list
                .iter()
                .map(|&part| usize::try_from(part))
                .collect::<Result<_, _>>()
                .map_err(|_| Error::model(format!("the sizes {list:?} hold a negative one")))?,
            None => {
                let part = size.div_ceil(self.parts.max(1));
                (0..self.parts).map(|k| part.min(size.saturating_sub(k * part))).collect()
            }
        };
        if sizes.len() != self.parts
            || sizes.iter().try_fold(0usize, |sum, &part| sum.checked_add(part)) != Some(size)
        {
            return Err(Error::model(format!(
                "an axis of {size} can't be split into {sizes:?} for {} outputs",
                self.parts
            )));
        }
        Ok((axis, sizes))
    }
}

impl Operator for Split {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let (axis, sizes) = self.sizes(&x.shape, inputs.optional_ints(1)?)?;
        let part = |&size: &usize| {
            let mut shape = x.shape.clone();
            shape[axis] = size;
            Fact::new(x.dtype, shape)
        };
        Ok(sizes.iter().map(part).collect())
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (axis, sizes) = self.sizes(x.shape(), inputs.optional(1).map(Tensor::to_i64s).transpose()?)?;
        let (own, mut start) = (index::strides(x.shape()), 0);
        let mut parts = vec![];
        for size in sizes {
            let mut shape = x.shape().to_vec();
            shape[axis] = size;
            // An empty part may begin behind the last element.
            parts.push(x.strided(shape, &own, if size == 0 { 0 } else { start * own[axis] })?);
            start += size;
        }
        Ok(parts)
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

impl Lower for Split {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let view = at.view(0)?;
        let given = at.optional_ints(1)?;
        let (axis, sizes) = self.sizes(&view.shape, given)?;
        let mut start = 0isize;
        for (k, size) in sizes.into_iter().enumerate() {
            let mut part = view.clone();
            part.offset = (part.offset as isize + start * part.strides[axis]) as usize;
            part.shape[axis] = size;
            start += size as isize;
            at.alias(k, part);
        }
        Ok(())
    }
}

const CASES: &[Case] = &[
    case(&[("axis", Int(1)), ("num_outputs", Int(2))], &[Floats(&[3, 7])]).outputs(2).runs("view"),
    case(&[("axis", Int(-1))], &[Floats(&[2, 9]), Known(&[2, 3, 4])]).outputs(3).runs("view"),
    case(&[("split", Ints(&[1, 3]))], &[I32(&[4, 3])]).outputs(2).at(11).runs("view"),
];
