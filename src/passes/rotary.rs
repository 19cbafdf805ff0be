//! *Given* rotary positions that exporters write out, nobody else reading between
//!
//! ```text
//!  x ─────────────────────────────────── × cos ─┐
//!  x ─ [d/2..] ─ Neg ─┐                         Add ─ y
//!  x ─ [..d/2] ────── Concat ─────────── × sin ─┘
//! ```
//!
//! over heads `[batch, heads, sequence, d]`, cos and sin broadcast to x and of d elements → *Result* `RotaryEmbedding(x, cos, sin)` with an
//! angle for every element.

use super::search::{Fusion, Search, everywhere};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::Fact;
use crate::ops::nn::rotary_embedding::RotaryEmbedding;
use crate::ops::pointwise::table;
use crate::ops::shape::concat::Concat;
use crate::ops::shape::slice::Slice;
use crate::tensor::index::axis;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    Ok(everywhere(graph, facts, from_concat))
}

/// Begins at the pairs put together the other way round.
fn from_concat(search: &Search<'_>, concat: usize) -> Option<Fusion> {
    let [Some(negated), Some(low)] = search.graph.nodes[concat].inputs[..] else { return None };
    let turned = search.output(concat)?;
    let rank = search.fact(turned)?.rank();
    if axis(search.operator::<Concat>(concat)?.axis, rank).ok()? + 1 != rank {
        return None;
    }
    let negation = inner(search, negated).filter(|&node| search.step(node) == Some(&table::NEG))?;
    let high = search.input(negation, 0)?;
    let (x, first, low) = half(search, low)?;
    let (same, second, high) = half(search, high)?;
    let size = *search.fact(x)?.shape.last()?;
    if x != same || (first, second) != (0, size / 2) || size % 2 != 0 {
        return None;
    }
    let across = search.reader(turned).filter(|&node| search.step(node) == Some(&table::MUL))?;
    let sin = search.other(across, turned)?;
    let product = search.output(across)?;
    let sum = search.reader(product).filter(|&node| search.step(node) == Some(&table::ADD))?;
    let along = inner(search, search.other(sum, product)?).filter(|&node| search.step(node) == Some(&table::MUL))?;
    let cos = search.other(along, x)?;
    let op = RotaryEmbedding { interleaved: false, dim: 0, heads: 0, whole: true };
    let facts = [x, cos, sin].map(|id| search.fact(id));
    let [Some(of_x), Some(of_cos), Some(of_sin)] = facts else { return None };
    op.sizes(&of_x.shape, &of_cos.shape, &of_sin.shape, None).ok()?;
    let floats = of_x.dtype.is_float() && of_cos.dtype == of_x.dtype && of_sin.dtype == of_x.dtype;
    if !floats || search.fact(search.output(sum)?)?.shape != of_x.shape {
        return None;
    }
    let mut nodes = vec![low, high, negation, concat, across, along, sum];
    nodes.sort_unstable();
    Some(Fusion { op: Arc::new(op), op_type: "RotaryEmbedding", inputs: vec![Some(x), Some(cos), Some(sin)], nodes })
}

/// The node that makes a value that one node alone reads.
fn inner(search: &Search<'_>, value: ValueId) -> Option<usize> {
    search.producer(value).filter(|_| search.uses(value) == 1)
}

/// Half of another value's last axis: that value, where the half begins, and the Slice.
fn half(search: &Search<'_>, value: ValueId) -> Option<(ValueId, usize, usize)> {
    let slice = inner(search, value)?;
    search.operator::<Slice>(slice)?;
    let of = search.input(slice, 0)?;
    let (whole, part) = (&search.fact(of)?.shape, &search.fact(value)?.shape);
    let (last, before) = whole.split_last()?;
    let axis = axis(search.number(search.graph.nodes[slice].inputs.get(3).copied().flatten())? as i64, whole.len()).ok()?;
    // One step, or none given.
    let step = search.graph.nodes[slice].inputs.get(4).copied().flatten().map_or(Some(1.0), |step| search.number(Some(step)))?;
    if axis + 1 != whole.len() || step != 1.0 || part.len() != whole.len() || part[..axis] != *before || part[axis] * 2 != *last {
        return None;
    }
    let start = search.number(search.input(slice, 1))?;
    let first = if start < 0.0 { start + *last as f64 } else { start };
    (first >= 0.0).then_some((of, first as usize, slice))
}
