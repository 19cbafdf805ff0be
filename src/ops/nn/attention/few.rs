//! Attention of few queries on the CPU, as a language model has when it makes one token after another: keys
//! and values are read once, where they lie, for all heads of Q that share them, and no further than a query
//! sees. Keys go in parts to the threads, each with its own maximum and sum, which the parts' results are
//! then weighed by (T. Dao et al., "Flash-Decoding for long-context inference", 2023).

use super::float32::{place, table};
use super::reference::Bias;
use super::{Attention, AttentionSizes, MASK, Reach};
use crate::base::Operands;
use crate::cpu_kernels::few_rows::{Strided, by_columns, by_rows};
use crate::error::Result;
use crate::simd::{Loop, math, vectorised};
use crate::tensor::pool::Floats;
use crate::tensor::{Tensor, element_count};
use crate::threads::{chunks, try_chunks};
use std::ops::Range;

/// Queries of a head up to which keys aren't packed.
pub(super) const FEW: usize = 4;
/// Keys of a part. Not by the number of threads, so that results don't go by it.
const PART: usize = 128;
/// Maxima and sums side by side, a vector of the widest machine.
const LANES: usize = 16;

/// Writes `[batch, heads, queries, value_depth]`. NaN where a score or a value that is seen isn't finite, and
/// in places where one is that isn't seen: the reference tells these apart.
pub(super) fn attend(
    op: &Attention,
    inputs: Operands<'_, Tensor>,
    sizes: &AttentionSizes,
    reaches: &[Reach],
    [q, k, v]: [&[f32]; 3],
    y: &mut [f32],
) -> Result<()> {
    let AttentionSizes { batch, heads, kv_heads, queries, keys, depth, value_depth, flat, .. } = *sizes;
    let shared = heads / kv_heads;
    let seen = |b: usize, query: usize| {
        let (first, behind) = reaches[b].of(query);
        first..behind.min(keys)
    };
    let each = || (0..batch).flat_map(|b| (0..queries).map(move |query| (b, query)));
    let from = each().map(|(b, query)| seen(b, query).start).min().unwrap_or(0) / PART;
    let to = each().map(|(b, query)| seen(b, query).end).max().unwrap_or(0).div_ceil(PART);
    let parts = to.saturating_sub(from);
    let added = added(op, inputs, sizes)?;
    let factor = op.factor(depth) as f32;

    // Of each query in each part: what its heads' rows come to, then their maxima, then their sums.
    let row = shared * (value_depth + 2);
    let mut partial = Floats::zeros(element_count(&[batch, kv_heads, parts, queries, row])?)?;
    try_chunks(&mut partial, queries * row, |index, partial| {
        let (b, kv, part) = (index / parts / kv_heads, index / parts % kv_heads, from + index % parts);
        let mut rows = Floats::zeros(shared * depth)?;
        let mut scores = Floats::zeros(shared * PART)?;
        for (query, partial) in partial.chunks_exact_mut(row).enumerate() {
            let (y, weighed) = partial.split_at_mut(shared * value_depth);
            let (maxima, sums) = weighed.split_at_mut(shared);
            maxima.fill(f32::NEG_INFINITY);
            let seen = seen(b, query);
            let own = seen.start.max(part * PART)..seen.end.min((part + 1) * PART);
            if own.is_empty() {
                continue;
            }
            for (head, row) in rows.chunks_exact_mut(depth).enumerate() {
                let at = place([heads, queries, depth], b, kv * shared + head, flat, false);
                row.copy_from_slice(&q[at.start + query * at.row..][..depth]);
            }
            let matrix = |data, width| seen_rows(data, [kv_heads, keys, width], [b, kv], flat, &own);
            let scores = &mut scores[..shared * own.len()];
            by_rows(&rows, matrix(k, depth), scores);
            for (head, scores) in scores.chunks_exact_mut(own.len()).enumerate() {
                let added = added.as_ref().map(|added| added.of(b, kv * shared + head, query, &own));
                (maxima[head], sums[head]) = vectorised(Weights { scores, factor, added });
            }
            by_columns(scores, matrix(v, value_depth), y);
        }
        Ok(())
    })?;

    chunks(y, queries * value_depth, |index, y| {
        let (b, h) = (index / heads, index % heads);
        let (kv, head) = (h / shared, h % shared);
        for (query, y) in y.chunks_exact_mut(value_depth).enumerate() {
            y.fill(0.0);
            if seen(b, query).is_empty() {
                y.fill(if op.zero_unseen { 0.0 } else { f32::NAN });
                continue;
            }
            let parts = || {
                (0..parts).map(|part| {
                    let at = (((b * kv_heads + kv) * parts + part) * queries + query) * row;
                    let (ys, weighed) = partial[at..][..row].split_at(shared * value_depth);
                    (&ys[head * value_depth..][..value_depth], weighed[head], weighed[shared + head])
                })
            };
            let high = parts().fold(f32::NEG_INFINITY, |high, (_, own, _)| high.max(own));
            let mut sum = 0.0;
            // A part that the query sees nothing of has a sum of 0.
            for (values, own, own_sum) in parts().filter(|&(_, _, sum)| sum != 0.0) {
                let weight = math::exp(own - high);
                sum += own_sum * weight;
                y.iter_mut().zip(values).for_each(|(y, &x)| *y += x * weight);
            }
            y.iter_mut().for_each(|y| *y /= sum);
        }
    });
    Ok(())
}

