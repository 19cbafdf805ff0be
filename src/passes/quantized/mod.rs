//! What a quantiser wrote as QuantizeLinear and DequantizeLinear around operators of floats.
//!
//! On the CPU, whose instructions multiply bytes, it is computed in the integers that it stands for
//! ([`rewrite`], before constants are folded, which makes floats of quantised weights); on a GPU in floats,
//! as written ([`pairs`]).
//!
//! For the CPU there are three rewrites, until none finds anything: [`moves`] take QuantizeLinear before what
//! only moves elements, [`same`] leaves out a pair that changes nothing, [`products`] makes QLinearConv and
//! QLinearMatMul of what is between. The results are those of the nodes as written, without what float32
//! rounds in between: where that lies beside a border between two integers, they differ by one.
//!
//! Where only the products are of integers, as after DynamicQuantizeLinear, [`dynamic`] makes one operator of
//! them and of what makes them floats again; the results are the same to the bit.

mod dynamic;
mod moves;
pub mod pairs;
mod products;
mod same;

use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::quantized::dequantize_linear::DequantizeLinear;
use crate::ops::quantized::quantize_linear::QuantizeLinear;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    while moves::rewrite(graph)? | same::rewrite(graph)? {
        changed = true;
    }
    changed |= products::rewrite(graph)?;
    changed |= dynamic::rewrite(graph);
    if changed {
        super::dead_code::rewrite(graph)?;
    }
    Ok(changed)
}

/// What says what the integers of a tensor stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scaling {
    scale: ValueId,
    zero: ValueId,
}

impl Scaling {
    /// Of a node with inputs x, scales and zero points, where these are constants, the scales float32.
    fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let &[_, Some(scale), Some(zero)] = &node.inputs[..] else { return None };
        let floats = graph.constant(scale)?.dtype() == DType::F32;
        (floats && graph.constant(zero).is_some()).then_some(Self { scale, zero })
    }
    /// Whether there is one scale, a normal number above zero, and one zero point, of 8 bits.
    fn is_plain(&self, graph: &Graph) -> bool {
        let one = |id: ValueId| graph.constant(id).filter(|tensor| tensor.len() == 1);
        let positive = |scale: &Tensor| {
            scale.as_slice::<f32>().is_ok_and(|list| list.iter().all(|x| x.is_normal() && *x > 0.0))
        };
        one(self.scale).is_some_and(positive)
            && one(self.zero).is_some_and(|zero| matches!(zero.dtype(), DType::U8 | DType::I8))
    }
    /// Whether another says the same.
    fn is(&self, other: &Self, graph: &Graph) -> bool {
        let same = |a: ValueId, b: ValueId| match (graph.constant(a), graph.constant(b)) {
            (Some(a), Some(b)) => a.dtype() == b.dtype() && a.len() == b.len() && a.bytes() == b.bytes(),
            _ => false,
        };
        same(self.scale, other.scale) && same(self.zero, other.zero)
    }
}

/// A QuantizeLinear to 8 bits with one scale: its place, what it reads and what it makes.
struct Quantize {
    node: usize,
    from: ValueId,
    scaling: Scaling,
}

impl Quantize {
    fn at(graph: &Graph, index: usize) -> Option<Self> {
        let node = graph.nodes.get(index)?;
        // By type: the pattern itself.
        let op = node.op.downcast::<QuantizeLinear>()?;
        let plain = op.granularity.block == 0 && op.precision.is_none_or(|precision| precision == DType::F32);
        let scaling = Scaling::of(graph, node).filter(|scaling| plain && scaling.is_plain(graph))?;
        Some(Self { node: index, from: node.inputs.first().copied()??, scaling })
    }
}

/// A DequantizeLinear to float32: what it reads, and what that stands for.
struct Dequantize {
    from: ValueId,
    scaling: Scaling,
    axis: i64,
}

impl Dequantize {
    /// The one that makes a value.
    fn of(graph: &Graph, makers: &HashMap<ValueId, usize>, value: ValueId) -> Option<Self> {
        let node = graph.nodes.get(*makers.get(&value)?)?;
        // By type: the pattern itself.
        let op = node.op.downcast::<DequantizeLinear>()?;
        let plain = op.granularity.block == 0 && op.to.is_none_or(|to| to == DType::F32);
        let scaling = Scaling::of(graph, node).filter(|_| plain)?;
        Some(Self { from: node.inputs.first().copied()??, scaling, axis: op.granularity.axis })
    }
    /// The same with one scale.
    fn plain(graph: &Graph, makers: &HashMap<ValueId, usize>, value: ValueId) -> Option<Self> {
        Self::of(graph, makers, value).filter(|made| made.scaling.is_plain(graph))
    }
}
