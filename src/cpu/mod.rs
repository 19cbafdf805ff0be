//! The CPU backend: runs a graph in memory, node after node; the reference for every other backend.

pub mod chain;
pub mod conv;
pub mod depthwise;
pub mod depthwise_last;
pub mod epilogue;
pub mod gemm;
pub mod layout;
pub mod math;
pub mod panels;
pub mod plane;
pub mod pool;
pub mod product;
pub mod program;
pub mod rows;
pub mod simd;
pub mod tile;
pub mod vector;

use crate::base::Fact;
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::ops::{Infer, Mode, Operands, Operator};
use crate::tensor::{DType, Tensor, cast, element_count, round_f16};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Runs one operator. Float16 and bfloat16 are computed in float32 and rounded, unless the operator only
/// moves elements; in [`Mode::F16`] float32 results are rounded to float16 as a store would.
///
/// What `infer` refuses is refused here, so that `eval` sees only ranks, types and sizes that fit.
pub fn eval_node(op: &dyn Operator, inputs: &[Option<&Tensor>], mode: Mode) -> Result<Vec<Tensor>> {
    let facts: Vec<Option<Fact>> = inputs.iter().map(|input| input.map(Fact::of)).collect();
    let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let promised = op.infer(Operands::new(&refs)).map_err(|problem| match problem {
        Infer::Error(error) => error,
        Infer::NeedsValue(index) => Error::internal(format!("the elements of input {index} are not known")),
    })?;
    promised.iter().try_for_each(|fact| element_count(&fact.shape).map(drop))?;
    let narrow = |dtype: DType| matches!(dtype, DType::F16 | DType::BF16);
    let outputs = if inputs.iter().flatten().any(|tensor| narrow(tensor.dtype())) && !op.moves() {
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
        let results = op.eval(Operands::new(&refs), mode)?;
        let declared = |(index, result): (usize, &Tensor)| match promised.get(index) {
            Some(fact) if result.dtype() == DType::F32 && narrow(fact.dtype) => {
                cast(result, fact.dtype, true)
            }
            _ => Ok(result.clone()),
        };
        results.iter().enumerate().map(declared).collect::<Result<Vec<_>>>()?
    } else {
        op.eval(Operands::new(inputs), mode)?
    };
    if mode == Mode::F16 { outputs.iter().map(stored_f16).collect() } else { Ok(outputs) }
}

/// A step that a plan leaves to the CPU: on operands as the mode stores them, whether they come from the
/// device or were given so.
pub fn eval_step(op: &dyn Operator, operands: &[Option<&Tensor>], mode: Mode) -> Result<Vec<Tensor>> {
    if mode == Mode::Declared {
        return eval_node(op, operands, mode);
    }
    let held = |(index, operand): (usize, &Option<&Tensor>)| {
        operand.map(|tensor| held_by(op, index, tensor, mode)).transpose()
    };
    let held = operands.iter().enumerate().map(held).collect::<Result<Vec<_>>>()?;
    eval_node(op, &held.iter().map(Option::as_ref).collect::<Vec<_>>(), mode)
}

/// A tensor as f16 storage would give it back: float32 rounded, the rest untouched.
pub fn stored_f16(tensor: &Tensor) -> Result<Tensor> {
    if tensor.dtype() != DType::F32 {
        return Ok(tensor.clone());
    }
    Tensor::new(tensor.shape(), tensor.as_slice::<f32>()?.iter().map(|&x| round_f16(x)).collect::<Vec<_>>())
}

/// A tensor as a mode holds it: the oracle widens every float to float64, the f16 reference rounds float32.
pub fn held(tensor: &Tensor, mode: Mode) -> Result<Tensor> {
    match mode {
        Mode::Declared => Ok(tensor.clone()),
        Mode::Oracle => cast(tensor, mode.held(tensor.dtype()), true),
        Mode::F16 => stored_f16(tensor),
    }
}

/// The same of an operator's operand.
pub fn held_by(op: &dyn Operator, index: usize, tensor: &Tensor, mode: Mode) -> Result<Tensor> {
    if mode == Mode::F16 && op.by_value(index) { Ok(tensor.clone()) } else { held(tensor, mode) }
}

/// Runs a graph. `watch` sees every value that a node makes, in order; values are freed after their last use.
///
/// Returns the graph's outputs in order. Errors name the node.
pub fn run(
    graph: &Graph,
    inputs: &HashMap<ValueId, Tensor>,
    mode: Mode,
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
