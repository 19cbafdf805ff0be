//! [SequenceAt](https://onnx.ai/onnx/operators/onnx__SequenceAt.html),
//! [SequenceInsert](https://onnx.ai/onnx/operators/onnx__SequenceInsert.html),
//! [SequenceErase](https://onnx.ai/onnx/operators/onnx__SequenceErase.html) and
//! [SequenceLength](https://onnx.ai/onnx/operators/onnx__SequenceLength.html), version 11: an item of a
//! sequence, the sequence with one more or one fewer, and how many there are.

use super::{on_values_alone, position};
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::Tensor;
use crate::value::Value;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub const AT: OpDef =
    OpDef { domain: "", name: "SequenceAt", since: 11, parse: |n| parse(n, 2..=2, Edit::At), cases: &[] };
pub const INSERT: OpDef = OpDef {
    domain: "",
    name: "SequenceInsert",
    since: 11,
    parse: |n| parse(n, 2..=3, Edit::Insert),
    cases: &[],
};
pub const ERASE: OpDef = OpDef {
    domain: "",
    name: "SequenceErase",
    since: 11,
    parse: |n| parse(n, 1..=2, Edit::Erase),
    cases: &[],
};
pub const LENGTH: OpDef = OpDef {
    domain: "",
    name: "SequenceLength",
    since: 11,
    parse: |n| parse(n, 1..=1, Edit::Length),
    cases: &[],
};

/// What is done with a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Edit {
    At,
    Insert,
    Erase,
    Length,
}

fn parse(node: &mut NodeView, inputs: RangeInclusive<usize>, edit: Edit) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(inputs)?;
    Ok(Arc::new(edit))
}

on_values_alone!(Edit);

impl OnValues for Edit {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        let sequence = inputs.required(0)?;
        let items = sequence.items().map_err(|error| error.of_input(0))?;
        let Value::Sequence { of, .. } = sequence else {
            return Err(Error::internal("items of no sequence"));
        };
        Ok(vec![match self {
            Edit::At => items
                .get(position(inputs.required(1)?, items.len(), false, 1)?)
                .cloned()
                .ok_or_else(|| Error::internal("a position outside its sequence"))?,
            Edit::Insert => {
                let at = inputs.optional(2).map(|at| position(at, items.len(), true, 2)).transpose()?;
                let mut items = items.to_vec();
                items.insert(at.unwrap_or(items.len()), inputs.required(1)?.clone());
                Value::sequence(of.clone(), items).map_err(|error| error.of_input(1))?
            }
            Edit::Erase => {
                let last = || {
                    items.len().checked_sub(1).ok_or_else(|| {
                        Error::input("the sequence is empty: there is nothing to erase").of_input(0)
                    })
                };
                let at = inputs.optional(1).map_or_else(last, |at| position(at, items.len(), false, 1))?;
                let mut items = items.to_vec();
                items.remove(at);
                Value::sequence(of.clone(), items)?
            }
            Edit::Length => Tensor::scalar(items.len() as i64).into(),
        }])
    }
}
