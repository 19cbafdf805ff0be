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
    /// Of a whole number; what is beyond the type's ends is these, and NaN 0.
    fn of(x: f32) -> Self;
    fn wide(self) -> f32;
}
macro_rules! quantized {
    ($($t:ty => $convert:expr),*) => { $(impl Quantized for $t {
        const LOW: f32 = <$t>::MIN as f32;
        const HIGH: f32 = <$t>::MAX as f32;
        #[inline(always)]
        fn of(x: f32) -> Self {
            // As Max and Min have it: NaN stays, and becomes 0.
            let x = if x < Self::LOW { Self::LOW } else { x };
            let x = if x > Self::HIGH { Self::HIGH } else { x };
            $convert(if x.is_nan() { 0.0 } else { x }) as $t
        }
        #[inline(always)]
        fn wide(self) -> f32 { self as f32 }
    })* };
}
/// A whole number of at most 2²² either way: adding 1.5·2²³ leaves it in the sum's last bits. A conversion that
/// saturates, as Rust's does, is one for which machines have no vectors.
#[inline(always)]
fn small(x: f32) -> i32 {
    const PLACE: f32 = 12_582_912.0;
    ((x + PLACE).to_bits() as i32).wrapping_sub(PLACE.to_bits() as i32)
}
quantized!(u8 => small, i8 => small, u16 => small, i16 => small, i32 => |x: f32| x as i32);

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
            *to = T::of((x / self.scale).round_ties_even() + self.zero);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_16_bits_and_what_is_beyond() {
        assert!((i16::MIN..=i16::MAX).all(|x| i16::of(x.into()) == x));
        assert!((u16::MIN..=u16::MAX).all(|x| u16::of(x.into()) == x));
        let beyond = [f32::NEG_INFINITY, -1e9, 300.0, f32::INFINITY, f32::NAN, -0.0];
        assert_eq!(beyond.map(u8::of), [0, 0, 255, 255, 0, 0]);
        assert_eq!(beyond.map(i8::of), [-128, -128, 127, 127, 0, 0]);
        assert_eq!(beyond.map(i32::of), [i32::MIN, -1_000_000_000, 300, i32::MAX, 0, 0]);
    }
}
