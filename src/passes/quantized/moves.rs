//! *Given* `DequantizeLinear(x)… → an operator that only moves or chooses elements → QuantizeLinear`, nobody
//! else reading between → *Result* the operator on integers, a QuantizeLinear before each of its operands:
//! rounding elements and moving them come to the same in either order. So do the larger of some, as the scale
//! is positive.

use super::super::only_reader;
use super::{Dequantize, Quantize};
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};

/// Operators whose first input is moved; of a Concat all are.
const MOVES: &[&str] =
    &["Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"];

pub(super) fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        if let Some(before) = moved(graph, index) {
            index = before;
            changed = true;
        }
        index += 1;
    }
    Ok(changed)
}

/// Moves the QuantizeLinear at an index; returns where the operator is then.
fn moved(graph: &mut Graph, index: usize) -> Option<usize> {
    let quantize = Quantize::at(graph, index)?;
    let makers = graph.producers();
    let at = *makers.get(&quantize.from)?;
    let mover = &graph.nodes[at];
    let data = match mover.op.concatenates() {
        Some(_) => mover.inputs.len(),
        None if MOVES.contains(&mover.op_type.as_str()) => 1,
        None => return None,
    };
    let alone = mover.outputs.iter().flatten().count() == 1
        && only_reader(graph, &graph.uses(), quantize.from) == Some(index);
    let given: Vec<ValueId> = mover.inputs.iter().take(data).copied().collect::<Option<_>>()?;
    let from_integers = given.iter().all(|&id| Dequantize::plain(graph, &makers, id).is_some());
    if !alone || !from_integers {
        return None;
    }
    let old = graph.nodes[index].clone();
    let mut mover = mover.clone();
    let mut nodes: Vec<Node> = vec![];
    for (place, &value) in given.iter().enumerate() {
        let name = graph.fresh_name(&format!("{}.{place}", old.name));
        let made = graph.add_value(&name, None, None);
        let mut inputs = old.inputs.clone();
        inputs[0] = Some(value);
        nodes.push(Node { name, inputs, outputs: vec![Some(made)], fused: vec![], ..old.clone() });
        mover.inputs[place] = Some(made);
    }
    mover.outputs = old.outputs.clone();
    mover.fused.push((std::mem::replace(&mut mover.name, old.name), old.op_type));
    graph.nodes.remove(index);
    let count = nodes.len();
    nodes.push(mover);
    graph.nodes.splice(at..=at, nodes);
    Some(at + count)
}
