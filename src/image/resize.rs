//! Resizing 8-bit pictures, to the pixel as Pillow's `Image.resize` does it.
//!
//! A model's accuracy was measured on pictures that Pillow resized; another resampler shifts the inputs by
//! several levels. Pillow's is separable: a horizontal pass, rounded to 8 bits, then a vertical one. When it
//! shrinks, it widens the filter by the ratio (antialiasing). Weights are fixed-point with 22 fractional
//! bits. Nearest takes single pixels.

use crate::error::{Error, Result};
use crate::tensor::{allocate, zeros};
use serde::Deserialize;

/// How new pixels are made from old ones; the names are Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The nearest old pixel.
    Nearest,
    /// A triangle: linear between two old pixels.
    #[default]
    Bilinear,
    /// Keys' cubic with a = −0.5.
    Bicubic,
    /// A sinc windowed by a sinc three lobes wide.
    Lanczos,
}

impl Filter {
    /// How far from its centre the filter reaches, in old pixels (when enlarging).
    fn support(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// The weight at distance `x`.
    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| {
            if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) }
        };
        let x = x.abs();
        match self {
            Filter::Nearest | Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Filter::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

/// Fractional bits of a weight: what 32 bits leave beside 8 of the pixel and 2 of headroom.
const WEIGHT_BITS: u32 = 32 - 8 - 2;

/// The old pixels that one new pixel is made of.
struct Window {
    start: usize,
    weights: Vec<i64>,
}

/// The windows of a line of `from` pixels that becomes one of `to`.
fn windows(filter: Filter, from: usize, to: usize) -> Result<Vec<Window>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let mut all = allocate(to)?;
    for index in 0..to {
        let center = (index as f64 + 0.5) * scale;
        // A cast truncates and saturates at 0, which is what Pillow's clipping comes to.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let mut weights: Vec<f64> = allocate(end.saturating_sub(start))?;
        weights.extend((start..end).map(|at| filter.weight((at as f64 - center + 0.5) / stretch)));
        let sum: f64 = weights.iter().sum();
        let unit = (1u32 << WEIGHT_BITS) as f64 / if sum == 0.0 { 1.0 } else { sum };
        // f64::round goes half away from zero, as the fixed-point weights do.
        all.push(Window {
            start,
            weights: weights.iter().map(|weight| (weight * unit).round() as i64).collect(),
        });
    }
    Ok(all)
}

/// Which old pixel each new one is, without a filter.
fn nearest(from: usize, to: usize) -> Result<Vec<Window>> {
    let step = from as f64 / to as f64;
    // Pillow adds the step up, and so inherits its rounding: a product would differ where the sum falls short
    // of an integer.
    let mut at = step * 0.5;
    let mut all = allocate(to)?;
    for _ in 0..to {
        all.push(Window {
            start: (at as usize).min(from.saturating_sub(1)),
            weights: vec![1 << WEIGHT_BITS],
        });
        at += step;
    }
    Ok(all)
}

/// How the lines of one pass lie: elements from a line to the next, and from a pixel of a line to the next.
#[derive(Clone, Copy)]
struct Steps {
    line: usize,
    pixel: usize,
}

/// One pass over `lines` lines of pixels of `planes` channels: each becomes a line of `windows.len()` pixels.
fn pass(
    source: &[u8],
    planes: usize,
    lines: usize,
    windows: &[Window],
    from: Steps,
    to: Steps,
) -> Result<Vec<u8>> {
    let outside = || Error::internal("a pixel outside the picture was asked for");
    let mut target: Vec<u8> = zeros(lines.saturating_mul(windows.len()).saturating_mul(planes))?;
    for line in 0..lines {
        for (index, window) in windows.iter().enumerate() {
            let first = line * from.line + window.start * from.pixel;
            for plane in 0..planes {
                let mut sum = 1i64 << (WEIGHT_BITS - 1);
                for (tap, weight) in window.weights.iter().enumerate() {
                    sum += *source.get(first + tap * from.pixel + plane).ok_or_else(outside)? as i64 * weight;
                }
                *target.get_mut(line * to.line + index * to.pixel + plane).ok_or_else(outside)? =
                    (sum >> WEIGHT_BITS).clamp(0, 255) as u8;
            }
        }
    }
    Ok(target)
}

/// Resizes `pixels` (row-major, `planes` interleaved channels) from `[width, height]` to another size.
///
/// The caller bounds both sizes; an empty one is an error.
pub(super) fn resize(
    pixels: Vec<u8>,
    planes: usize,
    from: [usize; 2],
    to: [usize; 2],
    filter: Filter,
) -> Result<Vec<u8>> {
    let [width, height] = from;
    let [new_width, new_height] = to;
    if [width, height, new_width, new_height, planes].contains(&0) || pixels.len() != width * height * planes
    {
        return Err(Error::internal(format!(
            "cannot resize a picture of {width}x{height} to {new_width}x{new_height}"
        )));
    }
    let windows =
        |from, to| if filter == Filter::Nearest { nearest(from, to) } else { windows(filter, from, to) };
    let mut pixels = pixels;
    if new_width != width {
        let along = windows(width, new_width)?;
        pixels = pass(
            &pixels,
            planes,
            height,
            &along,
            Steps { line: width * planes, pixel: planes },
            Steps { line: new_width * planes, pixel: planes },
        )?;
    }
    if new_height != height {
        let along = windows(height, new_height)?;
        let steps = Steps { line: planes, pixel: new_width * planes };
        pixels = pass(&pixels, planes, new_width, &along, steps, steps)?;
    }
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::golden;

    #[test]
    fn every_filter_gives_pillows_pixels() {
        let (shape, picture) = golden::<u8>("picture");
        let filters = [
            ("nearest", Filter::Nearest),
            ("bilinear", Filter::Bilinear),
            ("bicubic", Filter::Bicubic),
            ("lanczos", Filter::Lanczos),
        ];
        for (name, filter) in filters {
            for [width, height] in [[8, 8], [47, 9], [23, 34], [53, 41], [13, 50], [1, 1]] {
                let (_, wanted) = golden::<u8>(&format!("{name}_{width}x{height}"));
                let found =
                    resize(picture.clone(), 3, [shape[1], shape[0]], [width, height], filter).unwrap();
                assert_eq!(found, wanted, "{name} to {width}x{height}");
            }
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_errors() {
        assert!(resize(vec![], 3, [0, 4], [2, 2], Filter::Bilinear).is_err());
        assert!(resize(vec![0; 12], 3, [2, 2], [0, 2], Filter::Bilinear).is_err());
        assert!(resize(vec![0; 11], 3, [2, 2], [1, 1], Filter::Bilinear).is_err());
    }
}
