//! *Given* `DequantizeLinear(x) → QuantizeLinear` with the same scale and zero point → *Result* x: its
//! integers less the zero point come out of the division as they went in.

use super::super::redirect;
use super::{Dequantize, Quantize};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use std::collections::HashMap;

pub(super) fn rewrite(graph: &mut Graph) -> Result<bool> {
    let makers = graph.producers();
    let mut same: HashMap<ValueId, ValueId> = HashMap::new();
    for index in 0..graph.nodes.len() {
        let Some(quantize) = Quantize::at(graph, index) else { continue };
        let Some(made) = Dequantize::plain(graph, &makers, quantize.from) else { continue };
        let &[Some(result)] = &graph.nodes[index].outputs[..] else { continue };
        if made.scaling.is(&quantize.scaling, graph) && !graph.outputs.contains(&result) {
            // What it reads may be one of these itself.
            let from = same.get(&made.from).copied().unwrap_or(made.from);
            same.insert(result, from);
        }
    }
    if same.is_empty() {
        return Ok(false);
    }
    let left_out = |node: &crate::graph::Node| node.outputs.iter().flatten().any(|id| same.contains_key(id));
    graph.nodes.retain(|node| !left_out(node));
    for node in &mut graph.nodes {
        redirect(node, &same);
    }
    Ok(true)
}
