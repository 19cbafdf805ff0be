//! One axis of a [Resize](https://onnx.ai/onnx/operators/onnx__Resize.html): which input elements each output
//! element reads, and with what weights. Interpolation over several axes is the product of these.

use crate::error::Result;
use crate::tensor::{allocate, element_count};

/// How an output coordinate becomes an input coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    CropAndResize,
    /// Of version 11 alone, meant for nearest elements: half a pixel on one side.
    TfHalfPixelForNearest,
}

/// Which of two elements is the nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearest {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// Of version 10 alone: the one below where an axis grows, the one above where it shrinks.
    Outward,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interpolation {
    Nearest(Nearest),
    Linear,
    /// With the coefficient a of Keys' kernel.
    Cubic(f64),
}

/// How every axis is resampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    pub interpolation: Interpolation,
    pub coordinates: Coordinates,
    /// Shrinking widens the filter to the output's spacing.
    pub antialias: bool,
    /// Taps outside weigh nothing and the others are scaled up; else the edge is repeated.
    pub exclude_outside: bool,
}

/// An axis: its sizes, output elements per input element, and the part of the input that CropAndResize reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    pub input: usize,
    pub output: usize,
    pub scale: f64,
    pub roi: (f64, f64),
}

/// For each output element `count` taps: input index and weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    pub count: usize,
    pub taps: Vec<(usize, f64)>,
    /// Output elements whose coordinate lies outside the input: they take the extrapolation value.
    pub outside: Vec<bool>,
}

impl Taps {
    /// Whether each output element is the input element of the same index.
    pub fn is_identity(&self, input: usize) -> bool {
        self.count == 1
            && self.taps.len() == input
            && self.taps.iter().enumerate().all(|(k, tap)| *tap == (k, 1.0))
            && !self.outside.contains(&true)
    }
    /// The taps of an output element.
    pub fn of(&self, output: usize) -> &[(usize, f64)] {
        &self.taps[output * self.count..][..self.count]
    }
}

fn coordinate(axis: &Axis, how: Coordinates, x: f64) -> f64 {
    let input = axis.input as f64;
    // Not rounded: ONNX's reference and its tests take the fraction along.
    let output = axis.scale * input;
    match how {
        Coordinates::AlignCorners if output == 1.0 => 0.0,
        Coordinates::AlignCorners => x * (input - 1.0) / (output - 1.0),
        Coordinates::Asymmetric => x / axis.scale,
        Coordinates::TfHalfPixelForNearest => (x + 0.5) / axis.scale,
        Coordinates::CropAndResize => {
            let (start, end) = axis.roi;
            let along = if output == 1.0 {
                (end - start) * (input - 1.0) / 2.0
            } else {
                x * (end - start) * (input - 1.0) / (output - 1.0)
            };
            along + start * (input - 1.0)
        }
        // By ONNX's text, whose length is that of the resized tensor; its evaluator has −0.5.
        Coordinates::PytorchHalfPixel if axis.output == 1 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (x + 0.5) / axis.scale - 0.5,
        Coordinates::HalfPixelSymmetric => {
            let offset = input / 2.0 * (1.0 - axis.output as f64 / output);
            offset + (x + 0.5) / axis.scale - 0.5
        }
    }
}

/// Keys' cubic kernel ("Cubic convolution interpolation for digital image processing", 1981).
fn cubic(a: f64, x: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The taps of every output element of an axis.
pub fn taps(axis: &Axis, how: &Sampling) -> Result<Taps> {
    let untouched = axis.input == axis.output
        && axis.scale == 1.0
        && (how.coordinates != Coordinates::CropAndResize || axis.roi == (0.0, 1.0));
    if untouched {
        return Ok(Taps {
            count: 1,
            taps: (0..axis.input).map(|k| (k, 1.0)).collect(),
            outside: vec![false; axis.output],
        });
    }
    // Below 1 the filter is stretched over the input.
    let scale = if how.antialias { axis.scale.min(1.0) } else { 1.0 };
    let (first, count) = match how.interpolation {
        Interpolation::Nearest(_) => (0, 1),
        Interpolation::Linear => footprint(1.0, scale),
        Interpolation::Cubic(_) => footprint(2.0, scale),
    };
    let mut all = allocate(element_count(&[axis.output, count])?)?;
    let mut outside = allocate(axis.output)?;
    let last = axis.input.saturating_sub(1) as f64;
    for out in 0..axis.output {
        let x = coordinate(axis, how.coordinates, out as f64);
        outside.push(how.coordinates == Coordinates::CropAndResize && !(0.0..=last).contains(&x));
        let (floor, ratio) = (x.floor(), x - x.floor());
        if let Interpolation::Nearest(nearest) = how.interpolation {
            let up = match nearest {
                Nearest::PreferFloor => ratio > 0.5,
                Nearest::PreferCeil => ratio >= 0.5,
                Nearest::Floor => false,
                Nearest::Ceil => ratio > 0.0,
                Nearest::Outward => axis.scale < 1.0 && ratio > 0.0,
            };
            all.push(((floor + up as u8 as f64).clamp(0.0, last) as usize, 1.0));
            continue;
        }
        let begin = all.len();
        let mut sum = 0.0;
        for k in 0..count {
            let offset = (first + k as i64) as f64;
            let at = floor + offset;
            let reach = (offset - ratio) * scale;
            let mut weight = match how.interpolation {
                Interpolation::Cubic(a) => cubic(a, reach),
                _ => (1.0 - reach.abs()).clamp(0.0, 1.0),
            };
            if how.exclude_outside && !(0.0..=last).contains(&at) {
                weight = 0.0;
            }
            sum += weight;
            all.push((at.clamp(0.0, last) as usize, weight));
        }
        if how.exclude_outside || how.antialias {
            all[begin..].iter_mut().for_each(|tap| tap.1 /= sum);
        }
    }
    Ok(Taps { count, taps: all, outside })
}

/// The first tap's offset from the coordinate's floor, and the number of taps, of a filter that reaches
/// `radius` output elements.
fn footprint(radius: f64, scale: f64) -> (i64, usize) {
    let first = (-radius / scale).floor() as i64 + 1;
    // A scale near 0 reaches beyond counting; the table's size is then refused.
    (first, 2i64.saturating_sub(first.saturating_mul(2)).max(1) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_and_doubling() {
        let how = Sampling {
            interpolation: Interpolation::Linear,
            coordinates: Coordinates::HalfPixel,
            antialias: false,
            exclude_outside: false,
        };
        let double = taps(&Axis { input: 2, output: 4, scale: 2.0, roi: (0.0, 1.0) }, &how).unwrap();
        assert_eq!(double.of(1), [(0, 0.75), (1, 0.25)]);
        assert_eq!(double.of(0).iter().map(|tap| tap.1).sum::<f64>(), 1.0);
        let half = taps(
            &Axis { input: 4, output: 2, scale: 0.5, roi: (0.0, 1.0) },
            &Sampling { antialias: true, ..how },
        )
        .unwrap();
        assert_eq!(half.count, 4);
        let same = taps(&Axis { input: 3, output: 3, scale: 1.0, roi: (0.0, 1.0) }, &how).unwrap();
        assert!(same.is_identity(3));
    }
}
