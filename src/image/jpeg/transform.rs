//! The inverse cosine transform of blocks, in integers as libjpeg's slow one has it (after Loeffler,
//! Ligtenberg and Moschytz, 1989): columns, then rows, each with coefficients of 13 bits.

use super::broken;
use super::frame::Component;
use crate::error::Result;
use crate::tensor::zeros;

const BITS: u32 = 13;
/// Bits that columns keep for rows.
const KEPT: u32 = 2;

/// What each odd coefficient (1, 3, 5, 7) adds to the differences of opposite results, from the outermost pair
/// (0 and 7) to the innermost (3 and 4): √2·cos of odd multiples of π/16. libjpeg makes them of sums of
/// rounded numbers, so that equal cosines differ in their last digit.
const ODD: [[i64; 4]; 4] = [
    [11363, 9633, 6437, 2260],
    [9633, -2259, -11362, -6436],
    [6437, -11362, 2261, 9633],
    [2260, -6436, 9633, -11363],
];
/// √2·cos and √2·sin of π/8, of coefficients 2 and 6.
const EVEN: [i64; 2] = [10703, 4433];
/// As it comes out of libjpeg's sums where the signs differ.
const EVEN_BELOW: i64 = -10704;

/// One line of eight, its results `shift` bits lower, rounded.
fn line(x: [i64; 8], shift: u32) -> [i64; 8] {
    let (sum, difference) = ((x[0] + x[4]) << BITS, (x[0] - x[4]) << BITS);
    let outer = EVEN[0] * x[2] + EVEN[1] * x[6];
    let inner = EVEN[1] * x[2] + EVEN_BELOW * x[6];
    let even = [sum + outer, difference + inner, difference - inner, sum - outer];
    let mut y = [0; 8];
    for (k, (even, odd)) in even.into_iter().zip(&ODD).enumerate() {
        let odd = odd[0] * x[1] + odd[1] * x[3] + odd[2] * x[5] + odd[3] * x[7];
        let half = 1 << (shift - 1);
        (y[k], y[7 - k]) = ((even + odd + half) >> shift, (even - odd + half) >> shift);
    }
    y
}

/// The samples of a block.
fn block(coefficients: &[i16], steps: &[u16; 64]) -> [[u8; 8]; 8] {
    let mut held = [[0i64; 8]; 8];
    for column in 0..8 {
        let of = |row: usize| {
            let at = row * 8 + column;
            i64::from(coefficients[at]) * i64::from(steps[at])
        };
        let x = [of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7)];
        let y = if x[1..] == [0; 7] { [x[0] << KEPT; 8] } else { line(x, BITS - KEPT) };
        for (row, y) in held.iter_mut().zip(y) {
            row[column] = y;
        }
    }
    held.map(|row| line(row, BITS + KEPT + 3).map(|level| (level + 128).clamp(0, 255) as u8))
}

/// A component's samples, row by row, whole blocks.
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    stride: usize,
    samples: Vec<u8>,
}

impl Plane {
    pub(super) fn of(component: &Component) -> Result<Self> {
        let steps = component.quantisation.ok_or_else(|| broken("with a component of no scan"))?;
        let stride = component.columns * 8;
        let mut samples: Vec<u8> = zeros(component.coefficients.len())?;
        for (index, coefficients) in component.coefficients.chunks_exact(64).enumerate() {
            let (row, column) = (index / component.columns, index % component.columns);
            for (within, line) in block(coefficients, &steps).iter().enumerate() {
                samples[(row * 8 + within) * stride + column * 8..][..8].copy_from_slice(line);
            }
        }
        Ok(Self { width: component.width, height: component.height, stride, samples })
    }

    /// A row's samples; above the first and below the last these come again.
    pub(super) fn row(&self, row: isize) -> &[u8] {
        let row = row.clamp(0, self.height as isize - 1) as usize;
        &self.samples[row * self.stride..][..self.width]
    }
}
