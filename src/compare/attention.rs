//! What attention may lose: each score's sum of products, taken through the softmax, then the sum over the
//! values.

use super::bounds::{Input, ReferenceRounding, leaves_range};
use super::measure::Allowed;
use super::{SAFETY_FACTOR, accuracy};
use crate::base::Operands;
use crate::base::UNIT_F32;
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::ops::nn::attention::reference::Dense;
use crate::ops::nn::attention::{Attention, LENGTHS, Scores};
use crate::tensor::Tensor;

/// How far a score may be off: beside what operands bring, and for each unit of arithmetic.
#[derive(Clone, Copy)]
struct Off {
    fixed: f64,
    scaled: f64,
}

/// y = Σ pⱼ·vⱼ with p = softmax(s). Weights whose scores are off by at most eⱼ move y by at most
///
/// Σ pⱼ·(exp(eⱼ) − 1)·|vⱼ − y| / Σ pⱼ·exp(−eⱼ), and no further than max |vⱼ − y|;
///
/// eⱼ is the score's own error, that of its exponential, and those of the factors by which a running maximum
/// scales what there is. Then come the sum over n values and the quotient: (2n + 5)·u·Σ pⱼ·|vⱼ|. A score
/// whose products leave float32's range weighs nothing or makes the whole row NaN; a sum of the values that
/// leaves it ends as no number.
pub fn attention(
    node: &Node,
    index: usize,
    inputs: &[Option<Input>],
    want: &[f64],
    own: ReferenceRounding,
) -> Result<Allowed> {
    // By type: the bound follows the operator's definition step by step, masks and windows included.
    let op = node.op.downcast::<Attention>().ok_or_else(|| Error::internal("attention of another kind"))?;
    if index == 1 || index == 2 {
        return Ok(super::bounds::exact(inputs, want));
    }
    let tensors: Vec<Option<Tensor>> =
        inputs.iter().map(|input| input.as_ref().map(|input| input.value.clone())).collect();
    // The same operands with each element's error in its place.
    let errors = inputs
        .iter()
        .enumerate()
        .map(|(at, input)| input.as_ref().map(|input| errors_of(at, input)).transpose())
        .collect::<Result<Vec<_>>>()?;
    let (tensors, errors): (Vec<_>, Vec<_>) =
        (tensors.iter().map(Option::as_ref).collect(), errors.iter().map(Option::as_ref).collect());
    let all = Dense::<f64>::read(op, Operands::new(&tensors))?;
    let brought = Dense::<f64>::read(op, Operands::new(&errors))?;
    let sizes = all.sizes;
    let (keys, depth, width) = (sizes.keys, sizes.depth, sizes.value_depth);
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let factor = op.factor(depth);
    // A reference that isn't the oracle stored the scores after each node that was fused, and the weights.
    let stores = own.unit * node.fused.len() as f64;
    let (mut fixed, mut scaled, mut open) = (vec![], vec![], vec![]);
    let (mut bias, mut bias_error) = (vec![0.0; keys], vec![0.0; keys]);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for (b, h) in (0..sizes.batch).flat_map(|b| (0..sizes.heads).map(move |h| (b, h))) {
        let ((q, k, v), (dq, dk, dv)) = (all.head(b, h), brought.head(b, h));
        // With an infinity among them the products are what IEEE 754 says.
        let magnitudes =
            |list: &[f64]| list.iter().map(|x| if x.is_finite() { x.abs() } else { 0.0 }).collect::<Vec<_>>();
        let (q_size, k_size) = (magnitudes(q), magnitudes(k));
        for query in 0..sizes.queries {
            all.bias.row(b, h, query, &mut bias);
            brought.bias.row(b, h, query, &mut bias_error);
            let mut scores = vec![f64::NEG_INFINITY; keys];
            let mut off = vec![Off { fixed: 0.0, scaled: 0.0 }; keys];
            // The same of scores that are given out before a mask is added to them, those of unseen keys too.
            let mut given = off.clone();
            let mut largest_score = 0f64;
            let row = |list: &'_ [f64], at: usize| at * depth..(at * depth + depth).min(list.len());
            // A product that is no number, or beyond the range, may stay that where a mask of −∞ is added to
            // it.
            let mut masked = false;
            for key in 0..keys {
                let (of_q, of_k) = (row(q, query), row(k, key));
                let mut score = factor * dot(&q[of_q.clone()], &k[of_k.clone()]);
                let size = factor.abs() * dot(&q_size[of_q.clone()], &k_size[of_k.clone()]);
                // The factor may come before the products, in halves, or after them.
                let largest = size.max(size / factor.abs());
                let unseen = bias[key] == f64::NEG_INFINITY;
                if unseen {
                    masked |= leaves_range(largest) || !score.is_finite();
                } else {
                    let added = if bias[key].is_finite() { bias[key].abs() } else { 0.0 };
                    largest_score = largest_score.max(largest + added);
                }
                let operands = factor.abs()
                    * (dot(&q_size[of_q.clone()], &dk[of_k.clone()]) + dot(&dq[of_q], &k_size[of_k]));
                let mut rounding = (depth as f64 + 3.0) * size;
                let stored = |x: f64| if x.is_finite() { stores * x.abs() } else { 0.0 };
                let plain = |score: f64, rounding: f64| Off {
                    fixed: operands + stored(score),
                    scaled: UNIT_F32 * rounding,
                };
                given[key] = plain(score, rounding);
                if op.softcap > 0.0 {
                    let cap = op.softcap as f64;
                    score = cap * (score / cap).tanh();
                    rounding += accuracy::rounding("Tanh", &[score / cap], score) + 7.0 * score.abs();
                    if op.scores != Scores::Products {
                        given[key] = plain(score, rounding);
                    }
                }
                if unseen {
                    continue;
                }
                let sum = score + bias[key];
                let finite = if sum.is_finite() { sum.abs() } else { 0.0 };
                off[key] = Off {
                    fixed: operands + bias_error[key].abs() + stored(score) + stored(sum),
                    scaled: UNIT_F32 * (rounding + finite),
                };
                scores[key] = sum;
            }
            let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores
                .iter()
                .map(|score| if high.is_finite() { (score - high).exp() } else { 0.0 })
                .collect();
            let total: f64 = weights.iter().sum();
            let weights: Vec<f64> =
                weights.iter().map(|weight| if total > 0.0 { weight / total } else { 0.0 }).collect();
            for (off, score) in off.iter_mut().zip(&scores).filter(|(_, score)| score.is_finite()) {
                let distance = (score - high).max(-200.0);
                off.fixed += own.unit;
                off.scaled += UNIT_F32
                    * (accuracy::exponential(distance) + 7.0 * (keys as f64 / 4.0).ceil() + keys as f64);
            }
            let lost = leaves_range(largest_score);
            if index == 3 {
                let off = match op.scores {
                    Scores::Products | Scores::Capped => &given,
                    Scores::Masked | Scores::Weights => &off,
                };
                give_scores(op, &weights, off, sides, (&mut fixed, &mut scaled));
                fixed.iter_mut().rev().take(keys).filter(|_| lost).for_each(|fixed| *fixed = f64::INFINITY);
                open.resize(fixed.len(), lost || masked);
                continue;
            }
            let row = |key: usize| key * width..key * width + width;
            for column in 0..width {
                let value = |key: usize| v[row(key)][column];
                let seen = || (0..keys).filter(|&key| scores[key].is_finite());
                let y: f64 = seen().map(|key| weights[key] * value(key)).sum();
                let furthest = seen().map(|key| (value(key) - y).abs()).fold(0.0, f64::max);
                let moved = |c: f64| {
                    let error = |key: usize| off[key].fixed + c * sides * off[key].scaled;
                    let (mut up, mut down) = (0.0, 0.0);
                    for key in seen().filter(|&key| weights[key] > 0.0) {
                        up += weights[key] * error(key).exp_m1() * (value(key) - y).abs();
                        down += weights[key] * (-error(key)).exp();
                    }
                    // Nothing that weighs the same values leaves the range that they span.
                    let bound = up / down;
                    if bound < furthest { bound } else { furthest }
                };
                // A key that isn't seen may count as one of weight 0, and so may one whose weight is flushed
                // to that.
                let weightless = |key: usize| {
                    bias[key] == f64::NEG_INFINITY
                        || total > 0.0 && weights[key] * total < f32::MIN_POSITIVE as f64
                };
                let hidden = (0..keys).any(|key| !value(key).is_finite() && weightless(key));
                let size: f64 = seen().map(|key| weights[key] * value(key).abs()).sum();
                let largest =
                    seen().map(|key| value(key).abs()).filter(|x| x.is_finite()).fold(0.0, f64::max);
                let of_values: f64 = seen().map(|key| weights[key] * dv[row(key)][column]).sum();
                let (still, whole) = (moved(0.0), moved(SAFETY_FACTOR));
                fixed.push(if lost { f64::INFINITY } else { still + of_values + own.unit * size });
                open.push(lost || masked || hidden || leaves_range(keys as f64 * largest));
                let sum = UNIT_F32 * (2.0 * keys as f64 + accuracy::quotient()) * size
                    + keys as f64 * f32::MIN_POSITIVE as f64 * largest;
                scaled.push((whole - still).max(0.0) / SAFETY_FACTOR + sides * sum);
            }
        }
    }
    let order = if sizes.flat { [0, 2, 1, 3] } else { op.order };
    let last = if index == 3 { keys } else { width };
    let shape = [sizes.batch, sizes.heads, sizes.queries, last];
    let order = if index == 3 { [0, 1, 2, 3] } else { order };
    let formula =
        format!("errors of scores of {depth} through the softmax, c·u·2·{keys}·Σp|v| + storage rounding");
    let (fixed, scaled, open) =
        (ordered(&fixed, shape, order), ordered(&scaled, shape, order), ordered(&open, shape, order));
    Ok(Allowed::new(fixed, scaled, formula).with_open(open))
}

