//! [Optional](https://onnx.ai/onnx/operators/onnx__Optional.html), version 15,
//! [OptionalHasElement](https://onnx.ai/onnx/operators/onnx__OptionalHasElement.html) and
//! [OptionalGetElement](https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html), versions 15, 18: a value
//! that may be missing, whether it is there, and the value.

use super::on_values_alone;
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::{Boolean, Tensor};
use crate::value::{Value, ValueType};
use std::sync::Arc;

pub const OPTIONAL: OpDef = OpDef { domain: "", name: "Optional", since: 15, parse: optional, cases: &[] };
pub const HAS: OpDef = OpDef {
    domain: "",
    name: "OptionalHasElement",
    since: 15,
    parse: |node| node.expect_inputs(0..=1).map(|()| Arc::new(OptionalHasElement) as Arc<dyn Operator>),
    cases: &[],
};
pub const GET: OpDef = OpDef {
    domain: "",
    name: "OptionalGetElement",
    since: 15,
    parse: |node| node.expect_inputs(1..=1).map(|()| Arc::new(OptionalGetElement) as Arc<dyn Operator>),
    cases: &[],
};

/// The input as an optional; without an input one of this type that has no value.
#[derive(Debug, Clone, PartialEq)]
pub struct Optional {
    of: Option<ValueType>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OptionalHasElement;

#[derive(Debug, Clone, PartialEq)]
pub struct OptionalGetElement;

fn optional(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(0..=1)?;
    let of = node.value_type("type")?;
    if of.is_none() && !node.has_input(0) {
        return Err(Error::model("has neither an input nor the attribute 'type'"));
    }
    Ok(Arc::new(Optional { of }))
}

on_values_alone!(Optional);
on_values_alone!(OptionalHasElement);
on_values_alone!(OptionalGetElement);

impl OnValues for Optional {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        match (inputs.optional(0), &self.of) {
            (Some(value), _) => Ok(vec![Value::some(value.clone())]),
            (None, Some(of)) => Ok(vec![Value::Optional { of: of.clone(), value: None }]),
            (None, None) => Err(Error::internal("an Optional without a type")),
        }
    }
}

impl OnValues for OptionalHasElement {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        let there = inputs.optional(0).and_then(Value::optional).is_some();
        Ok(vec![Tensor::scalar(Boolean::from(there)).into()])
    }
}

impl OnValues for OptionalGetElement {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        let value = inputs.required(0)?.optional().cloned();
        value.map(|value| vec![value]).ok_or_else(|| {
            Error::input("the optional has no value")
                .of_input(0)
                .remedy("ask OptionalHasElement first, or give a value")
        })
    }
}
