//! *Given* `MatMulInteger → Cast to float32 → Mul by scales (→ Add of a bias)` with constant weights, nobody else
//! reading between → *Result* MatMulIntegerToFloat. The scales are DynamicQuantizeLinear's times constants, which
//! are one for each column, or one; the bias is one for each column.

use super::super::only_reader;
use crate::error::Result;
use crate::expression::{Row, table};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::quantized::matmul_integer_to_float::MatMulIntegerToFloat;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        changed |= fused(graph, index).is_some();
        index += 1;
    }
    Ok(changed)
}

/// Nodes, each of which alone reads what the one before makes.
struct Chain<'a> {
    graph: &'a Graph,
    uses: Vec<usize>,
    /// The nodes so far.
    nodes: Vec<usize>,
}

impl Chain<'_> {
    /// The chain's value.
    fn value(&self) -> Option<ValueId> {
        self.graph.nodes.get(*self.nodes.last()?)?.outputs.first().copied()?
    }
    /// Goes on to the only reader if it is this one step, and gives its other operands.
    fn step(&mut self, row: &'static Row) -> Option<Vec<ValueId>> {
        let value = self.value()?;
        let next = only_reader(self.graph, &self.uses, value)?;
        let node = &self.graph.nodes[next];
        let expression = node.op.expression()?;
        let [step] = &expression.steps[..] else { return None };
        if step.row != row
            || step.args.len() != node.inputs.len()
            || step.to.is_some_and(|to| to != DType::F32)
        {
            return None;
        }
        self.nodes.push(next);
        Some(node.inputs.iter().flatten().filter(|&&id| id != value).copied().collect())
    }
}

/// Makes one node of the MatMulInteger at an index and of those behind it.
fn fused(graph: &mut Graph, index: usize) -> Option<()> {
    let node = graph.nodes.get(index)?;
    if node.op_type != "MatMulInteger" {
        return None;
    }
    let input = |at: usize| node.inputs.get(at).copied().flatten();
    let &[_, columns] = graph.constant(input(1)?)?.shape() else { return None };
    let along = |id: ValueId| graph.constant(id).is_some_and(|tensor| is_row(tensor, columns));
    let mut chain = Chain { graph, uses: graph.uses(), nodes: vec![index] };
    chain.step(&table::CAST)?;
    let &[scales] = &chain.step(&table::MUL)?[..] else { return None };
    let scales = factors(graph, &graph.producers(), scales, columns)?;
    let before = chain.nodes.len();
    let bias = match chain.step(&table::ADD) {
        Some(list) if list.len() == 1 && along(list[0]) => Some(list[0]),
        _ => {
            chain.nodes.truncate(before);
            None
        }
    };
    let nodes = chain.nodes;
    let inputs = vec![input(0), Some(scales[0]), input(2), input(1), Some(scales[1]), input(3), bias];
    let fused = nodes.iter().rev().skip(1).rev().map(|&at| &graph.nodes[at]);
    let fused =
        fused.flat_map(|node| node.fused.iter().cloned().chain([(node.name.clone(), node.op_type.clone())]));
    let fused = fused.collect();
    let (&last, before) = nodes.split_last()?;
    let op_type = "MatMulIntegerToFloat".to_string();
    let node =
        Node { op: Arc::new(MatMulIntegerToFloat), op_type, inputs, fused, ..graph.nodes[last].clone() };
    graph.nodes[last] = node;
    before.iter().rev().for_each(|&at| drop(graph.nodes.remove(at)));
    Some(())
}

/// Whether a tensor is a float32 for each column of matrices.
fn is_row(tensor: &Tensor, columns: usize) -> bool {
    let [outer @ .., last] = tensor.shape() else { return false };
    tensor.dtype() == DType::F32 && *last == columns && outer.iter().all(|&size| size == 1) && outer.len() < 2
}

/// The scales of a and b whose product a value is.
fn factors(
    graph: &Graph,
    makers: &HashMap<ValueId, usize>,
    value: ValueId,
    columns: usize,
) -> Option<[ValueId; 2]> {
    let of_b = |id: ValueId| {
        let floats = |tensor: &&Tensor| tensor.dtype() == DType::F32;
        let list = graph.constant(id).filter(floats).map(Tensor::shape)?;
        (list.is_empty() || list == [1] || list == [columns]).then_some(id)
    };
    let node = graph.nodes.get(*makers.get(&value)?)?;
    let [step] = &node.op.expression()?.steps[..] else { return None };
    let (&[Some(x), Some(y)], true) = (&node.inputs[..], step.row == &table::MUL) else { return None };
    [(x, y), (y, x)].into_iter().find_map(|(a, b)| {
        let maker = graph.nodes.get(*makers.get(&a)?)?;
        // Its second output is one number, the scale of all rows.
        let scale = maker.op_type == "DynamicQuantizeLinear" && maker.outputs.get(1) == Some(&Some(a));
        scale.then_some([a, of_b(b)?])
    })
}
