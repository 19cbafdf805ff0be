//! *Given* `QuantizeLinear → DequantizeLinear`, each with one scale and zero point, the integers read by that
//! one alone → *Result* an elementwise function of floats: what the two say, without the integers in memory.
//! The rewrites after it make it a part of the convolution or product before it.
//!
//! For devices whose arithmetic is in floats. What is no number stays none, where an integer would be 0.

use super::super::{only_reader, scalar};
use super::{Dequantize, Quantize};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::graph::Graph;
use crate::ops::pointwise::Elementwise;
use crate::ops::quantized::ends;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        match joined(graph, index) {
            Some(()) => changed = true,
            None => index += 1,
        }
    }
    Ok(changed)
}

/// Makes one node of the QuantizeLinear at an index and of its reader.
fn joined(graph: &mut Graph, index: usize) -> Option<()> {
    let quantize = Quantize::at(graph, index)?;
    let integers = graph.nodes[index].outputs.first().copied()??;
    let outer = only_reader(graph, &graph.uses(), integers)?;
    let back = graph.nodes[outer].outputs.first().copied()??;
    let made = Dequantize::plain(graph, &graph.producers(), back)?;
    let number = |id| scalar(graph, Some(id)).map(Arg::Const);
    let (low, high) = ends(graph.constant(quantize.scaling.zero)?.dtype())?;
    let mut e = Pointwise { operands: 1, steps: vec![] };
    let mut x = e.push(&table::DIV, vec![Arg::Operand(0), number(quantize.scaling.scale)?]);
    x = e.push(&table::ROUND, vec![x]);
    x = e.push(&table::ADD, vec![x, number(quantize.scaling.zero)?]);
    x = e.push(&table::MAX, vec![x, Arg::Const(low)]);
    x = e.push(&table::MIN, vec![x, Arg::Const(high)]);
    x = e.push(&table::SUB, vec![x, number(made.scaling.zero)?]);
    e.push(&table::MUL, vec![x, number(made.scaling.scale)?]);
    let first = graph.nodes.get(index)?.clone();
    let node = graph.nodes.get_mut(outer)?;
    node.op = Arc::new(Elementwise { expression: e });
    node.inputs = vec![Some(quantize.from)];
    node.fused.push((first.name, first.op_type));
    node.fused.extend(first.fused);
    graph.nodes.remove(index);
    Some(())
}
