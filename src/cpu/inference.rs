//! Inference of every type and shape, and of the values that follow from constants and shapes.

use super::eval_node;
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::control::ControlFlow;
use std::collections::HashMap;

/// Values that follow from constants are computed with the plan up to this many bytes.
pub const KNOWN_BYTES: usize = 1 << 20;

/// The most elements of an input that may become part of a plan.
pub const BY_VALUE_ELEMENTS: usize = 1024;

/// The most elements of an input that decides a branch or the turns of a loop for a plan.
pub const DECIDING_ELEMENTS: usize = 16;

/// What inference came to.
#[derive(Debug)]
pub enum Inference {
    /// A fact for every value that is used.
    Complete(Vec<Option<Fact>>),
    /// A shape depends on the elements of these graph inputs: infer again with their values.
    NeedsInputs(Vec<ValueId>),
    /// A shape depends on data that only a run can know: the node, and why.
    DependsOnData { node: String, op_type: String, reason: String },
}

/// Infers one node's outputs.
pub fn infer_node(node: &Node, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>, Infer> {
    node.op.infer(Operands::new(inputs)).map_err(|problem| match problem {
        Infer::Error(error) => Infer::Error(error.at_node(&node.name).at_operator(&node.op_type)),
        needs => needs,
    })
}

/// Floating-point operations of one application of a node, by the facts of its graph's values.
pub fn node_flops(node: &Node, facts: &[Option<Fact>]) -> u64 {
    let fact = |id: &Option<ValueId>| id.and_then(|id| facts.get(id.0 as usize)?.as_ref());
    let inputs: Vec<Option<&Fact>> = node.inputs.iter().map(fact).collect();
    let outputs: Vec<Fact> = node.outputs.iter().filter_map(fact).cloned().collect();
    node.op.flops(Operands::new(&inputs), &outputs)
}

/// Infers the whole graph from the inputs' facts. A fact with a value (an input that a shape depends on) is
/// used by it.
pub fn infer(graph: &Graph, inputs: &HashMap<ValueId, Fact>) -> Result<Inference> {
    let mut first = None;
    let found = walk(graph, inputs, false, &mut |index, reason| {
        first = Some((index, reason));
        false
    })?;
    let decided = |(index, reason): (usize, String)| {
        let node = &graph.nodes[index];
        Inference::DependsOnData { node: node.name.clone(), op_type: node.op_type.clone(), reason }
    };
    Ok(match (found, first) {
        (_, Some(first)) => decided(first),
        (Ok(facts), None) => Inference::Complete(facts),
        (Err(wanted), None) => Inference::NeedsInputs(wanted),
    })
}

/// What is known of a graph in which shapes depend on data.
pub struct Partial {
    /// A fact for every value that doesn't follow from such a shape.
    pub facts: Vec<Option<Fact>>,
    /// The nodes whose results only a run can know the shapes of, though it knows those of their inputs, and
    /// those with graphs that run apart: the index and why.
    pub undecided: Vec<(usize, String)>,
}

/// Infers as much of a graph as can be known without running the graphs in its nodes: those, and what follows
/// from them, are undecided. `Err`: the inputs that [`Inference::NeedsInputs`] has.
pub fn infer_partly(graph: &Graph, inputs: &HashMap<ValueId, Fact>) -> Result<Result<Partial, Vec<ValueId>>> {
    let mut undecided = vec![];
    let facts = walk(graph, inputs, true, &mut |index, reason| {
        undecided.push((index, reason));
        true
    })?;
    Ok(facts.map(|facts| Partial { facts, undecided }))
}

/// Goes through the nodes. `apart`: loops over graphs, and branches that no plan can decide, are undecided
/// whatever can be known of their shapes. `undecided` is told of one whose results' shapes only a run can know, and says
/// whether to go on without those and what follows from them. `Err`: inputs whose elements are needed.
fn walk(
    graph: &Graph,
    inputs: &HashMap<ValueId, Fact>,
    apart: bool,
    undecided: &mut dyn FnMut(usize, String) -> bool,
) -> Result<Result<Vec<Option<Fact>>, Vec<ValueId>>> {
    let mut partly = false;
    let mut facts: Vec<Option<Fact>> =
        graph.values.iter().map(|value| value.constant.as_ref().map(Fact::of)).collect();
    for (&id, fact) in inputs {
        facts[id.0 as usize] = Some(fact.clone());
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        let known: Vec<Option<&Fact>> =
            node.inputs.iter().map(|id| id.and_then(|id| facts[id.0 as usize].as_ref())).collect();
        if let Some(index) =
            (0..known.len()).find(|&index| known[index].is_none() && node.inputs[index].is_some())
        {
            if partly {
                continue;
            }
            return Err(Error::internal(format!("input {index} has no type"))
                .at_node(&node.name)
                .at_operator(&node.op_type));
        }
        let flow = node.op.on_values().and_then(|op| op.control_flow()).filter(|_| apart);
        let constant = known.iter().flatten().all(|fact| fact.value.is_some());
        if matches!(flow, Some(ControlFlow::Loop(_) | ControlFlow::Scan(_))) && !constant {
            partly |= undecided(at, "its graph runs turn by turn".into());
            continue;
        }
        let inferred = match infer_node(node, &known) {
            Err(Infer::NeedsValue(index)) => {
                let wanted = wanted(graph, &facts, inputs, node, index);
                if !wanted.is_empty() {
                    return Ok(Err(wanted));
                }
                if flow.is_some() {
                    partly |= undecided(at, "only a run knows which of its graphs it takes".into());
                    continue;
                }
                let by_itself = node.op.on_values().map(|op| op.infer_undecided(Operands::new(&known)));
                by_itself.unwrap_or_else(|| {
                    Err(Infer::DependsOnData(format!(
                        "its shape depends on the elements of input {index}, which only a run can know"
                    )))
                })
            }
            other => other,
        };
        let mut results = match inferred {
            Ok(results) => results,
            Err(Infer::Error(error)) => return Err(graph.error_at(node, error)),
            Err(Infer::NeedsValue(_)) => return Err(Error::internal("an input is needed twice")),
            Err(Infer::DependsOnData(reason)) => {
                if undecided(at, reason) {
                    partly = true;
                    continue;
                }
                return Ok(Err(vec![]));
            }
        };
        if results.len() < node.outputs.len() {
            return Err(Error::model(format!(
                "has {} outputs; {} are known",
                node.outputs.len(),
                results.len()
            ))
            .at_node(&node.name)
            .at_operator(&node.op_type));
        }
        let bytes = |fact: &Fact| fact.count().saturating_mul(fact.dtype.size());
        let computable =
            constant && results.iter().all(|fact| bytes(fact) <= KNOWN_BYTES) && !node.op.is_random();
        if computable && results.iter().any(|fact| fact.value.is_none()) {
            let operands: Vec<_> =
                known.iter().map(|fact| fact.and_then(|fact| fact.value.as_ref())).collect();
            let values = eval_node(&*node.op, &operands, EvalPrecision::Declared)
                .map_err(|error| graph.error_at(node, error))?;
            results = values.iter().map(Fact::of).collect();
        }
        for (id, fact) in node.outputs.iter().zip(results) {
            if let Some(id) = id {
                crate::tensor::element_count(&fact.shape)
                    .map_err(|error| error.at_tensor(&graph.value(*id).name).at_node(&node.name))?;
                facts[id.0 as usize] = Some(fact);
            }
        }
    }
    Ok(Ok(facts))
}

/// The graph inputs that are small enough to be part of a plan, and whose elements decide input `index` of a
/// node.
fn wanted(
    graph: &Graph,
    facts: &[Option<Fact>],
    inputs: &HashMap<ValueId, Fact>,
    node: &Node,
    index: usize,
) -> Vec<ValueId> {
    let value = node.inputs.get(index).copied().flatten();
    let sources = value.map(|id| sources(graph, facts, id)).unwrap_or_default();
    // What decides a branch and is more than a setting changes from run to run.
    let decides = node.op.on_values().is_some();
    let small = |fact: &Fact| {
        fact.value.is_none()
            && if decides {
                fact.count() <= DECIDING_ELEMENTS && !fact.dtype.is_float()
            } else {
                fact.count() <= BY_VALUE_ELEMENTS
            }
    };
    sources.iter().copied().filter(|id| inputs.get(id).is_some_and(small)).collect()
}

/// The graph inputs whose elements a value follows from. What is known already is not walked through: the
/// shape of an input says nothing of its elements.
fn sources(graph: &Graph, facts: &[Option<Fact>], value: ValueId) -> Vec<ValueId> {
    let producers = graph.producers();
    let (mut found, mut seen, mut stack) = (vec![], std::collections::HashSet::new(), vec![value]);
    while let Some(id) = stack.pop() {
        let known =
            facts.get(id.0 as usize).and_then(Option::as_ref).is_some_and(|fact| fact.value.is_some());
        if known || !seen.insert(id) {
            continue;
        }
        match producers.get(&id) {
            Some(&node) => stack.extend(graph.nodes[node].inputs.iter().flatten()),
            None if graph.inputs.contains(&id) => found.push(id),
            None => {}
        }
    }
    found
}
