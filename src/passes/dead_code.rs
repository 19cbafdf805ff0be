//! *Given* nodes whose outputs nobody reads → *Result* none of them. Unread optional outputs become absent.

use crate::error::Result;
use crate::graph::Graph;

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let before = graph.nodes.len();
    let mut uses = graph.uses();
    // Backwards, so that a chain goes in one sweep.
    for index in (0..graph.nodes.len()).rev() {
        if graph.nodes[index].outputs.iter().flatten().all(|id| uses[id.0 as usize] == 0) {
            for id in graph.nodes[index].inputs.iter().flatten() {
                uses[id.0 as usize] -= 1;
            }
            graph.nodes.remove(index);
        }
    }
    for node in &mut graph.nodes {
        for output in node.outputs.iter_mut().skip(1) {
            output.take_if(|id| uses[id.0 as usize] == 0);
        }
        while node.outputs.len() > 1 && node.outputs.last() == Some(&None) {
            node.outputs.pop();
        }
    }
    Ok(graph.nodes.len() != before)
}
