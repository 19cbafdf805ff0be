//! [SequenceConstruct](https://onnx.ai/onnx/operators/onnx__SequenceConstruct.html), version 11, and
//! [SequenceEmpty](https://onnx.ai/onnx/operators/onnx__SequenceEmpty.html), version 11: a sequence of the
//! inputs, or of nothing.

use super::on_values_alone;
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::DType;
use crate::value::{Value, ValueType};
use std::sync::Arc;

pub const CONSTRUCT: OpDef =
    OpDef { domain: "", name: "SequenceConstruct", since: 11, parse: construct, cases: &[] };
pub const EMPTY: OpDef = OpDef { domain: "", name: "SequenceEmpty", since: 11, parse: empty, cases: &[] };

/// The sequence of the inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceConstruct;

/// A sequence of no tensors, of this type.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceEmpty {
    dtype: DType,
}

fn construct(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=usize::MAX)?;
    Ok(Arc::new(SequenceConstruct))
}

fn empty(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(0..=0)?;
    let number = node.int("dtype", 1)?;
    let dtype = i32::try_from(number).ok().and_then(DType::from_onnx);
    let dtype = dtype.ok_or_else(|| Error::unsupported(format!("a sequence of element type {number}")))?;
    Ok(Arc::new(SequenceEmpty { dtype }))
}

on_values_alone!(SequenceConstruct);
on_values_alone!(SequenceEmpty);

impl OnValues for SequenceConstruct {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        Ok(vec![Value::sequence(inputs.required(0)?.kind(), inputs.present().cloned().collect())?])
    }
}

impl OnValues for SequenceEmpty {
    fn eval_values(&self, _inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        Ok(vec![Value::sequence(ValueType::Tensor(mode.of(self.dtype)), vec![])?])
    }
}
