//! Attention of float32 as the CPU runs it: each head's two products over packed panels, heads in threads.

use super::few;
use super::reference::Bias;
use super::{Attention, AttentionSizes, LENGTHS, MASK, PAST, Reach};
use crate::base::Operands;
use crate::cpu_kernels::panels::Panels;
use crate::cpu_kernels::product::{Cut, Epilogue, Rows, product_on};
use crate::cpu_kernels::rows;
use crate::error::Result;
use crate::tensor::pool::{self, Floats};
use crate::tensor::{DType, Tensor, element_count};
use crate::threads::try_chunks;
use std::ops::Range;

/// Where a head's rows of one operand lie: `start + row · row_stride + element · step`.
pub(super) struct Place {
    pub start: usize,
    pub row: usize,
    step: usize,
}

/// The rows of `[batch, heads, rows, depth]`, of `[batch, rows, heads · depth]`, or of `[batch, heads, depth,
/// rows]`.
pub(super) fn place(
    [heads, rows, depth]: [usize; 3],
    batch: usize,
    head: usize,
    flat: bool,
    transposed: bool,
) -> Place {
    match (flat, transposed) {
        (true, _) => {
            Place { start: batch * rows * heads * depth + head * depth, row: heads * depth, step: 1 }
        }
        (false, true) => Place { start: (batch * heads + head) * rows * depth, row: 1, step: rows },
        (false, false) => Place { start: (batch * heads + head) * rows * depth, row: depth, step: 1 },
    }
}

/// Y alone, where nothing but it is asked for. `None`: past keys, capped scores, other types and a Y with NaN
/// in it, which [`super::reference`] has.
pub fn attention(op: &Attention, inputs: Operands<'_, Tensor>) -> Result<Option<Tensor>> {
    let float = |index: usize| inputs.optional(index).is_some_and(|tensor| tensor.dtype() == DType::F32);
    let mask = inputs.optional(MASK).is_none_or(|mask| matches!(mask.dtype(), DType::F32 | DType::Bool));
    let past = inputs.optional(PAST).is_some() || inputs.optional(PAST + 1).is_some();
    if !(float(0) && float(1) && float(2) && mask)
        || past
        || op.softcap > 0.0
        || op.precision.is_some_and(|precision| precision != DType::F32)
    {
        return Ok(None);
    }
    let sizes = AttentionSizes::of_tensors(op, inputs)?;
    let AttentionSizes { batch, heads, kv_heads, queries, keys, depth, value_depth, flat, .. } = sizes;
    let (q, k, v) = (
        inputs.required(0)?.as_slice::<f32>()?,
        inputs.required(1)?.as_slice::<f32>()?,
        inputs.required(2)?.as_slice::<f32>()?,
    );
    let whole = [batch, heads, queries, value_depth];
    let mut y = pool::unset(element_count(&whole)?)?;
    if y.is_empty() || keys == 0 || depth == 0 {
        return Ok(None);
    }
    let lengths = inputs.optional(LENGTHS).map(Tensor::to_i64s).transpose()?;
    let reach_of = |b: usize| Reach::new(op, &sizes, lengths.as_ref().and_then(|list| list.get(b).copied()));
    if queries <= few::FEW && !op.transposed_keys {
        let reaches: Vec<Reach> = (0..batch).map(reach_of).collect();
        few::attend(op, inputs, &sizes, &reaches, [q, k, v], &mut y)?;
        return if y.iter().any(|y| y.is_nan()) { Ok(None) } else { ordered(op, &sizes, y).map(Some) };
    }
    let limited =
        op.causal || op.window != [None, None] || inputs.optional(MASK).is_some() || lengths.is_some();
    let bias = if limited { Some(Bias::read(op, inputs, sizes)?) } else { None };
    // Keys that no query of a batch sees are not computed: most of a cache that has room.
    let spans: Vec<Range<usize>> = (0..batch).map(|b| reach_of(b).of_all(queries)).collect();
    // One table for all heads that share a mask.
    let shared = bias
        .as_ref()
        .filter(|bias| !bias.by_head())
        .map(|bias| (0..batch).map(|b| table(bias, b, 0, &spans[b], &sizes)).collect::<Result<Vec<_>>>());
    let shared = shared.transpose()?;
    let factor = op.factor(depth) as f32;
    let threads = rayon::current_num_threads();
    let each = if batch * heads >= threads { 1 } else { threads };
    try_chunks(&mut y, queries * value_depth, |index, y| {
        let (b, h) = (index / heads, index % heads);
        let kv = h / (heads / kv_heads);
        let seen = &spans[b];
        let count = seen.len();
        if count == 0 {
            y.fill(if op.zero_unseen { 0.0 } else { f32::NAN });
            return Ok(());
        }
        let own = match (&bias, &shared) {
            (Some(bias), None) => Some(table(bias, b, h, seen, &sizes)?),
            _ => None,
        };
        let added = shared.as_ref().map(|shared| &shared[b][..]).or(own.as_deref());
        let at = place([heads, queries, depth], b, h, flat, false);
        let rows = Rows::Dense { data: &q[at.start..], stride: at.row };
        let at = place([kv_heads, keys, depth], b, kv, flat, op.transposed_keys);
        let columns = Panels::pack(&k[at.start + seen.start * at.row..], depth, count, at.step, at.row)?;
        let (mut scores, mut weights) = (Floats::zeros(queries * count)?, Floats::zeros(queries * count)?);
        product_on(Cut::whole(each), rows, queries, &columns, &Epilogue::default(), &mut scores, count)?;
        rows::biased_softmax(&scores, &mut weights, count, factor, added, op.zero_unseen);
        let at = place([kv_heads, keys, value_depth], b, kv, flat, false);
        let values = Panels::pack(&v[at.start + seen.start * at.row..], count, value_depth, at.row, 1)?;
        product_on(
            Cut::whole(each),
            Rows::Dense { data: &weights, stride: count },
            queries,
            &values,
            &Epilogue::default(),
            y,
            value_depth,
        )
    })?;
    // A key that isn't seen counts as not there. Here it is −∞ in a sum and a weight of 0 in another, which
    // change nothing, or make NaN of what lies in its place: of NaN and +∞ among the scores, of either
    // infinity among the values.
    if y.iter().any(|y| y.is_nan()) {
        return Ok(None);
    }
    ordered(op, &sizes, y).map(Some)
}

