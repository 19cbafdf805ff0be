//! The CPU backend: runs a graph in memory, node after node; the reference for every other backend.

pub mod body;
pub mod conv_block;
pub mod inference;
pub mod layout;
pub mod program;
pub mod weights;
pub mod widened;

use crate::base::{EvalPrecision, Fact, Infer, Operands, held, stored_f16};
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::graph::{Graph, ValueId};
use crate::ops::{EPILOGUE_OPERANDS, Operator};
use crate::tensor::{DType, Tensor, cast, element_count};
use crate::value::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Runs one operator. Float16 and bfloat16 are computed in float32 and rounded, unless the operator only
/// moves elements; in [`EvalPrecision::F16`] float32 results are rounded to float16 as a store would.
///
/// What `infer` refuses is refused here, so that `eval` sees only ranks, types and sizes that fit.
pub fn eval_node(op: &dyn Operator, inputs: &[Option<&Tensor>], mode: EvalPrecision) -> Result<Vec<Tensor>> {
    if op.on_values().is_some() {
        // Its graphs and its operands are checked where they are run and read.
        return op.eval(Operands::new(inputs), mode);
    }
    let facts: Vec<Option<Fact>> = inputs.iter().map(|input| input.map(Fact::of)).collect();
    let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let promised = op.infer(Operands::new(&refs)).map_err(|problem| match problem {
        Infer::Error(error) => error,
        Infer::NeedsValue(index) => Error::internal(format!("the elements of input {index} are not known")),
        Infer::DependsOnData(reason) => Error::internal(format!("with all elements known: {reason}")),
    })?;
    promised.iter().try_for_each(|fact| element_count(&fact.shape).map(drop))?;
    let narrow = |dtype: DType| matches!(dtype, DType::F16 | DType::BF16);
    let outputs = if inputs.iter().flatten().any(|tensor| narrow(tensor.dtype())) && !op.takes_any_type() {
        let wide =
            inputs.iter().map(|input| {
                input
                    .map(|tensor| {
                        if narrow(tensor.dtype()) {
                            cast(tensor, DType::F32, true)
                        } else {
                            Ok(tensor.clone())
                        }
                    })
                    .transpose()
            });
        let wide = wide.collect::<Result<Vec<_>>>()?;
        let refs: Vec<Option<&Tensor>> = wide.iter().map(Option::as_ref).collect();
        if let Some(results) = stepwise(op, inputs, &refs, &promised, mode)? {
            return Ok(results);
        }
        let results = op.run(Operands::new(&refs), None, usize::MAX, mode)?;
        let declared = |(index, result): (usize, &Tensor)| match promised.get(index) {
            Some(fact) if result.dtype() == DType::F32 && narrow(fact.dtype) => {
                cast(result, fact.dtype, true)
            }
            _ => Ok(result.clone()),
        };
        results.iter().enumerate().map(declared).collect::<Result<Vec<_>>>()?
    } else {
        op.run(Operands::new(inputs), None, usize::MAX, mode)?
    };
    if mode == EvalPrecision::F16 { outputs.iter().map(stored_f16).collect() } else { Ok(outputs) }
}

/// An operator that carries an epilogue, in a narrow type: what it computes is rounded to the type that the
/// model declares before the epilogue's first step, as it was before the two were fused. `wide`: its inputs
/// in float32. `None`: it carries none.
fn stepwise(
    op: &dyn Operator,
    inputs: &[Option<&Tensor>],
    wide: &[Option<&Tensor>],
    promised: &[Fact],
    mode: EvalPrecision,
) -> Result<Option<Vec<Tensor>>> {
    let (Some(epilogue), [fact]) = (op.epilogue().filter(|epilogue| !epilogue.is_identity()), promised)
    else {
        return Ok(None);
    };
    let Some(plain) = op.with_epilogue(Pointwise::identity()) else { return Ok(None) };
    let own = &wide[..wide.len().min(EPILOGUE_OPERANDS)];
    let [result] = &plain.run(Operands::new(own), None, 1, mode)?[..] else { return Ok(None) };
    let result = cast(result, fact.dtype, true)?;
    let others = inputs.get(EPILOGUE_OPERANDS..).unwrap_or_default().iter().flatten().copied();
    let operands: Vec<&Tensor> = std::iter::once(&result).chain(others).collect();
    Ok(Some(vec![epilogue.eval(&operands, mode)?]))
}

