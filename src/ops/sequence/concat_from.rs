//! [ConcatFromSequence](https://onnx.ai/onnx/operators/onnx__ConcatFromSequence.html), version 11: the tensors
//! of a sequence side by side along an axis, an old one or a new one.

use super::on_values_alone;
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::shape::concat::Concat;
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::{Tensor, index};
use crate::value::Value;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "ConcatFromSequence", since: 11, parse, cases: &[] };

#[derive(Debug, Clone, PartialEq)]
pub struct ConcatFromSequence {
    axis: i64,
    new_axis: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let axis = node.optional_int("axis")?.ok_or_else(|| Error::model("attribute 'axis' is missing"))?;
    Ok(Arc::new(ConcatFromSequence { axis, new_axis: node.flag("new_axis", false)? }))
}

on_values_alone!(ConcatFromSequence);

impl OnValues for ConcatFromSequence {
    fn eval_values(&self, inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        let items = inputs.required(0)?.items().map_err(|error| error.of_input(0))?;
        let tensors: Vec<&Tensor> = items.iter().map(Value::tensor).collect::<Result<_>>()?;
        let first = tensors.first().ok_or_else(|| {
            Error::input("the sequence is empty: there is nothing to put together").of_input(0)
        })?;
        let rank = first.rank() + usize::from(self.new_axis);
        let axis = index::axis(self.axis, rank)?;
        let widened = |tensor: &&Tensor| {
            let mut shape = tensor.shape().to_vec();
            if self.new_axis {
                shape.insert(axis.min(shape.len()), 1);
            }
            tensor.reshape(shape)
        };
        let parts: Vec<Tensor> = tensors.iter().map(widened).collect::<Result<_>>()?;
        let refs: Vec<Option<&Tensor>> = parts.iter().map(Some).collect();
        let concat = Concat { axis: axis as i64 };
        // The shapes are checked as those of a Concat are.
        let facts: Vec<_> = parts.iter().map(crate::base::Fact::of).collect();
        concat.infer(Operands::new(&facts.iter().map(Some).collect::<Vec<_>>())).map_err(|problem| {
            match problem {
                crate::base::Infer::Error(error) => error,
                _ => Error::internal("a Concat of tensors that are known"),
            }
        })?;
        Ok(concat.eval(Operands::new(&refs), mode)?.into_iter().map(Value::from).collect())
    }
}
