//! What normalisations, softmax and reductions do to rows of float32: sums in float64 by lanes, loops that
//! vectorise.

use crate::simd::math;
use crate::simd::{Loop, vectorised};
use crate::threads::{Elements, chunks, parallel_for};

pub(super) const LANES: usize = 16;
/// Neighbouring columns that are summed up together: few, so that a small outer size leaves work for every
/// thread.
const STRIPE: usize = 64;
/// Elements that a thread takes at once.
pub(super) const CHUNK: usize = 1 << 13;

/// The sum of `f` over a row, in sixteen float64 lanes.
#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f64) -> f64 {
    let mut lanes = [0f64; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&x| f(x)).sum::<f64>()
}

/// The mean of a row (0 if it isn't centred) and its inverse deviation.
struct Moments<'a> {
    x: &'a [f32],
    centred: bool,
    epsilon: f64,
}
impl Loop for Moments<'_> {
    type Output = (f64, f64);
    #[inline(always)]
    fn run(self) -> (f64, f64) {
        let length = self.x.len() as f64;
        let mean = if self.centred { sum(self.x, |x| x as f64) / length } else { 0.0 };
        let variance = sum(self.x, |x| (x as f64 - mean) * (x as f64 - mean)) / length;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }
}

struct Affine<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    mean: f64,
    inverse: f64,
    scale: &'a [f32],
    bias: Option<&'a [f32]>,
}
impl Loop for Affine<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let (mean, inverse) = (self.mean, self.inverse);
        let normal = |x: f32| (x as f64 - mean) * inverse;
        let all = self.y.iter_mut().zip(self.x).zip(self.scale);
        match self.bias {
            Some(bias) => {
                for (((y, &x), &scale), &bias) in all.zip(bias) {
                    *y = (normal(x) * scale as f64 + bias as f64) as f32;
                }
            }
            None => {
                for ((y, &x), &scale) in all {
                    *y = (normal(x) * scale as f64) as f32;
                }
            }
        }
    }
}

/// Normalises each row of `scale.len()` elements. `moments` gets each row's mean and inverse deviation.
pub fn normalize(
    xs: &[f32],
    ys: &mut [f32],
    moments: &mut [(f64, f64)],
    centred: bool,
    epsilon: f64,
    scale: &[f32],
    bias: Option<&[f32]>,
) {
    let length = scale.len();
    if length == 0 {
        return;
    }
    let rows = (CHUNK / length).max(1);
    let all = Elements(moments.as_mut_ptr());
    let count = (ys.len() / length).min(moments.len());
    chunks(&mut ys[..count * length], rows * length, |index, ys| {
        let xs = &xs[index * rows * length..][..ys.len()];
        // SAFETY: there are moments for each of the `count` rows, and each chunk takes those of its own.
        let moments = unsafe { std::slice::from_raw_parts_mut(all.at(index * rows), ys.len() / length) };
        for ((y, x), moments) in ys.chunks_exact_mut(length).zip(xs.chunks_exact(length)).zip(moments) {
            *moments = vectorised(Moments { x, centred, epsilon });
            vectorised(Affine { x, y, mean: moments.0, inverse: moments.1, scale, bias });
        }
    });
}

/// The affine part with one scale and bias for a whole run.
struct Shift<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    mean: f64,
    factor: f64,
    bias: f64,
}
impl Loop for Shift<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = ((x as f64 - self.mean) * self.factor + self.bias) as f32;
        }
    }
}

/// Normalises each run of `length` elements over itself; parts of `part` elements share a scale and a bias:
/// those of part `k` of all are `affine(k)`.
pub fn normalize_runs(
    xs: &[f32],
    ys: &mut [f32],
    [length, part]: [usize; 2],
    centred: bool,
    epsilon: f64,
    affine: impl Fn(usize) -> (f64, f64) + Sync,
) {
    if length == 0 || part == 0 {
        return;
    }
    let runs = (CHUNK / length).max(1);
    chunks(ys, runs * length, |index, ys| {
        for (run, y) in ys.chunks_mut(length).enumerate() {
            let start = (index * runs + run) * length;
            let x = &xs[start..start + y.len()];
            let (mean, inverse) = vectorised(Moments { x, centred, epsilon });
            for (k, (y, x)) in y.chunks_mut(part).zip(x.chunks(part)).enumerate() {
                let (scale, bias) = affine(start / part + k);
                vectorised(Shift { x, y, mean, factor: inverse * scale, bias });
            }
        }
    });
}

