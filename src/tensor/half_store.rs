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

/// A float32 that rounds to any shorter float as `x` does: cut off, and its last bit set where something was
/// (S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums", 2008). Rounding to nearest
/// twice would take what lies just beside a tie for one.
pub fn round_to_odd(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) == x || x.is_nan() {
        return near;
    }
    // One step back where it was rounded away from zero.
    let cut = near.to_bits() - u32::from(f64::from(near).abs() > x.abs());
    f32::from_bits(cut | 1)
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
