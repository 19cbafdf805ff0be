//! The graph of one case of one operator, for the tests that go through all of them.

use sardonyx::ops::case::Case;
use sardonyx::ops::{Input, NodeView, OpDef, operators};
use sardonyx::{Tensor, graph};
use std::collections::HashMap;

const NEWEST: i64 = 24;

/// A graph of the one node, and its inputs that a run gives.
pub fn build(def: &OpDef, case: &Case, seed: u64) -> (graph::Graph, Vec<(String, Tensor)>) {
    let version = if case.version == 0 { NEWEST } else { case.version };
    let attributes =
        case.attributes.iter().map(|(name, value)| (name.to_string(), value.attribute())).collect();
    let tensors: Vec<Option<Tensor>> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(k, operand)| operand.tensor(seed + 100 * k as u64).unwrap())
        .collect();
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

pub fn cases() -> impl Iterator<Item = (&'static OpDef, &'static Case, String)> {
    operators().flat_map(|def| {
        def.cases.iter().enumerate().map(move |(k, case)| {
            (def, case, format!("{} case {k} {:?} {:?}", def.name, case.attributes, case.inputs))
        })
    })
}
