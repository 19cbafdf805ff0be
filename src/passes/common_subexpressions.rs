//! *Given* two nodes that do the same to the same values, elementwise functions, Casts among them, or
//! Reshapes → *Result* one of them, which the readers of both read. Exporters and optimisers write a mask or
//! its lengths anew in every layer, with constants of their own.

use super::redirect;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::shape::reshape::Reshape;
use std::collections::HashMap;

/// Bytes of a constant that is compared: a number or a shape.
const SMALL: usize = 64;

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    // Of small constants with equal contents, the first.
    let mut first: HashMap<ValueId, ValueId> = HashMap::new();
    let mut constants = HashMap::new();
    for (index, value) in graph.values.iter().enumerate() {
        if let Some(tensor) = value.constant.as_ref().filter(|tensor| tensor.bytes().len() <= SMALL) {
            let id = ValueId(index as u32);
            first
                .insert(id, *constants.entry((tensor.dtype(), tensor.shape(), tensor.bytes())).or_insert(id));
        }
    }
    // The nodes that read a list of values, and the results that are another's.
    let mut seen: HashMap<Vec<Option<ValueId>>, Vec<Node>> = HashMap::new();
    let mut same: HashMap<ValueId, ValueId> = HashMap::new();
    for node in &mut graph.nodes {
        redirect(node, &same);
        let &[Some(result)] = &node.outputs[..] else { continue };
        // By type: the operators that can tell whether they are equal.
        if node.op.expression().is_none() && node.op.downcast::<Reshape>().is_none() {
            continue;
        }
        let reads = node.inputs.iter().map(|id| id.map(|id| first.get(&id).copied().unwrap_or(id)));
        let alike = seen.entry(reads.collect()).or_default();
        match alike.iter().find(|other| does_the_same(other, node)).and_then(|other| other.outputs[0]) {
            Some(other) if !graph.outputs.contains(&result) => {
                same.insert(result, other);
            }
            _ => alike.push(node.clone()),
        }
    }
    Ok(!same.is_empty())
}

fn does_the_same(a: &Node, b: &Node) -> bool {
    let functions = a.op.expression().zip(b.op.expression()).is_some_and(|(a, b)| a == b);
    // By type: see above.
    functions || a.op.downcast::<Reshape>().zip(b.op.downcast::<Reshape>()).is_some_and(|(a, b)| a == b)
}
