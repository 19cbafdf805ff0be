//! Convolutions of 8-bit integers, one filter a channel, whose channels lie innermost, to 8-bit integers:
//! neighbouring channels in a vector, tap by tap, and requantised a line at a time.

use super::plane::Plane;
use super::requantize::Requantize;
use crate::base::Geometry;
use crate::error::Result;
use crate::simd::{Loop, vectorised};
use crate::tensor::{DType, Tensor, zeros};
use crate::threads::try_chunks;

/// Channels whose sums stay in registers: four vectors of 256 bits.
const LANES: usize = 32;

/// Filters `[channels, 1, taps]` of 8 bits less their zero points (none, one, or one each) as `[taps,
/// channels]`. `None` for other types and sizes.
pub fn filters(w: &Tensor, zeros_of: &[i64], channels: usize) -> Result<Option<Vec<i16>>> {
    let codes: &dyn Fn(usize) -> i16 = match w.dtype() {
        DType::U8 => &|at| i16::from(w.bytes()[at]),
        DType::I8 => &|at| i16::from(w.bytes()[at] as i8),
        _ => return Ok(None),
    };
    let known = zeros_of.len() <= 1 || zeros_of.len() == channels;
    if channels == 0 || !w.len().is_multiple_of(channels) || !known {
        return Ok(None);
    }
    let taps = w.len() / channels;
    let mut all: Vec<i16> = zeros(w.len())?;
    for (tap, row) in all.chunks_exact_mut(channels).enumerate() {
        for (channel, code) in row.iter_mut().enumerate() {
            let zero = zeros_of.get(if zeros_of.len() == 1 { 0 } else { channel }).copied().unwrap_or(0);
            *code = codes(channel * taps + tap).wrapping_sub(zero as i16);
        }
    }
    Ok(Some(all))
}

/// Results `[image, y, x, channel]` of images `[image, y, x, channel]` less their zero point by [`filters`],
/// over two axes. Whether there is such a form for these.
pub fn depthwise(
    x: &Tensor,
    x_zero: i64,
    filters: &[i16],
    geometry: &Geometry,
    requantize: &Requantize,
    y: &mut [u8],
) -> Result<bool> {
    let channels = requantize.columns();
    let area = |list: &[usize]| list.iter().try_fold(channels, |all, &size| all.checked_mul(size));
    let sizes = [&geometry.input, &geometry.output, &geometry.kernel];
    let [Some(inside), Some(outside), Some(weights)] = sizes.map(|list| area(list)) else { return Ok(false) };
    if geometry.input.len() != 2 || filters.len() != weights || inside == 0 || outside == 0 {
        return Ok(false);
    }
    let images = x.len() / inside;
    if x.len() != images * inside || y.len() != images * outside {
        return Ok(false);
    }
    let of = Of { filters, zero: x_zero as i16, plane: Plane::of(geometry), channels };
    match x.dtype() {
        DType::U8 => lines(x.bytes(), &of, requantize, y)?,
        DType::I8 => lines(x.as_slice::<i8>()?, &of, requantize, y)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What all lines share.
struct Of<'a> {
    filters: &'a [i16],
    /// Of the images.
    zero: i16,
    plane: Plane,
    channels: usize,
}

/// Each line of the results, by some thread.
fn lines<T: Copy + Into<i16> + Sync>(
    x: &[T],
    of: &Of<'_>,
    requantize: &Requantize,
    y: &mut [u8],
) -> Result<()> {
    let (plane, line) = (&of.plane, of.plane.output[1] * of.channels);
    let image = plane.input[0] * plane.input[1] * of.channels;
    try_chunks(y, line, |index, y| {
        let (of_image, oy) = (index / plane.output[0], index % plane.output[0]);
        let mut sums: Vec<i32> = zeros(line)?;
        vectorised(Line { x: &x[of_image * image..][..image], of, oy, sums: &mut sums });
        for (sums, y) in sums.chunks_exact(of.channels).zip(y.chunks_exact_mut(of.channels)) {
            requantize.row(sums, 0, y);
        }
        Ok(())
    })
}

/// The sums of a line `[x, channel]`. A product of two codes less their zero points has 17 bits: there are
/// fewer than 2¹⁵ taps, as who calls has checked, or the sums wrap.
struct Line<'a, T> {
    x: &'a [T],
    of: &'a Of<'a>,
    oy: usize,
    sums: &'a mut [i32],
}

impl<T: Copy + Into<i16>> Loop for Line<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (Of { filters, zero, plane: g, channels: c }, oy) = (self.of, self.oy);
        for (ox, sums) in self.sums.chunks_exact_mut(*c).enumerate() {
            let (down, along) = (g.taps(0, oy), g.taps(1, ox));
            let mut from = 0;
            while from < *c {
                let count = LANES.min(*c - from);
                let mut lanes = [0i32; LANES];
                for ty in down.clone() {
                    let Some(row) = g.source(0, oy, ty) else { continue };
                    for tx in along.clone() {
                        let Some(column) = g.source(1, ox, tx) else { continue };
                        let x = &self.x[(row * g.input[1] + column) * c + from..][..count];
                        let w = &filters[(ty * g.kernel[1] + tx) * c + from..][..count];
                        match (<&[T; LANES]>::try_from(x), <&[i16; LANES]>::try_from(w)) {
                            // Whole registers.
                            (Ok(x), Ok(w)) => add(&mut lanes, x, w, *zero),
                            _ => add(&mut lanes[..count], x, w, *zero),
                        }
                    }
                }
                sums[from..][..count].copy_from_slice(&lanes[..count]);
                from += count;
            }
        }
    }
}

/// Adds a tap's products.
#[inline(always)]
fn add<T: Copy + Into<i16>>(sums: &mut [i32], x: &[T], w: &[i16], zero: i16) {
    for ((sum, &x), &w) in sums.iter_mut().zip(x).zip(w) {
        *sum = sum.wrapping_add(i32::from(x.into().wrapping_sub(zero)) * i32::from(w));
    }
}