/// Runs one operator on values of any kind, as [`eval_node`] does on tensors.
///
/// Errors: another value than a tensor, of an operator that takes tensors alone.
pub fn eval_values(op: &dyn Operator, inputs: &[Option<&Value>], mode: EvalPrecision) -> Result<Vec<Value>> {
    if let Some(op) = op.on_values() {
        return op.eval_values(Operands::new(inputs), mode);
    }
    if let ([Some(value)], Some(true)) = (inputs, op.expression().map(Pointwise::passes_on)) {
        return Ok(vec![(*value).clone()]);
    }
    let mut tensors = Vec::with_capacity(inputs.len());
    for (index, value) in inputs.iter().enumerate() {
        tensors.push(value.map(Value::tensor).transpose().map_err(|error| error.of_input(index))?);
    }
    Ok(eval_node(op, &tensors, mode)?.into_iter().map(Value::from).collect())
}

/// A step that a plan leaves to the CPU: on operands as the mode stores them, whether they come from the
/// device or were given so.
pub fn eval_step(
    op: &dyn Operator,
    operands: &[Option<&Tensor>],
    mode: EvalPrecision,
) -> Result<Vec<Tensor>> {
    if mode == EvalPrecision::Declared {
        return eval_node(op, operands, mode);
    }
    let held = |(index, operand): (usize, &Option<&Tensor>)| {
        operand.map(|tensor| held_by(op, index, tensor, mode)).transpose()
    };
    let held = operands.iter().enumerate().map(held).collect::<Result<Vec<_>>>()?;
    eval_node(op, &held.iter().map(Option::as_ref).collect::<Vec<_>>(), mode)
}

/// The same of an operator's operand.
pub fn held_by(op: &dyn Operator, index: usize, tensor: &Tensor, mode: EvalPrecision) -> Result<Tensor> {
    if mode == EvalPrecision::F16 && op.by_value(index) { Ok(tensor.clone()) } else { held(tensor, mode) }
}

/// Runs a graph of tensors. `watch` sees every value that a node makes, in order; values are freed after their
/// last use.
///
/// Returns the graph's outputs in order. Errors name the node.
pub fn run(
    graph: &Graph,
    inputs: &HashMap<ValueId, Tensor>,
    mode: EvalPrecision,
    watch: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>> {
    let inputs = inputs.iter().map(|(&id, tensor)| (id, tensor.clone().into())).collect();
    let mut watch = |id: ValueId, value: &Value| {
        if let Value::Tensor(tensor) = value {
            watch(id, tensor);
        }
    };
    let outputs = run_values(graph, &inputs, mode, &mut watch)?;
    let named = |(id, value): (&ValueId, Value)| {
        value.into_tensor().map_err(|error| error.at_tensor(&graph.value(*id).name))
    };
    graph.outputs.iter().zip(outputs).map(named).collect()
}

/// The same of a graph on values of any kind.
pub fn run_values(
    graph: &Graph,
    inputs: &HashMap<ValueId, Value>,
    mode: EvalPrecision,
    watch: &mut dyn FnMut(ValueId, &Value),
) -> Result<Vec<Value>> {
    let mut last_use: HashMap<ValueId, usize> = HashMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        last_use.extend(node.inputs.iter().flatten().map(|&id| (id, index)));
    }
    last_use.extend(graph.outputs.iter().map(|&id| (id, usize::MAX)));
    let mut values: HashMap<ValueId, Value> = HashMap::new();
    for &id in &graph.inputs {
        let given = inputs
            .get(&id)
            .ok_or_else(|| Error::input("this input is missing").at_tensor(&graph.value(id).name))?;
        values.insert(id, given.map_tensors(&|tensor| held(tensor, mode))?);
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let here = |error: Error| graph.error_at(node, error);
        for (index, id) in node.inputs.iter().enumerate().filter_map(|(index, id)| Some((index, (*id)?))) {
            if let Entry::Vacant(missing) = values.entry(id) {
                let constant = graph.constant(id).ok_or_else(|| {
                    here(Error::internal(format!("'{}' has no value", graph.value(id).name)))
                })?;
                missing.insert(held_by(&*node.op, index, constant, mode)?.into());
            }
        }
        let operands: Vec<Option<&Value>> =
            node.inputs.iter().map(|id| id.and_then(|id| values.get(&id))).collect();
        let results = eval_values(&*node.op, &operands, mode).map_err(here)?;
        for (id, value) in node.outputs.iter().zip(results) {
            if let Some(id) = id {
                watch(*id, &value);
                if last_use.contains_key(id) {
                    values.insert(*id, value);
                }
            }
        }
        for id in node.inputs.iter().flatten() {
            if last_use.get(id) == Some(&index) {
                values.remove(id);
            }
        }
    }
    let output = |id: &ValueId| match (values.get(id), graph.constant(*id)) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(constant)) => held(constant, mode).map(Value::from),
        (None, None) => Err(Error::internal("an output was not made").at_tensor(&graph.value(*id).name)),
    };
    graph.outputs.iter().map(output).collect()
}
