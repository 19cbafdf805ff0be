//! [DictVectorizer](https://onnx.ai/onnx/operators/onnx_aionnxml_DictVectorizer.html), version 1: a map's
//! values in the order of a vocabulary, zero where it has none.

use super::keys;
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::sequence::on_values_alone;
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use crate::value::Value;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "ai.onnx.ml", name: "DictVectorizer", since: 1, parse, cases: &[] };

#[derive(Debug, Clone, PartialEq)]
pub struct DictVectorizer {
    vocabulary: Tensor,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(DictVectorizer { vocabulary: keys(node, "string_vocabulary", "int64_vocabulary")? }))
}

on_values_alone!(DictVectorizer);

/// A tensor's elements as texts, to be looked up.
fn texts(tensor: &Tensor) -> Result<Vec<String>> {
    match tensor.as_strings() {
        Ok(strings) => Ok(strings.to_vec()),
        Err(_) => Ok(tensor.to_i64s()?.iter().map(i64::to_string).collect()),
    }
}

impl OnValues for DictVectorizer {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        let Value::Map { keys, values } = inputs.required(0)? else {
            let found = inputs.required(0)?.kind();
            return Err(Error::input(format!("takes a map, not {found}")).of_input(0));
        };
        if (keys.dtype() == DType::String) != (self.vocabulary.dtype() == DType::String) {
            let found =
                format!("the map's keys are {}, the vocabulary's {}", keys.dtype(), self.vocabulary.dtype());
            return Err(Error::input(found).of_input(0));
        }
        let given: std::collections::HashMap<String, usize> =
            texts(keys)?.into_iter().enumerate().map(|(at, key)| (key, at)).collect();
        let vocabulary = texts(&self.vocabulary)?;
        let known = vocabulary.iter().filter(|word| given.contains_key(*word)).count();
        if known < given.len() {
            let missing = given.keys().find(|key| !vocabulary.contains(key)).cloned().unwrap_or_default();
            let found = format!("the vocabulary has no '{}'", missing.escape_debug());
            return Err(Error::input(found).of_input(0).remedy("give keys of the vocabulary"));
        }
        let mut places = vocabulary.iter().map(|word| given.get(word).copied());
        let row = values.pick([vocabulary.len()], |_| places.next().flatten())?;
        Ok(vec![row.reshape([1, vocabulary.len()])?.into()])
    }
}
