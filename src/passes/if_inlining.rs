//! *Given* an If whose condition is known → *Result* the nodes of the branch that it takes, in its place.
//!
//! Exporters write an If around a Squeeze or a Reshape by rank, and functions of ONNX by what attributes say:
//! the condition is constant, or follows from shapes.

use crate::base::Fact;
use crate::cpu::body::{graph_of, infer_all};
use crate::error::Result;
use crate::expression::{Pointwise, table};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::Operator;
use crate::ops::pointwise::Elementwise;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Where conditions are constants.
pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    inlined(graph, None)
}

/// Where they follow from shapes, or from inputs that are part of a plan: `facts` gets those of the values
/// that are added.
pub fn with_shapes(graph: &mut Graph, facts: &mut Vec<Option<Fact>>) -> Result<bool> {
    inlined(graph, Some(facts))
}

fn inlined(graph: &mut Graph, mut facts: Option<&mut Vec<Option<Fact>>>) -> Result<bool> {
    let mut names: Option<HashSet<String>> = None;
    let (mut changed, mut index) = (false, 0);
    while let Some(node) = graph.nodes.get(index) {
        let Some(branch) = taken(graph, node, facts.as_deref()) else {
            index += 1;
            continue;
        };
        let known = facts.as_deref().map(|facts| known(&branch, node, facts));
        if known.as_ref().is_some_and(Option::is_none) {
            index += 1;
            continue;
        }
        let names =
            names.get_or_insert_with(|| graph.values.iter().map(|value| value.name.clone()).collect());
        let added = put_in_place(graph, index, &branch, names);
        if let (Some(facts), Some(known)) = (facts.as_deref_mut(), known.flatten()) {
            facts.resize(graph.values.len(), None);
            for (inner, outer) in added {
                facts[outer.0 as usize] = known[inner.0 as usize].clone();
            }
        }
        changed = true;
    }
    Ok(changed)
}

/// The graph that stands for a node, if its first input says which.
fn taken(graph: &Graph, node: &Node, facts: Option<&Vec<Option<Fact>>>) -> Option<Arc<Graph>> {
    let op = node.op.on_values()?;
    let id = node.inputs.first().copied().flatten()?;
    let fact = || facts?.get(id.0 as usize)?.as_ref()?.value.as_ref();
    let decides: &Tensor = graph.constant(id).or_else(fact)?;
    let body = op.bodies().get(op.taken(decides)?)?;
    let branch = graph_of(&**body)?.clone();
    (branch.inputs.len() == node.inputs.len() - op.own_inputs().min(node.inputs.len())).then_some(branch)
}

/// What is known of a branch's values where it takes a node's place.
fn known(branch: &Graph, node: &Node, facts: &[Option<Fact>]) -> Option<Vec<Option<Fact>>> {
    let first = node.inputs.len() - branch.inputs.len();
    let given = node.inputs[first..].iter().map(|id| facts.get((*id)?.0 as usize)?.clone());
    infer_all(branch, &given.collect::<Option<Vec<_>>>()?).ok()
}

/// Replaces a node by a branch; returns the values that were added, each as the branch has it and as the graph
/// does.
fn put_in_place(
    graph: &mut Graph,
    index: usize,
    branch: &Graph,
    names: &mut HashSet<String>,
) -> Vec<(ValueId, ValueId)> {
    let node = graph.nodes.remove(index);
    let first = node.inputs.len() - branch.inputs.len();
    let mut places: HashMap<ValueId, ValueId> = HashMap::new();
    for (&inner, outer) in branch.inputs.iter().zip(&node.inputs[first..]) {
        places.extend(outer.map(|outer| (inner, outer)));
    }
    let made: HashSet<ValueId> =
        branch.nodes.iter().flat_map(|node| node.outputs.iter().flatten()).copied().collect();
    // A result goes straight to the node's output, but where the branch gives something twice or as it got it.
    let mut passed = vec![];
    for (&inner, outer) in branch.outputs.iter().zip(&node.outputs) {
        let Some(outer) = *outer else { continue };
        if made.contains(&inner) && !places.contains_key(&inner) {
            places.insert(inner, outer);
        } else {
            passed.push((inner, outer));
        }
    }
    let mut added = vec![];
    for (at, value) in branch.values.iter().enumerate() {
        let inner = ValueId(at as u32);
        if places.contains_key(&inner) {
            continue;
        }
        let mut name = value.name.clone();
        while !names.insert(name.clone()) {
            name = format!("{}/{name}", node.name);
        }
        let outer = graph.add_value(name, value.declared.clone(), value.constant.clone());
        graph.values[outer.0 as usize].other = value.other.clone();
        places.insert(inner, outer);
        added.push((inner, outer));
    }
    let mapped =
        |ids: &[Option<ValueId>]| ids.iter().map(|id| id.and_then(|id| places.get(&id).copied())).collect();
    let inner = branch.nodes.iter().map(|inner| Node {
        inputs: mapped(&inner.inputs),
        outputs: mapped(&inner.outputs),
        ..inner.clone()
    });
    let identity = |(from, to): &(ValueId, ValueId)| Node {
        name: node.name.clone(),
        op_type: "Identity".into(),
        op: Arc::new(Elementwise { expression: Pointwise::of(&table::IDENTITY, 1, &[]) })
            as Arc<dyn Operator>,
        inputs: mapped(&[Some(*from)]),
        outputs: vec![Some(*to)],
        fused: vec![],
    };
    let all: Vec<Node> = inner.chain(passed.iter().map(identity)).collect();
    graph.nodes.splice(index..index, all);
    added
}
