//! [Loop](https://onnx.ai/onnx/operators/onnx__Loop.html), versions 1, 11, 13, 16, 19, 21, 23, 24, 25: a graph
//! over and over, while a condition holds and for as many turns as are asked for.
//!
//! The graph takes the turn's number, the condition and the values that are carried from turn to turn; it
//! gives the condition and the values for the next, and more outputs, which are stacked over all turns.

use super::{ControlFlow, captured, counter, endless, infer_turn, stack, turn_limit};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::values::{eval_tensors, scalar};
use crate::ops::{Body, NodeView, OnValues, OpDef, Operator};
use crate::tensor::{Boolean, DType, Tensor};
use crate::value::Value;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Loop", since: 1, parse, cases: &[] };

/// The inputs before those that are carried: the number of turns, the condition. The graph has as many.
pub(crate) const FIRST: usize = 2;

#[derive(Debug, Clone)]
pub struct Loop {
    body: Arc<dyn Body>,
    /// The node's inputs without captured ones.
    own: usize,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let own = node.inputs.len().max(FIRST);
    if node.inputs.len() < FIRST {
        return Err(Error::model(format!("has {} inputs; at least {FIRST} are needed", node.inputs.len())));
    }
    let body = node.body("body")?;
    let (inputs, carried) = (body.inputs().saturating_sub(node.captures), own - FIRST);
    if inputs != own || body.outputs() < 1 + carried || body.outputs() - 1 < node.output_count {
        return Err(Error::model(format!(
            "the graph 'body' has {inputs} inputs and {} outputs; for {carried} carried values and {} outputs \
             of the node it has {own} inputs and at least {} outputs",
            body.outputs(),
            node.output_count,
            1 + carried.max(node.output_count)
        ))
        .remedy("export the model again: the graph and its node contradict each other"));
    }
    Ok(Arc::new(Loop { body, own }))
}

impl Loop {
    /// The number of values that are carried from turn to turn.
    pub(crate) fn carried(&self) -> usize {
        self.own - FIRST
    }
}

impl Operator for Loop {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let known = |index: usize| -> Result<Option<i64>> {
            let value = inputs.optional(index).and_then(|fact| fact.value.clone());
            value.map(|value| scalar(&value.into(), index)).transpose()
        };
        let mut given = vec![Fact::new(DType::I64, []), Fact::new(DType::Bool, [])];
        let begins = inputs.optional(1).is_none() || known(1)? == Some(1);
        if begins {
            given[1] = Fact::of(&Tensor::scalar(Boolean::from(true)));
        }
        let carried: Vec<Fact> = (FIRST..self.own)
            .map(|index| inputs.required(index).map(|fact| Fact::new(fact.dtype, fact.shape.clone())))
            .collect::<Result<_>>()?;
        given.extend(carried.iter().cloned());
        given.extend(inputs.skip(self.own).present().cloned());
        let made = infer_turn(&*self.body, &given, FIRST..self.own, 1, self.own, "turn")?;
        let scanned = made.get(1 + self.carried()..).unwrap_or_default();
        let mut results: Vec<Fact> = carried;
        if !scanned.is_empty() {
            let goes_on = made.first().and_then(|fact| fact.value.clone());
            let goes_on = goes_on.map(|value| scalar(&value.into(), 1)).transpose()? == Some(1);
            if !begins || !goes_on {
                return Err(Infer::DependsOnData("the number of its turns depends on a condition".into()));
            }
            if inputs.optional(0).is_none() {
                return Err(no_end().into());
            }
            let turns = known(0)?.ok_or(Infer::NeedsValue(0))?.max(0) as usize;
            results.extend(scanned.iter().map(|fact| {
                let shape: Vec<usize> = std::iter::once(turns).chain(fact.shape.iter().copied()).collect();
                Fact::new(fact.dtype, shape)
            }));
        }
        Ok(results)
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

fn no_end() -> Error {
    Error::model("has neither a number of turns nor a condition that ends it")
        .remedy("export the model with one of them")
}

impl OnValues for Loop {
    fn eval_values(&self, inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        let asked = inputs.optional(0).map(|value| scalar(value, 0)).transpose()?;
        let mut goes_on = inputs.optional(1).map_or(Ok(1), |value| scalar(value, 1))? != 0;
        let mut carried: Vec<Value> =
            (FIRST..self.own).map(|index| inputs.required(index).cloned()).collect::<Result<_>>()?;
        let around = captured(inputs, self.own);
        let limit = turn_limit()?;
        let mut stacked: Vec<Vec<Tensor>> = vec![vec![]; self.body.outputs() - 1 - carried.len()];
        let mut turn = 0i64;
        while goes_on && asked.is_none_or(|turns| turn < turns) {
            if turn >= limit {
                return Err(endless(limit));
            }
            let mut given = vec![
                counter(&*self.body, 0, Tensor::scalar(turn))?.into(),
                counter(&*self.body, 1, Tensor::scalar(Boolean::from(true)))?.into(),
            ];
            let kinds: Vec<_> = carried.iter().map(Value::kind).collect();
            given.append(&mut carried);
            given.extend(around.iter().cloned());
            let mut made = self.body.eval(given, mode)?.into_iter();
            let condition = made.next().ok_or_else(|| Error::internal("a loop's graph made nothing"))?;
            goes_on = scalar(&condition, 1)? != 0;
            for (index, (before, value)) in kinds.into_iter().zip(&mut made).enumerate() {
                // A value may begin as an optional of what it then is.
                if value.kind() != before && before != value.kind().optional() {
                    return Err(Error::model(format!(
                        "carried value {index} began the turn as {before}, and its graph makes it {}",
                        value.kind()
                    ))
                    .of_input(index + FIRST)
                    .remedy("export the model again: a carried value keeps its type"));
                }
                carried.push(value);
            }
            for (list, value) in stacked.iter_mut().zip(made) {
                list.push(value.into_tensor()?);
            }
            turn += 1;
        }
        let first = 1 + carried.len();
        let stacked = stacked
            .iter()
            .enumerate()
            .map(|(index, list)| stack(list, &*self.body, first + index, mode).map(Value::from));
        let stacked: Vec<Value> = stacked.collect::<Result<_>>()?;
        Ok(carried.into_iter().chain(stacked).collect())
    }
    fn control_flow(&self) -> Option<ControlFlow<'_>> {
        self.body.on_tensors_alone().then_some(ControlFlow::Loop(self))
    }
    fn own_inputs(&self) -> usize {
        self.own
    }
    fn bodies(&self) -> &[Arc<dyn Body>] {
        std::slice::from_ref(&self.body)
    }
    fn with_bodies(&self, bodies: Vec<Arc<dyn Body>>) -> Option<Arc<dyn Operator>> {
        let [body] = <[_; 1]>::try_from(bodies).ok()?;
        Some(Arc::new(Loop { body, own: self.own }))
    }
}
