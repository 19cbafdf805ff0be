//! A Fourier transform as a product with a matrix of cosines and sines, for devices.
//!
//! The matrix is made in float64 and stored as the data is, so that a result is off by what a sum of products
//! is. It grows with the square of the length: [`MOST`] elements bound it.

use super::fourier::Complex;
use crate::base::{Unsupported, View};
use crate::error::Result;
use crate::kernels::{Lowering, matmul};
use crate::tensor::{DType, Tensor, allocate, cast};
use std::f64::consts::PI;

/// The most elements of a matrix: complex transforms of 1,448 elements, or one-sided ones of real numbers of
/// 2,895.
const MOST: usize = 1 << 23;

/// A transform of one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transform {
    /// The transform's length.
    pub length: usize,
    /// Elements that are read, those behind them being 0, and made.
    pub read: usize,
    pub made: usize,
    /// Numbers of an element read, and made: 1 or 2.
    pub parts: [usize; 2],
    pub inverse: bool,
}

impl Transform {
    /// Rows and columns of the matrix.
    pub fn sizes(&self) -> [usize; 2] {
        [self.read * self.parts[0], self.made * self.parts[1]]
    }

    /// How often an element of the spectrum counts in an inverse that makes real numbers of one half of it.
    pub fn weight(&self, k: usize) -> f64 {
        let halved = self.inverse && self.parts[1] == 1;
        let mirrored = halved && k > 0 && k < self.length.div_ceil(2);
        let twice = if mirrored { 2.0 } else { 1.0 };
        if self.inverse { twice / self.length as f64 } else { 1.0 }
    }

    /// The matrix, or why there is none.
    fn matrix(&self) -> Result<Tensor, Unsupported> {
        let [rows, columns] = self.sizes();
        let count = rows.checked_mul(columns).filter(|&count| count <= MOST).ok_or_else(|| {
            Unsupported::new(format!(
                "a Fourier transform of length {}: its matrix of {rows} by {columns} has more than {MOST} \
                 elements",
                self.length
            ))
        })?;
        let mut elements: Vec<f64> = allocate(count)?;
        let roots = self.roots()?;
        for k in 0..self.read {
            for part in 0..self.parts[0] {
                for t in 0..self.made {
                    // Less than 2⁴⁴: both are less than the matrix's sizes.
                    let [cos, sin] = roots[k * t % self.length].map(|x| x * self.weight(k));
                    // exp(−iθ), or exp(iθ) for an inverse, times the number or its imaginary part.
                    let sin = if self.inverse { sin } else { -sin };
                    let (re, im) = if part == 0 { (cos, sin) } else { (-sin, cos) };
                    elements.push(re);
                    if self.parts[1] == 2 {
                        elements.push(im);
                    }
                }
            }
        }
        Ok(Tensor::new([rows, columns], elements)?)
    }

    /// Cosine and sine of every multiple of a turn's `length`th part; exact at quarter turns.
    fn roots(&self) -> Result<Vec<[f64; 2]>> {
        let n = self.length;
        let mut roots = allocate(n)?;
        roots.extend((0..n).map(|k| match (4 * k) / n {
            quarter if (4 * k) % n == 0 => [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]][quarter % 4],
            _ => {
                let angle = 2.0 * PI * (k as f64 / n as f64);
                [angle.cos(), angle.sin()]
            }
        }));
        Ok(roots)
    }

    /// Whether a line is taken by the definition: one that holds what is no number, of which a fast transform
    /// makes other numbers than a device. Not where the device has no matrix: it would take for ever.
    pub fn by_definition(&self, line: &[Complex]) -> bool {
        let [rows, columns] = self.sizes();
        rows.saturating_mul(columns) <= MOST && line.iter().any(|x| !x.re.is_finite() || !x.im.is_finite())
    }

    /// The transform of a line as the product with the matrix has it, into the line's beginning.
    pub fn define(&self, line: &mut [Complex]) -> Result<()> {
        let (roots, given) = (self.roots()?, line[..self.read].to_vec());
        for (t, made) in line.iter_mut().enumerate().take(self.made) {
            *made = Complex::default();
            for (k, x) in given.iter().enumerate() {
                let [cos, sin] = roots[k * t % self.length].map(|x| x * self.weight(k));
                let sin = if self.inverse { sin } else { -sin };
                *made = *made + Complex::new(x.re * cos, x.re * sin);
                if self.parts[0] == 2 {
                    *made = *made + Complex::new(-x.im * sin, x.im * cos);
                }
            }
        }
        Ok(())
    }

    /// The matrix on the device, stored as elements of `dtype`.
    pub fn table(&self, at: &mut dyn Lowering, dtype: DType) -> Result<View, Unsupported> {
        let matrix = cast(&self.matrix()?, dtype, true)?;
        at.table("cosines and sines", matrix)
    }

    /// Emits the product of `lines` `[rows, numbers read]` and the matrix: `[rows, numbers made]`.
    pub fn product(
        &self,
        at: &mut dyn Lowering,
        dtype: DType,
        lines: View,
        matrix: View,
    ) -> Result<View, Unsupported> {
        let [read, made] = self.sizes();
        let rows = lines.shape[0];
        matmul::computed(at, dtype, [lines, matrix], &[], [rows, made, read])
    }
}

#[cfg(test)]
mod tests {
    use super::super::fourier::Fourier;
    use super::*;

    #[test]
    fn the_matrix_is_the_transform() {
        for length in [1, 2, 5, 8, 12] {
            let transform = Transform { length, read: length, made: length, parts: [2, 2], inverse: false };
            let matrix = transform.matrix().unwrap().to_f64s().unwrap();
            let fourier = Fourier::new(length).unwrap();
            for k in 0..length {
                let mut line = vec![Complex::default(); length];
                line[k] = Complex::new(1.0, 0.0);
                fourier.forward(&mut line).unwrap();
                for (t, value) in line.iter().enumerate() {
                    let at = (2 * k * length + t) * 2;
                    assert!((matrix[at] - value.re).abs() < 1e-14, "{length} {k} {t}");
                    assert!((matrix[at + 1] - value.im).abs() < 1e-14, "{length} {k} {t}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_is_too_large_is_refused() {
        let transform = Transform { length: 4096, read: 4096, made: 4096, parts: [2, 2], inverse: false };
        assert!(transform.matrix().unwrap_err().0.contains("length 4096"));
    }
}
