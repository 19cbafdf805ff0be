//! [SequenceMap](https://onnx.ai/onnx/operators/onnx__SequenceMap.html), version 17: a graph over the items of
//! a sequence, and over those of others beside it.

use super::captured;
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::values::{eval_tensors, no_tensors};
use crate::ops::{Body, NodeView, OnValues, OpDef, Operator};
use crate::tensor::Tensor;
use crate::value::{Value, ValueType};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "SequenceMap", since: 17, parse, cases: &[] };

#[derive(Debug, Clone)]
pub struct SequenceMap {
    body: Arc<dyn Body>,
    /// The node's inputs without captured ones.
    own: usize,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let own = node.inputs.len();
    if own == 0 {
        return Err(Error::model("has no inputs; at least one is needed"));
    }
    let body = node.body("body")?;
    super::check_counts("body", &body, node.captures, own, node.output_count)?;
    Ok(Arc::new(SequenceMap { body, own }))
}

impl Operator for SequenceMap {
    fn infer(&self, _inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Err(no_tensors())
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        eval_tensors(self, inputs, mode)
    }
    fn on_values(&self) -> Option<&dyn OnValues> {
        Some(self)
    }
    fn is_random(&self) -> bool {
        self.body.is_random()
    }
}

impl OnValues for SequenceMap {
    fn eval_values(&self, inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        let count = inputs.required(0)?.items().map_err(|error| error.of_input(0))?.len();
        let around = captured(inputs, self.own);
        let mut results: Vec<Vec<Value>> = vec![vec![]; self.body.outputs()];
        for turn in 0..count {
            let item = |index: usize| -> Result<Value> {
                let Value::Sequence { items, .. } = inputs.required(index)? else {
                    return inputs.required(index).cloned();
                };
                items.get(turn).cloned().ok_or_else(|| {
                    let found = format!("has {} items, the first sequence {count}", items.len());
                    Error::input(found).of_input(index).remedy("give sequences of one length")
                })
            };
            let mut given = (0..self.own).map(item).collect::<Result<Vec<_>>>()?;
            given.extend(around.iter().cloned());
            for (list, value) in results.iter_mut().zip(self.body.eval(given, mode)?) {
                list.push(value);
            }
        }
        let sequence = |(index, list): (usize, Vec<Value>)| {
            let declared = || self.body.declared(index).map(|(dtype, _)| ValueType::Tensor(mode.of(dtype)));
            let of = list.first().map(Value::kind).or_else(declared);
            let of = of.ok_or_else(|| Error::model(format!("output {index} of the graph has no type")))?;
            Value::sequence(of, list)
        };
        results.into_iter().enumerate().map(sequence).collect()
    }
    fn own_inputs(&self) -> usize {
        self.own
    }
    fn bodies(&self) -> &[Arc<dyn Body>] {
        std::slice::from_ref(&self.body)
    }
    fn with_bodies(&self, bodies: Vec<Arc<dyn Body>>) -> Option<Arc<dyn Operator>> {
        let [body] = <[_; 1]>::try_from(bodies).ok()?;
        Some(Arc::new(SequenceMap { body, own: self.own }))
    }
}