/// The scores as a result: weights by their relative error, the others by their own.
fn give_scores(
    op: &Attention,
    weights: &[f64],
    off: &[Off],
    sides: f64,
    (fixed, scaled): (&mut Vec<f64>, &mut Vec<f64>),
) {
    for (weight, off) in weights.iter().zip(off) {
        let size = if op.scores == Scores::Weights { 2.0 * weight } else { 1.0 };
        // A weight of 0 stays that: its score's error may be beyond what an exponential can hold.
        fixed.push(match op.scores {
            Scores::Weights if *weight == 0.0 => 0.0,
            Scores::Weights => size * off.fixed.exp_m1(),
            _ => off.fixed,
        });
        scaled.push(size * sides * off.scaled);
    }
}

/// What an element of an input may be off by; a mask of bools and the numbers of valid keys are exact, and
/// say the same.
fn errors_of(index: usize, input: &Input) -> Result<Tensor> {
    if index == LENGTHS || !input.value.dtype().is_float() {
        return Ok(input.value.clone());
    }
    Tensor::new(input.value.shape(), input.errors()?)
}

/// Elements of `[batch, heads, queries, last]` in another order of axes.
fn ordered<T: Copy>(list: &[T], shape: [usize; 4], order: [usize; 4]) -> Vec<T> {
    use crate::tensor::index::{Odometer, strides};
    let dense = strides(&shape);
    let (sizes, steps) = (order.map(|axis| shape[axis.min(3)]), order.map(|axis| dense[axis.min(3)]));
    Odometer::new(&sizes, [&steps]).map(|[at]| list[at]).collect()
}
