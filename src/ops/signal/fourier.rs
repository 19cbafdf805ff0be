//! The discrete Fourier transform of a line of any length, in float64: by radix 2 where the length is a power
//! of two, else as a convolution of such a length (Bluestein, 1970).

use crate::error::{Error, Result};
use crate::tensor::{allocate, zeros};
use std::f64::consts::PI;
use std::ops::{Add, Mul, Sub};

/// A complex number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Complex {
    pub re: f64,
    pub im: f64,
}

impl Complex {
    pub fn new(re: f64, im: f64) -> Self {
        Self { re, im }
    }
    /// exp(−2πi · turns), `turns` = part / whole.
    fn root(part: usize, whole: usize) -> Self {
        let angle = -2.0 * PI * (part as f64 / whole as f64);
        Self { re: angle.cos(), im: angle.sin() }
    }
    pub fn conjugate(self) -> Self {
        Self { re: self.re, im: -self.im }
    }
    pub fn scaled(self, factor: f64) -> Self {
        Self { re: self.re * factor, im: self.im * factor }
    }
}
impl Add for Complex {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}
impl Sub for Complex {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}
impl Mul for Complex {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// `count` zeros.
pub fn line(count: usize) -> Result<Vec<Complex>> {
    let mut line = allocate(count)?;
    line.resize(count, Complex::default());
    Ok(line)
}

/// Tables for transforms of one length.
pub struct Fourier {
    length: usize,
    /// The roots of unity of `padded`, half of them.
    roots: Vec<Complex>,
    /// The power of two that is transformed.
    padded: usize,
    /// Where the length is no power of two: exp(−πi k² / length), and the transform of its conjugate, wrapped
    /// around.
    chirp: Option<(Vec<Complex>, Vec<Complex>)>,
}

impl Fourier {
    pub fn new(length: usize) -> Result<Self> {
        let too_long = || Error::memory(format!("a Fourier transform of length {length}"));
        let padded = if length.is_power_of_two() {
            length
        } else {
            length.checked_mul(2).and_then(usize::checked_next_power_of_two).ok_or_else(too_long)?
        };
        // What can't be allocated is refused before anything is computed.
        drop(zeros::<f64>(padded)?);
        let mut roots = allocate(padded / 2)?;
        roots.extend((0..padded / 2).map(|k| Complex::root(k, padded)));
        let mut this = Self { length, roots, padded, chirp: None };
        if padded != length {
            let mut chirp = allocate(length)?;
            // k² modulo 2 · length keeps the angle small, and exact.
            let square = |k: usize| (k as u128 * k as u128 % (2 * length as u128)) as usize;
            chirp.extend((0..length).map(|k| Complex::root(square(k), 2 * length)));
            let mut filter = line(padded)?;
            for (k, root) in chirp.iter().enumerate() {
                filter[k] = root.conjugate();
                filter[(padded - k) % padded] = root.conjugate();
            }
            this.radix_two(&mut filter);
            this.chirp = Some((chirp, filter));
        }
        Ok(this)
    }

    /// In place, of a line of `padded` elements.
    fn radix_two(&self, line: &mut [Complex]) {
        let n = line.len();
        let bits = n.trailing_zeros();
        if bits == 0 {
            return;
        }
        for k in 0..n {
            let other = k.reverse_bits() >> (usize::BITS - bits);
            if k < other {
                line.swap(k, other);
            }
        }
        let mut half = 1;
        while half < n {
            let step = n / (2 * half);
            for block in line.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let turned = *b * self.roots[k * step];
                    (*a, *b) = (*a + turned, *a - turned);
                }
            }
            half *= 2;
        }
    }

    /// `Σ line[n] exp(−2πi k n / length)`, in place. A line of another length is an error.
    pub fn forward(&self, data: &mut [Complex]) -> Result<()> {
        if data.len() != self.length {
            return Err(Error::internal("a line of another length than its transform"));
        }
        let Some((chirp, filter)) = &self.chirp else {
            self.radix_two(data);
            return Ok(());
        };
        let mut wide = line(self.padded)?;
        for (to, (x, root)) in wide.iter_mut().zip(data.iter().zip(chirp)) {
            *to = *x * *root;
        }
        self.radix_two(&mut wide);
        // The inverse is the forward transform between two conjugations.
        wide.iter_mut().zip(filter).for_each(|(x, y)| *x = (*x * *y).conjugate());
        self.radix_two(&mut wide);
        for (to, (x, root)) in data.iter_mut().zip(wide.iter().zip(chirp)) {
            *to = x.conjugate().scaled(1.0 / self.padded as f64) * *root;
        }
        Ok(())
    }

    /// `1 / length · Σ line[k] exp(2πi k n / length)`, in place.
    pub fn inverse(&self, data: &mut [Complex]) -> Result<()> {
        data.iter_mut().for_each(|x| *x = x.conjugate());
        self.forward(data)?;
        data.iter_mut().for_each(|x| *x = x.conjugate().scaled(1.0 / self.length as f64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn every_length_is_the_sum_that_it_stands_for() {
        for length in (1..40).chain([64, 100, 127, 128, 360]) {
            let mut random = SplitMix64(length as u64);
            let given: Vec<Complex> =
                (0..length).map(|_| Complex::new(random.unit() - 0.5, random.unit() - 0.5)).collect();
            let fourier = Fourier::new(length).unwrap();
            let mut made = given.clone();
            fourier.forward(&mut made).unwrap();
            for (k, found) in made.iter().enumerate() {
                let term = |(n, x): (usize, &Complex)| *x * Complex::root(k * n % length, length);
                let sum = given.iter().enumerate().map(term).fold(Complex::default(), Add::add);
                let off = *found - sum;
                assert!(off.re.hypot(off.im) < 1e-12, "{length}: {found:?} instead of {sum:?}");
            }
            fourier.inverse(&mut made).unwrap();
            let off = made.iter().zip(&given).map(|(a, b)| (a.re - b.re).hypot(a.im - b.im));
            assert!(off.fold(0.0, f64::max) < 1e-13, "{length}");
        }
    }

    #[test]
    fn a_length_beyond_memory_is_an_error() {
        assert!(Fourier::new(usize::MAX / 2).is_err() && Fourier::new((1 << 62) + 1).is_err());
    }
}
