//! Loops between float32 and integers: runs of elements with a scale each.

use crate::error::Result;
use crate::simd::{Loop, vectorised};
use crate::tensor::pool::{self, Floats};
use crate::tensor::{Element, zeros};
use crate::threads::chunks;

/// Elements that a thread takes at once.
const CHUNK: usize = 1 << 14;

/// Scales and zero points: run `i` of `run` elements has those of index `i % count`.
pub struct Scales<'a> {
    pub scales: &'a [f32],
    pub zeros: &'a [f32],
    pub run: usize,
    pub count: usize,
}

impl Scales<'_> {
    /// Calls `work` with each part of `start .. start + length` that has one scale: its place from `start`
    /// on, the scale and the zero point.
    fn parts(&self, start: usize, length: usize, mut work: impl FnMut(std::ops::Range<usize>, f32, f32)) {
        let mut at = 0;
        while at < length {
            let run = (start + at) / self.run;
            let end = ((run + 1) * self.run - start).min(length);
            // One scale, however many runs there are.
            let index = if self.scales.len() == 1 { 0 } else { run % self.count };
            work(at..end, self.scales[index], self.zeros[if self.zeros.len() == 1 { 0 } else { index }]);
            at = end;
        }
    }
}

/// An integer that is quantised to and from.
pub trait Quantized: Element + Copy {
    const LOW: f32;
    const HIGH: f32;
    /// Of a whole number within the type's ends; of NaN 0.
    fn of(x: f32) -> Self;
    fn wide(self) -> f32;
}
macro_rules! quantized {
    ($($t:ty),*) => { $(impl Quantized for $t {
        const LOW: f32 = <$t>::MIN as f32;
        const HIGH: f32 = <$t>::MAX as f32;
        // By int32, for which machines have vectors: what comes is whole and within the type's ends, or NaN.
        #[inline(always)]
        fn of(x: f32) -> Self { x as i32 as $t }
        #[inline(always)]
        fn wide(self) -> f32 { self as f32 }
    })* };
}
quantized!(u8, i8, u16, i16, i32);

struct Down<'a, T> {
    from: &'a [f32],
    to: &'a mut [T],
    scale: f32,
    zero: f32,
}
impl<T: Quantized> Loop for Down<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for (to, &x) in self.to.iter_mut().zip(self.from) {
            let y = (x / self.scale).round_ties_even() + self.zero;
            // As Max and Min have it: NaN stays, and becomes 0.
            let y = if y < T::LOW { T::LOW } else { y };
            *to = T::of(if y > T::HIGH { T::HIGH } else { y });
        }
    }
}

struct Up<'a, T> {
    from: &'a [T],
    to: &'a mut [f32],
    scale: f32,
    zero: f32,
}
impl<T: Quantized> Loop for Up<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        for (to, &x) in self.to.iter_mut().zip(self.from) {
            *to = (x.wide() - self.zero) * self.scale;
        }
    }
}

/// `saturate(round(x / scale) + zero)`, rounded to even.
pub fn quantize<T: Quantized>(xs: &[f32], scales: &Scales<'_>) -> Result<Vec<T>> {
    let mut ys: Vec<T> = zeros(xs.len())?;
    chunks(&mut ys, CHUNK, |index, ys| {
        let start = index * CHUNK;
        scales.parts(start, ys.len(), |part, scale, zero| {
            let from = &xs[start + part.start..start + part.end];
            vectorised(Down { from, to: &mut ys[part], scale, zero });
        });
    });
    Ok(ys)
}

/// `(x - zero) * scale`.
pub fn dequantize<T: Quantized>(xs: &[T], scales: &Scales<'_>) -> Result<Floats> {
    let mut ys = pool::unset(xs.len())?;
    chunks(&mut ys, CHUNK, |index, ys| {
        let start = index * CHUNK;
        scales.parts(start, ys.len(), |part, scale, zero| {
            let from = &xs[start + part.start..start + part.end];
            vectorised(Up { from, to: &mut ys[part], scale, zero });
        });
    });
    Ok(ys)
}
