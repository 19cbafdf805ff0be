//! Attention on the CPU: head by head, scores as a whole, in the type of its inputs.
//!
//! bfloat16 is computed in float32 and rounded where ONNX's function body would store a tensor, since its 8
//! digits show where it was rounded: recorded results come out to the digit with this alone. The
//! exponentials' sum is rounded as it grows.

use super::{Attention, AttentionSizes, LENGTHS, MASK, PAST, Reach, Scores};
use crate::base::Operands;
use crate::cpu_kernels::gemm::{MatrixRef, gemm};
use crate::error::{Error, Result};
use crate::tensor::index::{Odometer, broadcast_strides, strides};
use crate::tensor::{DType, Real, Tensor, allocate, cast, element_count, round_to_odd, zeros};

/// What is added to the scores of one query, from the mask and the reach: −∞ for a key that it doesn't see.
pub(crate) struct Bias<'a> {
    /// The mask's elements as numbers, with strides for [batch, head, query, key] and how many keys it has.
    mask: Option<(Vec<f64>, Vec<usize>, usize)>,
    op: &'a Attention,
    sizes: AttentionSizes,
    lengths: Option<Vec<i64>>,
}

impl<'a> Bias<'a> {
    pub(crate) fn read(
        op: &'a Attention,
        inputs: Operands<'_, Tensor>,
        sizes: AttentionSizes,
    ) -> Result<Self> {
        Ok(Self {
            mask: inputs.optional(MASK).map(|mask| numbers(mask, &sizes)).transpose()?,
            op,
            sizes,
            lengths: lengths(inputs)?,
        })
    }
    /// Whether heads of one batch differ.
    pub(crate) fn by_head(&self) -> bool {
        self.mask.as_ref().is_some_and(|(_, steps, _)| steps[1] != 0 && self.sizes.heads > 1)
    }
    pub(crate) fn row(&self, batch: usize, head: usize, query: usize, to: &mut [f64]) {
        let reach = Reach::new(self.op, &self.sizes, self.lengths.as_ref().map(|lengths| lengths[batch]));
        let (first, behind) = reach.of(query);
        // A key out of reach is not there, whatever the mask holds in its place.
        for (key, to) in to.iter_mut().enumerate() {
            *to = match &self.mask {
                _ if key < first || key >= behind => f64::NEG_INFINITY,
                None => 0.0,
                Some((mask, steps, keys)) if key < *keys => {
                    mask[batch * steps[0] + head * steps[1] + query * steps[2] + key * steps[3]]
                }
                Some(_) => f64::NEG_INFINITY,
            };
        }
    }
}

/// A tensor as dense `[batch, heads, rows, depth]`, from either form.
fn four_axes<T: Real>(
    tensor: &Tensor,
    [b, h, s, d]: [usize; 4],
    flat: bool,
    transposed: bool,
) -> Result<Vec<T>> {
    let shape = [b, h, s, d];
    let steps = match (flat, transposed) {
        (true, _) => [s * h * d, d, h * d, 1],
        (false, true) => [h * d * s, d * s, 1, s],
        (false, false) => [h * s * d, s * d, d, 1],
    };
    let own = tensor.as_slice::<T>()?;
    let mut list = allocate(element_count(&shape)?)?;
    list.extend(Odometer::new(&shape, [&steps]).map(|[at]| own[at]));
    Ok(list)
}

/// Past rows before new ones, for each head: `[batch, heads, rows, depth]`.
fn with_past<T: Real>(
    past: Option<&Tensor>,
    new: Vec<T>,
    heads: usize,
    rows: usize,
    depth: usize,
) -> Result<Vec<T>> {
    let Some(past) = past else { return Ok(new) };
    let old = past.as_slice::<T>()?;
    let (old_run, new_run) = (past.shape().get(2).copied().unwrap_or(0) * depth, rows * depth);
    let mut all = allocate(old.len() + new.len())?;
    for head in 0..heads {
        all.extend_from_slice(&old[head * old_run..][..old_run]);
        all.extend_from_slice(&new[head * new_run..][..new_run]);
    }
    Ok(all)
}

/// What attention works on, each dense: `[batch, heads, rows, depth]`, past keys and values before new ones.
pub(crate) struct Dense<'a, T> {
    pub sizes: AttentionSizes,
    pub q: Vec<T>,
    pub k: Vec<T>,
    pub v: Vec<T>,
    pub bias: Bias<'a>,
}

