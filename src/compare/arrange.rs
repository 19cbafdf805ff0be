//! The rows of a report in the order of the graph as read.

use super::report::NodeRow;
use crate::graph::Graph;
use crate::plan::Placement;
use std::collections::HashMap;

/// A row, and the index of the node that its step belongs to.
pub(super) type Rows = Vec<(Option<usize>, NodeRow)>;

/// The rows in the order of the graph as read, each node of it listed; a copy stands before the node that
/// wanted it. `placements`: where the planned graph's nodes ran, none of a graph on the CPU.
pub(super) fn arrange(
    original: &Graph,
    planned: &Graph,
    placements: &[Placement],
    rows: Rows,
) -> Vec<NodeRow> {
    let mut of_node: HashMap<usize, Vec<NodeRow>> = HashMap::new();
    let mut last = vec![];
    for (node, row) in rows {
        match node {
            Some(node) => of_node.entry(node).or_default().push(row),
            None => last.push(row),
        }
    }
    let producers = planned.producers();
    let mut into: HashMap<&str, &str> = HashMap::new();
    let mut named: HashMap<&str, usize> = HashMap::new();
    for (index, node) in planned.nodes.iter().enumerate() {
        into.extend(node.fused.iter().map(|(name, _)| (name.as_str(), node.name.as_str())));
        named.insert(&node.name, index);
    }
    let mut arranged = vec![];
    for node in &original.nodes {
        let output = node.outputs.iter().flatten().next().copied();
        let name = output.map(|id| original.value(id).name.clone()).unwrap_or_default();
        let plain = |ran_on: &'static str, fused_into: Option<&str>| NodeRow {
            node: node.name.clone(),
            op: node.op_type.clone(),
            output: name.clone(),
            ran_on,
            fused_into: fused_into.map(str::to_string),
            fused: vec![],
            kernels: vec![],
            local: None,
            cumulative: None,
            same: true,
        };
        let index = output.and_then(|id| producers.get(&id)).copied();
        // A node whose result is now a part of another's goes by its name alone.
        let rows = index
            .and_then(|index| of_node.remove(&index))
            .or_else(|| of_node.remove(named.get(node.name.as_str())?));
        match (rows, into.get(node.name.as_str()), index) {
            (Some(rows), ..) => arranged.extend(rows),
            (None, Some(target), _) => arranged.push(plain("fused", Some(target))),
            (None, None, Some(index)) => {
                let placement = placements.get(index).map_or("removed", Placement::name);
                arranged.push(plain(placement, None));
            }
            (None, None, None) => arranged.push(plain("removed", None)),
        }
    }
    arranged.extend(last);
    arranged
}
