//! What becomes of a value beyond the largest finite one of the type that stores it.

use crate::base::Precision;
use crate::error::Result;
use crate::tensor::{DType, Tensor};

/// From this magnitude on float32 rounds to an infinity: half a step beyond its largest finite value.
const EDGE_F32: f64 = 340282356779733661637539395458142568448.0;

/// The same of float16, and its largest finite value.
const EDGE_F16: f64 = 65520.0;
pub const LARGEST_F16: f64 = 65504.0;

/// The finite values of a stored type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The smallest magnitude that rounds to an infinity.
    edge: f64,
    /// Magnitudes from the first on become the second: how float32 is narrowed to float16.
    saturates: Option<(f64, f64)>,
}

impl Range {
    /// No value lies beyond: integers, and float64 as the oracle has it.
    pub const UNBOUNDED: Self = Self { edge: f64::INFINITY, saturates: None };

    /// A declared type's, where float32 is stored at a precision.
    pub fn of(dtype: DType, precision: Precision) -> Self {
        match dtype {
            DType::F16 => Self { edge: EDGE_F16, saturates: None },
            DType::BF16 => Self { edge: (2.0 - f64::exp2(-8.0)) * f64::exp2(127.0), saturates: None },
            DType::F32 => Self {
                edge: EDGE_F32,
                saturates: (precision == Precision::F16).then_some((EDGE_F16, LARGEST_F16)),
            },
            _ => Self::UNBOUNDED,
        }
    }

    /// The smallest magnitude that rounds to an infinity.
    pub fn edge(self) -> f64 {
        self.edge
    }

    /// Whether a finite value is stored as the largest one.
    pub fn saturates(self, x: f64) -> bool {
        self.saturates.is_some_and(|(from, _)| (from..self.edge).contains(&x.abs()))
    }

    /// A value as storage keeps it, but for rounding.
    pub fn hold(self, x: f64) -> f64 {
        match self.saturates {
            _ if x.abs() >= self.edge => f64::INFINITY.copysign(x),
            Some((from, to)) if x.is_finite() && x.abs() >= from => to.copysign(x),
            _ => x,
        }
    }

    /// A float64 tensor as storage keeps it, but for rounding; `None` where all of it stays as it is.
    pub fn beyond(self, tensor: &Tensor) -> Result<Option<Tensor>> {
        if tensor.dtype() != DType::F64 || self == Self::UNBOUNDED {
            return Ok(None);
        }
        let elements = tensor.as_slice::<f64>()?;
        if elements.iter().all(|&x| self.hold(x) == x || x.is_nan()) {
            return Ok(None);
        }
        Tensor::new(tensor.shape(), elements.iter().map(|&x| self.hold(x)).collect::<Vec<_>>()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_overflow_and_narrowed_ones_saturate() {
        let declared = Range::of(DType::F16, Precision::F16);
        assert_eq!((declared.hold(65519.9), declared.hold(-65520.0)), (65519.9, f64::NEG_INFINITY));
        let narrowed = Range::of(DType::F32, Precision::F16);
        assert_eq!(
            (narrowed.hold(-1e6), narrowed.hold(1e39), narrowed.hold(f64::INFINITY)),
            (-65504.0, f64::INFINITY, f64::INFINITY)
        );
        let single = Range::of(DType::F32, Precision::F32);
        assert_eq!((single.hold(f32::MAX as f64), single.hold(EDGE_F32)), (f32::MAX as f64, f64::INFINITY));
        assert_eq!(Range::of(DType::I64, Precision::F32).hold(1e300), 1e300);
        assert!(single.beyond(&Tensor::new([2], vec![f64::NAN, 1.0]).unwrap()).unwrap().is_none());
    }
}