impl<'a, T: Real> Dense<'a, T> {
    pub(crate) fn read(op: &'a Attention, inputs: Operands<'_, Tensor>) -> Result<Self> {
        let sizes = AttentionSizes::of_tensors(op, inputs)?;
        let AttentionSizes { batch, heads, kv_heads, queries, past, keys, depth, value_depth, flat } = sizes;
        let (q, k, v) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let q = four_axes::<T>(q, [batch, heads, queries, depth], flat, false)?;
        let k = four_axes::<T>(k, [batch, kv_heads, keys - past, depth], flat, op.transposed_keys)?;
        let v = four_axes::<T>(v, [batch, kv_heads, keys - past, value_depth], flat, false)?;
        let k = with_past(inputs.optional(PAST), k, batch * kv_heads, keys - past, depth)?;
        let v = with_past(inputs.optional(PAST + 1), v, batch * kv_heads, keys - past, value_depth)?;
        let bias = Bias::read(op, inputs, sizes)?;
        Ok(Self { sizes, q, k, v, bias })
    }
    /// The queries of a head, and the keys and values that it reads.
    pub(crate) fn head(&self, batch: usize, head: usize) -> (&[T], &[T], &[T]) {
        let AttentionSizes { heads, kv_heads, queries, keys, depth, value_depth, .. } = self.sizes;
        let shared = batch * kv_heads + head / (heads / kv_heads);
        let part = |index: usize, size: usize| index * size..(index + 1) * size;
        (
            &self.q[part(batch * heads + head, queries * depth)],
            &self.k[part(shared, keys * depth)],
            &self.v[part(shared, keys * value_depth)],
        )
    }
}

/// Attention on inputs that are held as `T`; `declared` is the type that the model gives them.
pub fn attention<T: Real>(
    op: &Attention,
    inputs: Operands<'_, Tensor>,
    declared: DType,
) -> Result<Vec<Tensor>> {
    let mut all = Dense::<T>::read(op, inputs)?;
    let stepwise = declared == DType::BF16;
    let AttentionSizes { batch, heads, kv_heads, queries, keys, depth, value_depth, flat, .. } = all.sizes;
    let mut factor = op.factor(depth);
    // The keys as they come out again stay unscaled.
    let present = all.k.clone();
    if stepwise {
        let root = rounded(factor.sqrt());
        for x in all.q.iter_mut().chain(&mut all.k) {
            *x = T::of(rounded(x.f64() * root));
        }
        factor = 1.0;
    }
    let mut y: Vec<T> = zeros(batch * heads * queries * value_depth)?;
    let mut kept: Vec<T> = allocate(batch * heads * queries * keys)?;
    let (mut scores, mut result): (Vec<T>, Vec<T>) = (zeros(queries * keys)?, zeros(queries * value_depth)?);
    let mut row = vec![0.0; keys];
    for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
        let (q, k, v) = all.head(b, h);
        let rows = MatrixRef { data: q, rows: queries, columns: depth, row_stride: depth, column_stride: 1 };
        let columns = MatrixRef { data: k, rows: depth, columns: keys, row_stride: 1, column_stride: depth };
        gemm(rows, columns, &mut scores);
        for query in 0..queries {
            let line = &mut scores[query * keys..][..keys];
            all.bias.row(b, h, query, &mut row);
            weigh(op, factor, stepwise, line, &row, &mut kept);
        }
        let weights =
            MatrixRef { data: &scores, rows: queries, columns: keys, row_stride: keys, column_stride: 1 };
        let values = MatrixRef {
            data: v,
            rows: keys,
            columns: value_depth,
            row_stride: value_depth,
            column_stride: 1,
        };
        gemm(weights, values, &mut result);
        if v.iter().any(|x| !x.f64().is_finite()) {
            for (query, to) in result.chunks_exact_mut(value_depth).enumerate() {
                all.bias.row(b, h, query, &mut row);
                weighted(&scores[query * keys..][..keys], v, &row, to);
            }
        }
        y[(b * heads + h) * queries * value_depth..][..queries * value_depth].copy_from_slice(&result);
    }
    let order = if flat { [0, 2, 1, 3] } else { op.order };
    let whole = [batch, heads, queries, value_depth];
    let dense = strides(&whole);
    let (shape, steps) = (order.map(|axis| whole[axis.min(3)]), order.map(|axis| dense[axis.min(3)]));
    let mut ordered = allocate(y.len())?;
    ordered.extend(Odometer::new(&shape, [&steps]).map(|[at]| y[at]));
    Ok(vec![
        Tensor::new(all.sizes.result(op), ordered)?,
        Tensor::new([batch, kv_heads, keys, depth], present)?,
        Tensor::new([batch, kv_heads, keys, value_depth], all.v)?,
        Tensor::new([batch, heads, queries, keys], kept)?,
    ])
}