/// The keys or values of a head that are seen, of `[heads, rows, width]` a batch.
fn seen_rows<'a>(
    data: &'a [f32],
    sizes: [usize; 3],
    [batch, head]: [usize; 2],
    flat: bool,
    seen: &Range<usize>,
) -> Strided<'a> {
    let at = place(sizes, batch, head, flat, false);
    let data = data.get(at.start + seen.start * at.row..).unwrap_or_default();
    Strided { data, stride: at.row, rows: seen.len(), width: sizes[2] }
}

/// What a mask adds to scores, of each batch, or of each head where these differ.
struct Added {
    tables: Vec<Floats>,
    heads: usize,
    keys: usize,
}

impl Added {
    fn of(&self, batch: usize, head: usize, query: usize, keys: &Range<usize>) -> &[f32] {
        &self.tables[batch * self.heads + head % self.heads][query * self.keys..][keys.clone()]
    }
}

fn added(op: &Attention, inputs: Operands<'_, Tensor>, sizes: &AttentionSizes) -> Result<Option<Added>> {
    if inputs.optional(MASK).is_none() {
        return Ok(None);
    }
    let bias = Bias::read(op, inputs, *sizes)?;
    let heads = if bias.by_head() { sizes.heads } else { 1 };
    let tables = (0..sizes.batch * heads)
        .map(|index| table(&bias, index / heads, index % heads, &(0..sizes.keys), sizes))
        .collect::<Result<Vec<_>>>()?;
    Ok(Some(Added { tables, heads, keys: sizes.keys }))
}

/// Makes of products the weights exp(factor · product + added − maximum), and gives the maximum and the
/// weights' sum.
struct Weights<'a> {
    scores: &'a mut [f32],
    factor: f32,
    added: Option<&'a [f32]>,
}

impl Loop for Weights<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run(self) -> (f32, f32) {
        let Self { scores, factor, added } = self;
        match added {
            Some(added) => scores.iter_mut().zip(added).for_each(|(score, &x)| *score = *score * factor + x),
            None => scores.iter_mut().for_each(|score| *score *= factor),
        }
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (whole, rest) = scores.as_chunks::<LANES>();
        for chunk in whole {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = if x > *lane { x } else { *lane };
            }
        }
        let high =
            lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |high, &x| if x > high { x } else { high });
        if high == f32::NEG_INFINITY {
            // Nothing is seen, unless it is NaN.
            let sum = if scores.iter().any(|score| score.is_nan()) { f32::NAN } else { 0.0 };
            return (high, sum);
        }
        for score in scores.iter_mut() {
            *score = math::exp(*score - high);
        }
        let mut sums = [0.0f32; LANES];
        let (whole, rest) = scores.as_chunks::<LANES>();
        for chunk in whole {
            sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += x);
        }
        (high, sums.iter().chain(rest).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference;
    use super::*;
    use crate::base::Operands;
    use crate::tensor::DType;

    /// Several parts, heads that share keys, each query with its own reach, and what a mask leaves of whole
    /// parts: all as the reference has it.
    #[test]
    fn parts_come_together() {
        let number = |at: usize| ((at * 7919 + 13) % 97) as f32 / 48.5 - 1.0;
        let tensor = |shape: [usize; 4], skip: usize| {
            let count: usize = shape.iter().product();
            Tensor::new(shape, (0..count).map(|at| number(at + skip)).collect::<Vec<f32>>()).unwrap()
        };
        let keys = 2 * PART + 40;
        let (q, k, v) = (tensor([2, 6, 3, 20], 1), tensor([2, 2, keys, 20], 5), tensor([2, 2, keys, 9], 7));
        let lengths = Tensor::new([2], vec![keys as i64, PART as i64 - 1]).unwrap();
        let masked = |unseen: Range<usize>| {
            let row =
                (0..keys).map(|key| if unseen.contains(&key) { f32::NEG_INFINITY } else { number(key) });
            Tensor::new([1, keys], row.collect::<Vec<f32>>()).unwrap()
        };
        let masks = [None, Some(masked(0..PART)), Some(masked(PART - 3..2 * PART)), Some(masked(5..keys))];
        for (mask, (causal, left)) in
            masks.iter().flat_map(|mask| [(true, None), (false, None), (true, Some(60))].map(|op| (mask, op)))
        {
            let op = Attention { causal, window: [left, None], ..Attention::plain() };
            let given = [Some(&q), Some(&k), Some(&v), mask.as_ref(), None, None, Some(&lengths)];
            let given = Operands::new(&given);
            let right = reference::attention::<f32>(&op, given, DType::F32).unwrap();
            let sizes = AttentionSizes::of_tensors(&op, given).unwrap();
            let reaches: Vec<Reach> =
                [keys, PART - 1].iter().map(|&valid| Reach::new(&op, &sizes, Some(valid as i64))).collect();
            let mut y = vec![f32::NAN; 2 * 6 * 3 * 9];
            let slices = [&q, &k, &v].map(|tensor| tensor.as_slice::<f32>().unwrap());
            attend(&op, given, &sizes, &reaches, slices, &mut y).unwrap();
            // Where no key is seen the reference has zeros, and NaN here leaves it to that.
            for (at, (y, right)) in y.iter().zip(right[0].as_slice::<f32>().unwrap()).enumerate() {
                assert!((y - right).abs() < 1e-5 || (y.is_nan() && *right == 0.0), "{at}: {y}, not {right}");
            }
        }
    }
}
