//! Weighted sums along one axis at a time, in float32 or float64: what a Resize with weights is made of.

use crate::base::resample::Taps;
use crate::error::Result;
use crate::simd::{Loop, vectorised};
use crate::tensor::{Real, element_count, zeros};
use crate::threads::chunks;

/// Elements that a thread makes at once.
const CHUNK: usize = 1 << 14;

/// `[before, length, inner]` to `[before, outputs, inner]`: each output element along the axis is the sum of
/// its taps, whose weights `weight` gives.
///
/// Errors where the result doesn't fit memory.
pub fn along_axis<T: Real>(
    values: &[T],
    [before, length, inner]: [usize; 3],
    taps: &Taps,
    weight: fn(f64) -> f64,
) -> Result<Vec<T>> {
    let outputs = taps.outside.len();
    let mut next: Vec<T> = zeros(element_count(&[before, outputs, inner])?)?;
    let all: Vec<(usize, T)> = taps.taps.iter().map(|&(from, by)| (from, T::of(weight(by)))).collect();
    if inner == 1 && outputs > 0 {
        let rows = (CHUNK / outputs).max(1);
        chunks(&mut next, rows * outputs, |chunk, to| {
            for (row, to) in to.chunks_exact_mut(outputs).enumerate() {
                let from = &values[(chunk * rows + row) * length..][..length];
                vectorised(Row { from, taps: &all, count: taps.count, to });
            }
        });
        return Ok(next);
    }
    chunks(&mut next, inner.max(1), |line, to| {
        let (outer, out) = (line / outputs.max(1), line % outputs.max(1));
        for &(from, weight) in &all[out * taps.count..][..taps.count] {
            let from = &values[(outer * length + from) * inner..][..inner];
            vectorised(Add { from, weight, to });
        }
    });
    Ok(next)
}

/// Along the innermost axis.
struct Row<'a, T> {
    from: &'a [T],
    taps: &'a [(usize, T)],
    count: usize,
    to: &'a mut [T],
}
impl<T: Real> Loop for Row<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        if let (2, (pairs, [])) = (self.count, self.taps.as_chunks::<2>()) {
            for (to, [(a, by_a), (b, by_b)]) in self.to.iter_mut().zip(pairs) {
                *to = *by_a * self.from[*a] + *by_b * self.from[*b];
            }
            return;
        }
        for (to, taps) in self.to.iter_mut().zip(self.taps.chunks_exact(self.count.max(1))) {
            let mut sum = T::default();
            for (from, weight) in taps {
                sum += *weight * self.from[*from];
            }
            *to = sum;
        }
    }
}

/// A whole line, times its weight, onto another.
struct Add<'a, T> {
    from: &'a [T],
    weight: T,
    to: &'a mut [T],
}
impl<T: Real> Loop for Add<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for (to, &from) in self.to.iter_mut().zip(self.from) {
            *to += self.weight * from;
        }
    }
}
