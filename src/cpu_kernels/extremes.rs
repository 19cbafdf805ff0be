//! The largest and the smallest of float32 along an axis. NaN is both.

use super::rows::{CHUNK, LANES, for_stripes};
use crate::simd::{Loop, vectorised};
use crate::threads::chunks;

/// The larger or the smaller of two; NaN is both.
#[inline(always)]
fn extreme<const LARGEST: bool>(best: f32, x: f32) -> f32 {
    let better = if LARGEST { x > best } else { x < best };
    if better || x.is_nan() { x } else { best }
}

/// The extreme of a row, in sixteen lanes.
struct Extreme<'a, const LARGEST: bool>(&'a [f32]);
impl<const LARGEST: bool> Loop for Extreme<'_, LARGEST> {
    type Output = f32;
    #[inline(always)]
    fn run(self) -> f32 {
        let start = if LARGEST { f32::NEG_INFINITY } else { f32::INFINITY };
        let mut lanes = [start; LANES];
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for chunk in whole {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = extreme::<LARGEST>(*lane, x);
            }
        }
        let mut best = start;
        for &x in lanes.iter().chain(rest) {
            best = extreme::<LARGEST>(best, x);
        }
        best
    }
}

/// The extremes of neighbouring columns, row by row.
struct ColumnExtremes<'a, const LARGEST: bool> {
    xs: &'a [f32],
    inner: usize,
    first: usize,
    ys: &'a mut [f32],
}
impl<const LARGEST: bool> Loop for ColumnExtremes<'_, LARGEST> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        self.ys.fill(if LARGEST { f32::NEG_INFINITY } else { f32::INFINITY });
        for row in self.xs.chunks_exact(self.inner) {
            for (y, &x) in self.ys.iter_mut().zip(&row[self.first..]) {
                *y = extreme::<LARGEST>(*y, x);
            }
        }
    }
}

/// The largest, or the smallest, along the middle of `[outer, length, inner]`, to `[outer, inner]`; of none −∞,
/// or ∞. NaN where one is NaN.
pub fn extremes(xs: &[f32], ys: &mut [f32], length: usize, inner: usize, largest: bool) {
    fn of<const LARGEST: bool>(xs: &[f32], ys: &mut [f32], length: usize, inner: usize) {
        if inner == 1 && length > 0 {
            let rows = (CHUNK / length).max(1);
            return chunks(ys, rows, |index, ys| {
                let xs = &xs[index * rows * length..][..ys.len() * length];
                for (y, x) in ys.iter_mut().zip(xs.chunks_exact(length)) {
                    *y = vectorised(Extreme::<LARGEST>(x));
                }
            });
        }
        for_stripes(xs, ys, length, inner, |xs, first, ys| {
            vectorised(ColumnExtremes::<LARGEST> { xs, inner, first, ys });
        });
    }
    if largest { of::<true>(xs, ys, length, inner) } else { of::<false>(xs, ys, length, inner) }
}
