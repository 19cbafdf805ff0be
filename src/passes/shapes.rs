//! *Given* a Shape or Size of a value whose shape is known → *Result* a constant: nobody then reads the value
//! for its shape alone, which would keep other rewrites from it.

use crate::base::Fact;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::Reads;

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    let before = graph.nodes.len();
    let known = |node: &Node| {
        let &[Some(result)] = &node.outputs[..] else { return None };
        let value = facts.get(result.0 as usize)?.as_ref()?.value.clone()?;
        (node.op.reads() == Reads::Shape && !graph.outputs.contains(&result)).then_some((result, value))
    };
    let mut kept = Vec::with_capacity(before);
    for node in std::mem::take(&mut graph.nodes) {
        match known(&node) {
            Some((result, value)) => graph.values[result.0 as usize].constant = Some(value),
            None => kept.push(node),
        }
    }
    graph.nodes = kept;
    Ok(graph.nodes.len() != before)
}
