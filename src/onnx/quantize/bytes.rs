//! Numbers as integers of 8 bits, and biases as integers of 32, as onnxruntime's quantiser chooses scales and
//! zero points: int8 around 0 from -127 to 127, uint8 from 0 to 255 over a range that holds 0, halves to even.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, allocate};

/// A bias stays this much within int32, so that a scale's rounding takes it nowhere.
const ROOM: f64 = 1.0001;

/// What an integer q stands for: `(q - zero) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    pub scale: f32,
    pub zero: i32,
}

impl Scaling {
    /// Of what is 0 everywhere.
    pub const NOTHING: Self = Self { scale: 1.0, zero: 0 };

    /// uint8 over a range, which is widened to hold 0. `None`: the scale would be no normal float32.
    pub fn unsigned([low, high]: [f64; 2]) -> Option<Self> {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = normal((high - low) / 255.0)?;
        Some(Self { scale: scale as f32, zero: (-low / scale).round_ties_even().clamp(0.0, 255.0) as i32 })
    }

    /// int8 over `[-most, most]`. `None`: as above.
    pub fn signed(most: f64) -> Option<Self> {
        Some(Self { scale: normal(most / 127.0)? as f32, zero: 0 })
    }

    fn code(&self, x: f32, [low, high]: [f32; 2]) -> i32 {
        ((x / self.scale).round_ties_even() + self.zero as f32).clamp(low, high) as i32
    }
}

fn normal(scale: f64) -> Option<f64> {
    (scale >= f64::from(f32::MIN_POSITIVE) && scale <= f64::from(f32::MAX)).then_some(scale)
}

/// The lowest and the highest of a list; errors where one is no number.
pub fn range(list: &[f32]) -> Result<[f64; 2]> {
    let mut ends = [f32::INFINITY, f32::NEG_INFINITY];
    for &x in list {
        if !x.is_finite() {
            return Err(Error::model(format!("holds {x}, which no integer stands for"))
                .remedy("--keep the node that reads it"));
        }
        ends = [ends[0].min(x), ends[1].max(x)];
    }
    Ok(ends.map(f64::from))
}

/// A constant in 8 bits.
pub struct Codes {
    pub codes: Tensor,
    /// One, or one for each index of `axis`.
    pub scalings: Vec<Scaling>,
    pub axis: Option<usize>,
}

/// How a constant is quantised.
pub struct Choice<'a> {
    /// int8 around 0; else uint8 over the range.
    pub signed: bool,
    /// The axis whose indices have a scale each.
    pub axis: Option<usize>,
    /// Scales are at least these: none, one, or one for each.
    pub least: &'a [f64],
}

impl Codes {
    /// Errors: what is no number, more than memory holds.
    pub fn of(tensor: &Tensor, choice: &Choice<'_>) -> Result<Self> {
        let shape = tensor.shape();
        let list = tensor.as_slice::<f32>()?;
        let (count, inner) = match choice.axis.and_then(|axis| Some((shape.get(axis)?, axis))) {
            Some((&count, axis)) => (count, shape.iter().skip(axis + 1).product::<usize>()),
            None => (1, list.len()),
        };
        let (count, inner) = (count.max(1), inner.max(1));
        let mut ends = vec![[f64::INFINITY, f64::NEG_INFINITY]; count];
        for (at, row) in list.chunks(inner).enumerate() {
            let (own, to) = (range(row)?, &mut ends[at % count]);
            *to = [to[0].min(own[0]), to[1].max(own[1])];
        }
        let scaling = |(at, [low, high]): (usize, &[f64; 2])| {
            let found = match choice.signed {
                true => Scaling::signed(high.abs().max(low.abs())),
                false => Scaling::unsigned([*low, *high]),
            };
            let mut found = found.unwrap_or(Scaling::NOTHING);
            let least = choice.least.get(at).or(choice.least.first()).copied().unwrap_or(0.0);
            if f64::from(found.scale) < least {
                found.scale = least.min(f64::from(f32::MAX)) as f32;
            }
            found
        };
        let scalings: Vec<Scaling> = ends.iter().enumerate().map(scaling).collect();
        let (dtype, limits) = match choice.signed {
            true => (DType::I8, [-128.0, 127.0]),
            false => (DType::U8, [0.0, 255.0]),
        };
        let mut codes: Vec<u8> = allocate(list.len())?;
        for (at, row) in list.chunks(inner).enumerate() {
            let own = scalings[at % count];
            codes.extend(row.iter().map(|&x| own.code(x, limits) as u8));
        }
        let codes = Tensor::from_byte_vector(dtype, shape, codes)?;
        Ok(Self { codes, scalings, axis: choice.axis })
    }

    fn along(&self) -> Vec<usize> {
        if self.axis.is_some() { vec![self.scalings.len()] } else { vec![] }
    }

    /// The scales: one, or a list.
    pub fn scales(&self) -> Result<Tensor> {
        Tensor::new(self.along(), self.scalings.iter().map(|own| own.scale).collect())
    }

    /// The zero points, in the codes' type.
    pub fn zeros(&self) -> Result<Tensor> {
        let bytes = self.scalings.iter().map(|own| own.zero as u8).collect();
        Tensor::from_byte_vector(self.codes.dtype(), self.along(), bytes)
    }

