//! *Given* rotary positions that exporters write out, nobody else reading between
//!
//! ```text
//!  x ─────────────────────────────────── × cos ─┐
//!  x ─ [d/2..] ─ Neg ─┐                         Add ─ y
//!  x ─ [..d/2] ────── Concat ─────────── × sin ─┘
//! ```
//!
//! (the halves by two Slices or by a Split) over heads `[batch, heads, sequence, d]`, cos and sin broadcast
//! to x and of d elements → *Result* `RotaryEmbedding(x, cos, sin)` with an angle for every element.

use super::search::{Fusion, Search, everywhere};
use crate::base::Fact;
use crate::error::Result;
use crate::expression::table;
use crate::graph::{Graph, ValueId};
use crate::ops::nn::rotary_embedding::RotaryEmbedding;
use crate::ops::shape::concat::Concat;
use crate::ops::shape::slice::Slice;
use crate::ops::shape::split::Split;
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
    let along =
        inner(search, search.other(sum, product)?).filter(|&node| search.step(node) == Some(&table::MUL))?;
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
    nodes.dedup();
    Some(Fusion {
        op: Arc::new(op),
        op_type: "RotaryEmbedding",
        inputs: vec![Some(x), Some(cos), Some(sin)],
        nodes,
    })
}

/// The node that makes a value that one node alone reads.
fn inner(search: &Search<'_>, value: ValueId) -> Option<usize> {
    search.producer(value).filter(|_| search.uses(value) == 1)
}

/// Half of another value's last axis: that value, where the half begins, and the Slice or Split.
fn half(search: &Search<'_>, value: ValueId) -> Option<(ValueId, usize, usize)> {
    let node = inner(search, value)?;
    let of = search.input(node, 0)?;
    let (whole, part) = (&search.fact(of)?.shape, &search.fact(value)?.shape);
    let (&last, before) = whole.split_last()?;
    let halved = part.split_last().is_some_and(|(&half, others)| others == before && half * 2 == last);
    let innermost = |at: i64| axis(at, whole.len()).is_ok_and(|axis| axis + 1 == whole.len());
    if let Some(split) = search.operator::<Split>(node) {
        let first = search.graph.nodes[node].outputs.first() == Some(&Some(value));
        return (halved && split.parts == 2 && innermost(split.axis)).then_some((
            of,
            if first { 0 } else { last / 2 },
            node,
        ));
    }
    search.operator::<Slice>(node)?;
    let number = |index: usize| search.input(node, index).map(|id| search.number(Some(id)));
    // One step, or none given.
    if !halved || !innermost(number(3)?? as i64) || number(4).is_some_and(|step| step != Some(1.0)) {
        return None;
    }
    let start = number(1)??;
    let first = if start < 0.0 { start + last as f64 } else { start };
    (first >= 0.0).then_some((of, first as usize, node))
}
