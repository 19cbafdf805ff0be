//! [SplitToSequence](https://onnx.ai/onnx/operators/onnx__SplitToSequence.html), versions 11, 24: the parts of
//! a tensor along an axis.

use super::on_values_alone;
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::{Tensor, index};
use crate::value::{Value, ValueType};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "SplitToSequence", since: 11, parse, cases: &[] };

#[derive(Debug, Clone, PartialEq)]
pub struct SplitToSequence {
    axis: i64,
    /// Whether a part of one element keeps its axis, where no lengths are given.
    keepdims: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=2)?;
    Ok(Arc::new(SplitToSequence { axis: node.int("axis", 0)?, keepdims: node.flag("keepdims", true)? }))
}

on_values_alone!(SplitToSequence);

/// The lengths of the parts of an axis of `size`: a number splits it into parts of that many, a list says each.
fn lengths(split: &Tensor, size: usize) -> Result<Vec<usize>> {
    let wrong = || {
        Error::input(format!(
            "the lengths {:?} don't divide an axis of {size}",
            split.to_i64s().unwrap_or_default()
        ))
        .of_input(1)
    };
    let given = split.to_i64s()?;
    let given: Vec<usize> =
        given.iter().map(|&length| usize::try_from(length)).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if split.rank() > 0 {
        let total = given.iter().try_fold(0usize, |sum, &length| sum.checked_add(length));
        return if total == Some(size) { Ok(given) } else { Err(wrong()) };
    }
    let &[length] = &given[..] else { return Err(wrong()) };
    if length == 0 {
        return Err(wrong());
    }
    Ok((0..size).step_by(length).map(|start| length.min(size - start)).collect())
}

impl OnValues for SplitToSequence {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        let tensor = inputs.required(0)?.tensor()?;
        let axis = index::axis(self.axis, tensor.rank())?;
        let size = tensor.shape()[axis];
        let split = inputs.optional(1).map(Value::tensor).transpose()?;
        let lengths = split.map_or_else(|| Ok(vec![1; size]), |split| lengths(split, size))?;
        let drops = split.is_none() && !self.keepdims;
        let strides = index::strides(tensor.shape());
        let mut start = 0usize;
        let mut items = vec![];
        for length in lengths {
            let mut shape = tensor.shape().to_vec();
            shape[axis] = length;
            let part = tensor.strided(&shape[..], &strides, start.saturating_mul(strides[axis]))?;
            if drops {
                shape.remove(axis);
            }
            items.push(part.reshape(shape)?.into());
            start += length;
        }
        Ok(vec![Value::sequence(ValueType::Tensor(tensor.dtype()), items)?])
    }
}
