//! *Given* a node with graphs, one of which reads a constant from around it → *Result* graphs that hold the
//! constant themselves and went through the rewrites that need no shapes.

use crate::cpu::body::{GraphBody, graph_of};
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::Body;
use crate::tensor::Tensor;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    for index in 0..graph.nodes.len() {
        if let Some(node) = with_constants(graph, &graph.nodes[index])? {
            graph.nodes[index] = node;
            changed = true;
        }
    }
    Ok(changed)
}

/// The node with rewritten graphs, where it has any.
fn with_constants(graph: &Graph, node: &Node) -> Result<Option<Node>> {
    let Some(op) = node.op.on_values().filter(|op| !op.bodies().is_empty()) else { return Ok(None) };
    let captures = node.inputs.len().saturating_sub(op.own_inputs());
    let constants: Vec<Option<&Tensor>> = node.inputs[node.inputs.len() - captures..]
        .iter()
        .map(|id| id.and_then(|id| graph.constant(id)))
        .collect();
    let mut bodies: Vec<Arc<dyn Body>> = vec![];
    for body in op.bodies() {
        let Some(inner) = graph_of(&**body) else { return Ok(None) };
        let mut inner = (**inner).clone();
        let first = inner.inputs.len().saturating_sub(captures);
        let taken = inner.inputs.split_off(first);
        for (id, constant) in taken.into_iter().zip(&constants) {
            match constant {
                Some(constant) => {
                    let value = &mut inner.values[id.0 as usize];
                    (value.constant, value.declared) = (Some((*constant).clone()), None);
                }
                None => inner.inputs.push(id),
            }
        }
        super::at_load(&mut inner)?;
        bodies.push(Arc::new(GraphBody::new(inner)));
    }
    let Some(op) = op.with_bodies(bodies) else { return Ok(None) };
    let own = node.inputs.len() - captures;
    let mut inputs = node.inputs[..own].to_vec();
    let kept = node.inputs[own..].iter().zip(&constants).filter(|(_, constant)| constant.is_none());
    inputs.extend(kept.map(|(id, _)| *id));
    Ok(Some(Node { op, inputs, ..node.clone() }))
}
