//! The graphs that nodes hold: what they read of the graphs around them, and that under other names.

use onnx_protobuf::{AttributeProto, GraphProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// The names of values that a node's graphs read and don't make themselves, each once.
pub fn captures(node: &NodeProto) -> Vec<String> {
    let (mut found, mut seen) = (vec![], HashSet::new());
    for graph in graphs(node) {
        free(graph, &mut found, &mut seen);
    }
    found
}

/// The graphs among a node's attributes.
fn graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// The names that a graph makes or is given.
fn local(graph: &GraphProto) -> HashSet<&str> {
    let made = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    let given = graph.input.iter().map(|input| input.name.as_str());
    let dense = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let sparse = graph.sparse_initializer.iter().map(super::sparse::name);
    made.chain(given).chain(dense).chain(sparse).collect()
}

fn free(graph: &GraphProto, found: &mut Vec<String>, seen: &mut HashSet<String>) {
    let local = local(graph);
    let mut read = |name: &str| {
        if !name.is_empty() && !local.contains(name) && seen.insert(name.to_string()) {
            found.push(name.to_string());
        }
    };
    for node in &graph.node {
        node.input.iter().for_each(|name| read(name));
        captures(node).iter().for_each(|name| read(name));
    }
    graph.output.iter().for_each(|output| read(&output.name));
}

/// An attribute whose graphs read values under other names, and whose nodes' attributes `resolve` gives.
pub fn renamed(
    mut attribute: AttributeProto,
    names: &HashMap<String, String>,
    resolve: &dyn Fn(&AttributeProto) -> Option<AttributeProto>,
) -> AttributeProto {
    if let Some(graph) = attribute.g.as_mut() {
        rename(graph, names, resolve);
    }
    attribute.graphs.iter_mut().for_each(|graph| rename(graph, names, resolve));
    attribute
}

fn rename(
    graph: &mut GraphProto,
    names: &HashMap<String, String>,
    resolve: &dyn Fn(&AttributeProto) -> Option<AttributeProto>,
) {
    // What the graph makes hides what is of the same name around it.
    let local: HashSet<String> = local(graph).into_iter().map(str::to_string).collect();
    let names: HashMap<String, String> = names
        .iter()
        .filter(|(name, _)| !local.contains(*name))
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect();
    let other = |name: &mut String| {
        if let Some(new) = names.get(name) {
            name.clone_from(new);
        }
    };
    for node in &mut graph.node {
        node.input.iter_mut().for_each(other);
        let attributes = std::mem::take(&mut node.attribute);
        let attributes = attributes.iter().filter_map(resolve);
        node.attribute = attributes.map(|attribute| renamed(attribute, &names, resolve)).collect();
    }
    graph.output.iter_mut().for_each(|output| other(&mut output.name));
}