struct Softmax<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    factor: f32,
    /// Added to what was multiplied.
    bias: Option<&'a [f32]>,
}
impl Loop for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        match self.bias {
            Some(bias) => {
                for ((y, &x), &bias) in self.y.iter_mut().zip(self.x).zip(bias) {
                    *y = x * self.factor + bias;
                }
            }
            None => {
                for (y, &x) in self.y.iter_mut().zip(self.x) {
                    *y = x * self.factor;
                }
            }
        }
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (whole, rest) = self.y.as_chunks::<LANES>();
        for chunk in whole {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = if x > *lane { x } else { *lane };
            }
        }
        let mut high = f32::NEG_INFINITY;
        for &x in lanes.iter().chain(rest) {
            high = if x > high { x } else { high };
        }
        for y in self.y.iter_mut() {
            *y = math::exp(*y - high);
        }
        let inverse = 1.0 / sum(self.y, |y| y as f64);
        for y in self.y.iter_mut() {
            *y = (*y as f64 * inverse) as f32;
        }
    }
}

/// Softmax of each row of `length` elements.
pub fn softmax(xs: &[f32], ys: &mut [f32], length: usize) {
    if length == 0 {
        return;
    }
    let rows = (CHUNK / length).max(1);
    chunks(ys, rows * length, |index, ys| {
        let xs = &xs[index * rows * length..][..ys.len()];
        ys.chunks_exact_mut(length)
            .zip(xs.chunks_exact(length))
            .for_each(|(y, x)| vectorised(Softmax { x, y, factor: 1.0, bias: None }));
    });
}

/// Softmax of each row times `factor` plus a row of `bias`, on this thread. A row of −∞ throughout comes to
/// zeros, if asked.
pub fn biased_softmax(
    xs: &[f32],
    ys: &mut [f32],
    length: usize,
    factor: f32,
    bias: Option<&[f32]>,
    zero_unseen: bool,
) {
    if length == 0 {
        return;
    }
    for (row, (y, x)) in ys.chunks_exact_mut(length).zip(xs.chunks_exact(length)).enumerate() {
        let bias = bias.map(|bias| &bias[row * length..][..length]);
        vectorised(Softmax { x, y, factor, bias });
        let score = |k: usize| x[k] * factor + bias.map_or(0.0, |bias| bias[k]);
        // The result is NaN there: rows that are told apart by it need no other look.
        if zero_unseen && y[0].is_nan() && (0..length).all(|k| score(k) == f32::NEG_INFINITY) {
            y.fill(0.0);
        }
    }
}

struct Sum<'a>(&'a [f32]);
impl Loop for Sum<'_> {
    type Output = f64;
    #[inline(always)]
    fn run(self) -> f64 {
        sum(self.0, |x| x as f64)
    }
}

/// Calls `work` for stripes of neighbouring columns of `[outer, length, inner]`, with the outer index' elements,
/// the stripe's first column and its results.
pub(super) fn for_stripes(
    xs: &[f32],
    ys: &mut [f32],
    length: usize,
    inner: usize,
    work: impl Fn(&[f32], usize, &mut [f32]) + Sync,
) {
    let (stripes, all) = (inner.div_ceil(STRIPE), Elements(ys.as_mut_ptr()));
    parallel_for(ys.len() / inner.max(1) * stripes, |index| {
        let (outer, first) = (index / stripes, index % stripes * STRIPE);
        // SAFETY: the stripes of each outer index lie inside its `inner` results, and don't overlap.
        let ys = unsafe {
            std::slice::from_raw_parts_mut(all.at(outer * inner + first), STRIPE.min(inner - first))
        };
        work(&xs[outer * length * inner..][..length * inner], first, ys);
    });
}

/// Sums along the middle of `[outer, length, inner]`, each times `factor`, to `[outer, inner]`.
pub fn sums(xs: &[f32], ys: &mut [f32], length: usize, inner: usize, factor: f64) {
    if length == 0 || inner == 0 {
        return ys.fill((0.0 * factor) as f32);
    }
    if inner == 1 {
        let rows = (CHUNK / length).max(1);
        chunks(ys, rows, |index, ys| {
            let xs = &xs[index * rows * length..][..ys.len() * length];
            for (y, x) in ys.iter_mut().zip(xs.chunks_exact(length)) {
                *y = (vectorised(Sum(x)) * factor) as f32;
            }
        });
        return;
    }
    for_stripes(xs, ys, length, inner, |xs, first, ys| {
        vectorised(Columns { xs, inner, first, factor, ys });
    });
}

/// The sums of a few neighbouring columns.
struct Columns<'a> {
    xs: &'a [f32],
    inner: usize,
    first: usize,
    factor: f64,
    ys: &'a mut [f32],
}
impl Loop for Columns<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let mut totals = [0f64; STRIPE];
        for row in self.xs.chunks_exact(self.inner) {
            for (total, &x) in totals.iter_mut().zip(&row[self.first..][..self.ys.len()]) {
                *total += x as f64;
            }
        }
        for (y, total) in self.ys.iter_mut().zip(totals) {
            *y = (total * self.factor) as f32;
        }
    }
}
