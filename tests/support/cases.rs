//! The graph of one case of one operator, for the tests that go through all of them.

use sardonyx::ops::case::{Case, Operand};
use sardonyx::ops::{Input, NodeView, OpDef, operators};
use sardonyx::{Tensor, graph};
use std::collections::HashMap;

const NEWEST: i64 = 24;

/// The version of ONNX that a case is written for.
pub fn version(case: &Case) -> i64 {
    if case.version == 0 { NEWEST } else { case.version }
}

/// The tensors of a case's inputs, from a seed.
pub fn tensors(case: &Case, seed: u64) -> Vec<Option<Tensor>> {
    let tensor = |(k, operand): (usize, &Operand)| operand.tensor(seed + 100 * k as u64).unwrap();
    case.inputs.iter().enumerate().map(tensor).collect()
}

/// A graph of the one node, and its inputs that a run gives.
pub fn build(def: &OpDef, case: &Case, seed: u64) -> (graph::Graph, Vec<(String, Tensor)>) {
    let version = version(case);
    let attributes =
        case.attributes.iter().map(|(name, value)| (name.to_string(), value.attribute())).collect();
    let tensors = tensors(case, seed);
    let inputs = tensors
        .iter()
        .enumerate()
        .map(|(k, tensor)| if tensor.is_some() { Input::Named(format!("x{k}")) } else { Input::Absent })
        .collect();
    let mut view = NodeView::new("node", def.name, version, attributes, inputs, case.outputs);
    let op = (def.parse)(&mut view).unwrap_or_else(|error| panic!("{} {case:?}: {error}", def.name));
    assert_eq!(view.unread(), None, "{}: an attribute that parse never asked for", def.name);
    let mut graph = graph::Graph::default();
    let mut given = vec![];
    let mut ids = HashMap::new();
    for (k, (operand, tensor)) in case.inputs.iter().zip(tensors).enumerate() {
        let Some(tensor) = tensor else { continue };
        let name = format!("x{k}");
        let declared = graph::Declared { dtype: tensor.dtype(), dims: None };
        let id = graph.add_value(&name, Some(declared), operand.is_constant().then(|| tensor.clone()));
        ids.insert(name.clone(), id);
        if !operand.is_constant() {
            graph.inputs.push(id);
            given.push((name, tensor));
        }
    }
    let node_inputs = view
        .inputs
        .iter()
        .map(|input| match input {
            Input::Absent => None,
            Input::Named(name) => Some(ids[name]),
            Input::Constant(tensor) => Some(graph.add_constant("attribute", tensor.clone())),
        })
        .collect();
    let outputs: Vec<_> = (0..case.outputs).map(|k| graph.add_value(format!("y{k}"), None, None)).collect();
    graph.outputs = outputs.clone();
    let node = graph::Node {
        name: "node".into(),
        op_type: def.name.into(),
        op,
        inputs: node_inputs,
        outputs: outputs.into_iter().map(Some).collect(),
        fused: vec![],
    };
    graph.nodes.push(node);
    graph.verify().unwrap();
    (graph, given)
}

/// What the graph's node reads: constants, and what a run gives.
#[allow(dead_code)] // compare_operators.rs runs sessions alone
pub fn operands<'a>(graph: &'a graph::Graph, given: &'a [(String, Tensor)]) -> Vec<Option<&'a Tensor>> {
    let of = |id: graph::ValueId| {
        let given = || &given.iter().find(|(name, _)| *name == graph.value(id).name).unwrap().1;
        graph.constant(id).unwrap_or_else(given)
    };
    graph.nodes[0].inputs.iter().map(|id| id.map(of)).collect()
}

/// Whether an operator's cases are gone through: those that SARDONYX_OPERATORS names, all where it is unset.
pub fn is_asked_for(def: &OpDef) -> bool {
    let names = std::env::var("SARDONYX_OPERATORS");
    names.map_or(true, |names| names.split(',').any(|name| name == def.name))
}

pub fn cases() -> impl Iterator<Item = (&'static OpDef, &'static Case, String)> {
    operators().filter(|def| is_asked_for(def)).flat_map(|def| {
        def.cases.iter().enumerate().map(move |(k, case)| {
            (def, case, format!("{} case {k} {:?} {:?}", def.name, case.attributes, case.inputs))
        })
    })
}
