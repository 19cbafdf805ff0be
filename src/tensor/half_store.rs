//! How float32 becomes float16 when stored: to nearest even, finite overflow to ±65,504, infinities and NaN
//! kept.
//!
//! The GPU's stores and the CPU's f16 reference share this rule, so that they differ by their sums alone.

use half::f16;

/// Rounds for storage. Finite values beyond ±65,504 become ±65,504; infinities and NaN stay what they are.
pub fn to_f16(x: f32) -> f16 {
    if x.is_finite() { f16::from_f32(x.clamp(-65504.0, 65504.0)) } else { f16::from_f32(x) }
}

/// A float32 as it would come back from f16 storage.
pub fn round_f16(x: f32) -> f32 {
    to_f16(x).to_f32()
}

/// How many finite values f16 storage would saturate.
pub fn count_saturated(values: &[f32]) -> usize {
    values.iter().filter(|x| x.is_finite() && x.abs() >= 65520.0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturates_finite_values_only() {
        assert_eq!(round_f16(1e6), 65504.0);
        assert_eq!(round_f16(-1e6), -65504.0);
        assert_eq!(round_f16(f32::INFINITY), f32::INFINITY);
        assert!(round_f16(f32::NAN).is_nan());
        assert_eq!(round_f16(0.1), f16::from_f32(0.1).to_f32());
        assert_eq!(count_saturated(&[65519.0, 65520.0, f32::INFINITY, -1e9]), 2);
    }
}