/// Y as the node gives it, from `[batch, heads, queries, value_depth]`.
fn ordered(op: &Attention, sizes: &AttentionSizes, y: Floats) -> Result<Tensor> {
    let AttentionSizes { batch, heads, queries, value_depth, flat, .. } = *sizes;
    let whole = [batch, heads, queries, value_depth];
    let y = Tensor::floats(whole, y)?;
    let order = if flat { [0, 2, 1, 3] } else { op.order };
    let own = crate::tensor::index::strides(&whole);
    let shape: Vec<usize> = order.iter().map(|&axis| whole[axis.min(3)]).collect();
    let steps: Vec<usize> = order.iter().map(|&axis| own[axis.min(3)]).collect();
    let ordered = if order == [0, 1, 2, 3] { y } else { y.strided(shape, &steps, 0)? };
    ordered.reshape(sizes.result(op))
}

/// What is added to all scores of a head, of the keys that are seen at all.
pub(super) fn table(
    bias: &Bias<'_>,
    batch: usize,
    head: usize,
    seen: &Range<usize>,
    sizes: &AttentionSizes,
) -> Result<Floats> {
    let mut all = Floats::zeros(element_count(&[sizes.queries, seen.len()])?)?;
    let mut row = vec![0.0; sizes.keys];
    for (query, to) in all.chunks_exact_mut(seen.len().max(1)).enumerate() {
        bias.row(batch, head, query, &mut row);
        to.iter_mut().zip(&row[seen.clone()]).for_each(|(to, &x)| *to = x as f32);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;

    /// Whatever lies in a key or a value, seen or not, Y is the reference's or left to it.
    #[test]
    fn what_is_not_finite() {
        let tensor = |rows: usize, list: &[f32]| Tensor::new([1, 1, rows, 3], list.to_vec()).unwrap();
        let queries = [[1.0, 2.0, 0.5], [-1.0, -0.5, -2.0], [0.0, 1.0, -1.0]];
        let (mut fast, mut left) = (0, 0);
        // How many of the four keys are seen, which element is bad, and in which of the two.
        for (seen, at, query) in
            (0..=4).flat_map(|seen| (0..24).flat_map(move |at| queries.map(|query| (seen, at, query))))
        {
            let mask = Tensor::new(
                [1, 4],
                [0.0, 1.0, 2.0, 3.0]
                    .map(|key| if key < seen as f32 { 0.0 } else { f32::NEG_INFINITY })
                    .to_vec(),
            )
            .unwrap();
            for (bad, zero_unseen) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
                .into_iter()
                .flat_map(|bad| [(bad, true), (bad, false)])
            {
                let mut lists = [[0.3, -0.7, 0.5, 1.0, 0.2, -0.4, 0.9, -0.1, 0.6, 0.0, 0.8, -0.5]; 2];
                lists[at / 12][at % 12] = bad;
                let [k, v] = lists.map(|list| tensor(4, &list));
                let (op, q) = (Attention { zero_unseen, ..Attention::plain() }, tensor(1, &query));
                let given = [Some(&q), Some(&k), Some(&v), Some(&mask)];
                let right = reference::attention::<f32>(&op, Operands::new(&given), DType::F32).unwrap();
                let Some(y) = attention(&op, Operands::new(&given)).unwrap() else {
                    left += 1;
                    continue;
                };
                fast += 1;
                let close = |(x, y): (&f32, &f32)| x == y || (x - y).abs() < 1e-5;
                let (y, right) = (y.as_slice::<f32>().unwrap(), right[0].as_slice::<f32>().unwrap());
                assert!(
                    y.iter().zip(right).all(close),
                    "{bad} at {at}, {seen} keys seen: {y:?}, not {right:?}"
                );
            }
        }
        assert!(fast > 100 && left > 1000, "{fast} made, {left} left to the reference");
    }
}