fn rounded(x: f64) -> f64 {
    half::bf16::from_f32(round_to_odd(x)).to_f64()
}

/// Turns one query's products into its weights, and keeps the scores that the operator gives out.
fn weigh<T: Real>(
    op: &Attention,
    factor: f64,
    stepwise: bool,
    line: &mut [T],
    bias: &[f64],
    kept: &mut Vec<T>,
) {
    let softcap = op.softcap as f64;
    let store = |x: f64| if stepwise { rounded(x) } else { T::of(x).f64() };
    let soft = |x: f64| {
        if stepwise && op.precision.is_none_or(|precision| precision == DType::BF16) { rounded(x) } else { x }
    };
    let mut wide: Vec<f64> = line.iter().map(|product| store(product.f64() * factor)).collect();
    if op.scores == Scores::Products {
        kept.extend(wide.iter().map(|&score| T::of(score)));
    }
    if softcap > 0.0 {
        wide.iter_mut().for_each(|score| *score = store((*score / softcap).tanh() * softcap));
    }
    if op.scores == Scores::Capped {
        kept.extend(wide.iter().map(|&score| T::of(score)));
    }
    // A key that isn't seen is not there, whatever lies in its place.
    let seen = |score: f64, bias: f64| if bias == f64::NEG_INFINITY { bias } else { store(score + bias) };
    wide.iter_mut().zip(bias).for_each(|(score, bias)| *score = seen(*score, *bias));
    if op.scores == Scores::Masked {
        kept.extend(wide.iter().map(|&score| T::of(score)));
    }
    let unseen = op.zero_unseen && wide.iter().all(|&score| score == f64::NEG_INFINITY);
    let high = wide.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    wide.iter_mut().for_each(|score| *score = soft(soft(*score - high).exp()));
    let sum = wide.iter().fold(0.0, |sum, weight| soft(sum + weight));
    for (to, weight) in line.iter_mut().zip(&wide) {
        *to = T::of(if unseen { 0.0 } else { store(soft(weight / sum)) });
    }
    if op.scores == Scores::Weights {
        kept.extend_from_slice(line);
    }
}

/// One query's weighted values, of the keys that it sees alone: a weight of 0 would make NaN of an infinity.
/// 0 where nothing weighs.
fn weighted<T: Real>(weights: &[T], values: &[T], bias: &[f64], to: &mut [T]) {
    if weights.iter().all(|weight| weight.f64() == 0.0) {
        return to.fill(T::of(0.0));
    }
    for (column, to) in to.iter_mut().enumerate() {
        let seen = (0..weights.len()).filter(|&key| bias[key] != f64::NEG_INFINITY);
        *to = T::of(
            seen.map(|key| weights[key].f64() * values[key * (values.len() / weights.len()) + column].f64())
                .sum(),
        );
    }
}

/// A mask's elements as what is added, its strides, and its number of keys.
fn numbers(mask: &Tensor, sizes: &AttentionSizes) -> Result<(Vec<f64>, Vec<usize>, usize)> {
    let whole = [sizes.batch, sizes.heads, sizes.queries, mask.shape().last().copied().unwrap_or(0)];
    let steps = broadcast_strides(mask.shape(), &strides(mask.shape()), &whole);
    let list = match mask.dtype() {
        DType::Bool => cast(mask, DType::F32, true)?
            .to_f64s()?
            .into_iter()
            .map(|seen| if seen == 0.0 { f64::NEG_INFINITY } else { 0.0 })
            .collect(),
        dtype if dtype.is_float() => mask.to_f64s()?,
        other => return Err(Error::unsupported(format!("a mask of {other}"))),
    };
    Ok((list, steps, whole[3]))
}

/// The number of valid keys of each batch.
fn lengths(inputs: Operands<'_, Tensor>) -> Result<Option<Vec<i64>>> {
    inputs.optional(LENGTHS).map(Tensor::to_i64s).transpose()
}
