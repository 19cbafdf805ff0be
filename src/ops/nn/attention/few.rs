//! Attention of few queries on the CPU, as a language model has when it makes one token after another: keys
//! and values are read once, where they lie, and no further than a query sees. Packing them, as for products
//! of many rows, would take longer than the sums.

use crate::simd::{Loop, vectorised};

/// Queries of a head up to which keys aren't packed.
pub(super) const FEW: usize = 4;
/// Sums side by side, a vector of the widest machine.
const LANES: usize = 16;

/// The keys of a head and their values, as far as a query sees them.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// From the first key's first element on, and how far apart keys are.
    pub keys: (&'a [f32], usize),
    /// The same of the values.
    pub values: (&'a [f32], usize),
    /// What is added to each score, where there is a mask.
    pub added: Option<&'a [f32]>,
    pub count: usize,
}

/// softmax(factor · q·Kᵀ + added) · V, where any key is seen. `scores` is scratch, of as many elements as
/// keys are seen.
pub(super) fn attend(q: &[f32], seen: Seen<'_>, factor: f32, scores: &mut [f32], y: &mut [f32]) {
    vectorised(Query { q, seen, factor, scores, y });
}

struct Query<'a> {
    q: &'a [f32],
    seen: Seen<'a>,
    factor: f32,
    scores: &'a mut [f32],
    y: &'a mut [f32],
}

impl Loop for Query<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { q, seen, factor, scores, y } = self;
        let Some(scores) = scores.get_mut(..seen.count) else { return };
        let mut high = f32::NEG_INFINITY;
        for (at, score) in scores.iter_mut().enumerate() {
            let Some(key) = seen.keys.0.get(at * seen.keys.1..).and_then(|rest| rest.get(..q.len())) else {
                return;
            };
            *score = dot(q, key) * factor + seen.added.and_then(|added| added.get(at)).map_or(0.0, |&x| x);
            high = if *score > high || score.is_nan() { *score } else { high };
        }
        let mut sum = 0.0;
        for score in scores.iter_mut() {
            *score = crate::simd::math::exp(*score - high);
            sum += *score;
        }
        y.fill(0.0);
        for (at, &weight) in scores.iter().enumerate() {
            let value = seen.values.0.get(at * seen.values.1..).unwrap_or_default();
            y.iter_mut().zip(value).for_each(|(y, &x)| *y += weight * x);
        }
        y.iter_mut().for_each(|y| *y /= sum);
    }
}

/// Σ aᵢ·bᵢ, the sums of every 16th product first.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (runs, others) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut rest = 0.0;
    for (x, y) in runs.remainder().iter().zip(others.remainder()) {
        rest += x * y;
    }
    for (a, b) in runs.zip(others) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += x * y;
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0] + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_is_not_read() {
        let q = vec![1.0f32; 19];
        let keys: Vec<f32> = (0..3 * 20).map(|at| if at < 40 { 0.1 } else { f32::NAN }).collect();
        let values = [1.0, 3.0, f32::NAN];
        let seen = Seen { keys: (&keys, 20), values: (&values, 1), added: None, count: 2 };
        let mut y = [0.0];
        attend(&q, seen, 0.5, &mut [0.0; 2], &mut y);
        assert_eq!(y, [2.0]);
        let masked = Seen { added: Some(&[0.0, f32::NEG_INFINITY]), ..seen };
        attend(&q, masked, 0.5, &mut [0.0; 2], &mut y);
        assert_eq!(y, [1.0]);
        assert_eq!(dot(&q, &q), 19.0);
    }
}
