//! The CPU backend: runs a graph in memory, node after node; the reference for every other backend.

pub mod conv_block;
pub mod layout;
pub mod program;

use crate::base::{EvalPrecision, Fact, Infer, Operands, held, stored_f16};
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::graph::{Graph, ValueId};
use crate::ops::{EPILOGUE_OPERANDS, Operator};
use crate::tensor::{DType, Tensor, cast, element_count};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Runs one operator. Float16 and bfloat16 are computed in float32 and rounded, unless the operator only
/// moves elements; in [`EvalPrecision::F16`] float32 results are rounded to float16 as a store would.
///
/// What `infer` refuses is refused here, so that `eval` sees only ranks, types and sizes that fit.
pub fn eval_node(op: &dyn Operator, inputs: &[Option<&Tensor>], mode: EvalPrecision) -> Result<Vec<Tensor>> {
    let facts: Vec<Option<Fact>> = inputs.iter().map(|input| input.map(Fact::of)).collect();
    let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let promised = op.infer(Operands::new(&refs)).map_err(|problem| match problem {
        Infer::Error(error) => error,
        Infer::NeedsValue(index) => Error::internal(format!("the elements of input {index} are not known")),
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

/// Runs a graph. `watch` sees every value that a node makes, in order; values are freed after their last use.
///
/// Returns the graph's outputs in order. Errors name the node.
pub fn run(
    graph: &Graph,
    inputs: &HashMap<ValueId, Tensor>,
    mode: EvalPrecision,
    watch: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>> {
    let mut last_use: HashMap<ValueId, usize> = HashMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        last_use.extend(node.inputs.iter().flatten().map(|&id| (id, index)));
    }
    last_use.extend(graph.outputs.iter().map(|&id| (id, usize::MAX)));
    let mut values: HashMap<ValueId, Tensor> = HashMap::new();
    for &id in &graph.inputs {
        let given = inputs
            .get(&id)
            .ok_or_else(|| Error::input("this input is missing").at_tensor(&graph.value(id).name))?;
        values.insert(id, held(given, mode)?);
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let here = |error: Error| graph.error_at(node, error);
        for (index, id) in node.inputs.iter().enumerate().filter_map(|(index, id)| Some((index, (*id)?))) {
            if let Entry::Vacant(missing) = values.entry(id) {
                let constant = graph.constant(id).ok_or_else(|| {
                    here(Error::internal(format!("'{}' has no value", graph.value(id).name)))
                })?;
                missing.insert(held_by(&*node.op, index, constant, mode)?);
            }
        }
        let operands: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|id| id.and_then(|id| values.get(&id))).collect();
        let results = eval_node(&*node.op, &operands, mode).map_err(here)?;
        for (id, tensor) in node.outputs.iter().zip(results) {
            if let Some(id) = id {
                watch(*id, &tensor);
                if last_use.contains_key(id) {
                    values.insert(*id, tensor);
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
        (Some(tensor), _) => Ok(tensor.clone()),
        (None, Some(constant)) => held(constant, mode),
        (None, None) => Err(Error::internal("an output was not made").at_tensor(&graph.value(*id).name)),
    };
    graph.outputs.iter().map(output).collect()
}