    /// Bytes of the codes, the scales and the zero points.
    pub fn bytes(&self) -> u64 {
        (self.codes.len() + self.scalings.len() * 5) as u64
    }
}

/// The least scales of weights with which a bias, in units of x's scale times w's, stays within int32: one for
/// each result, or one for all.
pub fn least_scales(bias: &[f32], x: Scaling, each: bool) -> Vec<f64> {
    let least = |bias: f64| ROOM * bias / f64::from(i32::MAX) / f64::from(x.scale);
    let magnitudes = bias.iter().map(|b| f64::from(b.abs()));
    match each {
        true => magnitudes.map(least).collect(),
        false => vec![least(magnitudes.fold(0.0, f64::max))],
    }
}

/// A bias in units of x's scale times w's, and these units.
///
/// Errors: what is no number.
pub fn bias(bias: &[f32], x: Scaling, w: &Codes) -> Result<[Tensor; 2]> {
    range(bias)?;
    // A unit beneath all floats counts nothing, one beyond them everything as 0.
    let unit = |own: &Scaling| (x.scale * own.scale).clamp(f32::MIN_POSITIVE, f32::MAX);
    let units: Vec<f32> = w.scalings.iter().map(unit).collect();
    let code = |(at, &b): (usize, &f32)| {
        let unit = units.get(if units.len() == 1 { 0 } else { at }).copied().unwrap_or(1.0);
        // The conversion takes what is beyond int32 to its ends.
        (f64::from(b) / f64::from(unit)).round_ties_even() as i32
    };
    let codes: Vec<i32> = bias.iter().enumerate().map(code).collect();
    Ok([Tensor::new([codes.len()], codes)?, Tensor::new(w.along(), units)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_zero() {
        let of = |low, high| Scaling::unsigned([low, high]).unwrap();
        assert_eq!(of(0.0, 2.55), Scaling { scale: 0.01, zero: 0 });
        assert_eq!(of(1.0, 2.55), Scaling { scale: 0.01, zero: 0 });
        assert_eq!(of(-2.55, -1.0), Scaling { scale: 0.01, zero: 255 });
        assert_eq!(of(-1.0, 1.55), Scaling { scale: 0.01, zero: 100 });
        // Half a step: to the even one.
        assert_eq!(of(-0.5, 254.5), Scaling { scale: 1.0, zero: 0 });
        assert_eq!(of(-1.5, 253.5), Scaling { scale: 1.0, zero: 2 });
        for nothing in [[0.0, 0.0], [0.0, 1e-40], [f64::NAN; 2], [0.0, f64::INFINITY]] {
            assert_eq!(Scaling::unsigned(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_scale_to_each_index() {
        let w = Tensor::new([2, 2, 2], vec![1.27f32, -0.5, 0.0, 0.0, 0.02, 0.0, 2.54, 2.54]).unwrap();
        let of = |axis| Codes::of(&w, &Choice { signed: true, axis, least: &[] }).unwrap();
        let bytes = |codes: &Codes| codes.codes.to_i64s().unwrap();
        let scales = |codes: &Codes| codes.scales().unwrap().as_slice::<f32>().unwrap().to_vec();
        assert_eq!((bytes(&of(None)), scales(&of(None))), (vec![64, -25, 0, 0, 1, 0, 127, 127], vec![0.02]));
        assert_eq!(scales(&of(Some(0))), [0.01, 0.02]);
        assert_eq!(bytes(&of(Some(1))), [127, -50, 0, 0, 2, 0, 127, 127]);
        assert_eq!(bytes(&of(Some(2))), [64, -25, 0, 0, 1, 0, 127, 127]);
        // A column of zeros has some scale.
        let none = Tensor::new([2], vec![0f32, 1.27]).unwrap();
        let none = Codes::of(&none, &Choice { signed: true, axis: Some(0), least: &[] }).unwrap();
        assert_eq!((bytes(&none), scales(&none)), (vec![0, 127], vec![1.0, 0.01]));
        let bad = Tensor::new([1], vec![f32::NAN]).unwrap();
        assert!(Codes::of(&bad, &Choice { signed: true, axis: None, least: &[] }).is_err());
    }

    #[test]
    fn a_bias_stays_within_its_integers() {
        let x = Scaling { scale: 1e-3, zero: 0 };
        let w = Tensor::new([2, 1], vec![1e-6f32, 1.27]).unwrap();
        let b = [1000f32, -2.0];
        let least = least_scales(&b, x, true);
        let codes = Codes::of(&w, &Choice { signed: true, axis: Some(0), least: &least }).unwrap();
        let [integers, units] = bias(&b, x, &codes).unwrap();
        let (integers, units) = (integers.as_slice::<i32>().unwrap(), units.as_slice::<f32>().unwrap());
        for at in 0..2 {
            let back = f64::from(integers[at]) * f64::from(units[at]);
            // Half a unit, and none of it lost at the ends.
            assert!((back - f64::from(b[at])).abs() <= 0.5 * f64::from(units[at]) * 1.0001, "{back}");
        }
        assert!(integers[0] > i32::MAX / 2, "{integers:?}");
    }
}
