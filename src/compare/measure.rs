//! One comparison of two tensors: how far they are apart, and what they were held to.

use super::C;
use serde::Serialize;

/// What elements are held to: `fixed + C · scaled`, element by element.
#[derive(Debug, Clone)]
pub struct Allowed {
    pub fixed: Vec<f64>,
    pub scaled: Vec<f64>,
    pub formula: String,
}

impl Allowed {
    /// The same for every element.
    pub fn uniform(count: usize, fixed: f64, scaled: f64, formula: impl Into<String>) -> Self {
        Self { fixed: vec![fixed; count], scaled: vec![scaled; count], formula: formula.into() }
    }
    pub fn at(&self, index: usize) -> f64 {
        let get = |list: &[f64]| list.get(index).copied().unwrap_or(0.0);
        get(&self.fixed) + C * get(&self.scaled)
    }
}

/// What a measure was held to.
#[derive(Debug, Clone, Serialize)]
pub struct Tolerance {
    /// The tolerance of the element that came nearest to it, or furthest beyond.
    pub value: f64,
    pub formula: String,
}

/// How far two tensors are apart.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    pub max_abs: f64,
    /// Relative to the reference's element, where that isn't 0.
    pub max_rel: f64,
    pub mean_abs: f64,
    /// 1 where both are zero.
    pub cosine: f64,
    pub tolerance: Tolerance,
    /// The smallest C with which every element would have passed; `null` where none would.
    pub needed: Option<f64>,
    /// Finite values that float16 storage took to ±65,504.
    #[serde(skip_serializing_if = "is_zero")]
    pub saturated: usize,
    pub same: bool,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Compares elements. With `half`, the reference saturates as float16 storage does.
pub fn measure(got: &[f64], want: &[f64], allowed: &Allowed, half: bool) -> Measure {
    let (mut max_abs, mut max_rel, mut total, mut dot, mut xx, mut yy) = (0f64, 0f64, 0.0, 0.0, 0.0, 0.0);
    let (mut needed, mut worst, mut tolerance, mut same, mut saturated) = (0f64, -1f64, 0.0, got.len() == want.len(), 0);
    for (index, (&x, &y)) in got.iter().zip(want).enumerate() {
        let y = held(y, half, &mut saturated);
        let error = if x == y || x.is_nan() && y.is_nan() { 0.0 } else { (x - y).abs() };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        max_abs = max_abs.max(error);
        if y != 0.0 && error > 0.0 {
            max_rel = max_rel.max(error / y.abs());
        }
        total += error;
        if x.is_finite() && y.is_finite() {
            (dot, xx, yy) = (dot + x * y, xx + x * x, yy + y * y);
        }
        let limit = allowed.at(index);
        same &= error <= limit;
        let ratio = if error == 0.0 { 0.0 } else { error / limit };
        if ratio > worst {
            (worst, tolerance) = (ratio, limit);
        }
        let (fixed, scaled) = (allowed.fixed.get(index).copied().unwrap_or(0.0), allowed.scaled.get(index).copied().unwrap_or(0.0));
        if error > fixed {
            needed = needed.max((error - fixed) / scaled);
        }
    }
    let cosine = if xx == yy && xx == 0.0 { 1.0 } else { dot / (xx.sqrt() * yy.sqrt()) };
    let tolerance = Tolerance { value: tolerance, formula: allowed.formula.clone() };
    let needed = Some(needed).filter(|c| c.is_finite());
    Measure { max_abs, max_rel, mean_abs: total / got.len().max(1) as f64, cosine, tolerance, needed, saturated, same }
}

/// A reference's element as the device would hold it.
fn held(y: f64, half: bool, saturated: &mut usize) -> f64 {
    if half && y.is_finite() && y.abs() >= 65520.0 {
        *saturated += 1;
        return 65504f64.copysign(y);
    }
    if y.is_finite() && y.abs() > f32::MAX as f64 * (1.0 + super::UNIT_F32) { f64::INFINITY.copysign(y) } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_needed_and_what_was_allowed() {
        let allowed = Allowed::uniform(2, 0.5, 0.25, "test");
        let measure = measure(&[1.0, 2.0], &[1.0, 3.25], &allowed, false);
        assert!(measure.same);
        assert_eq!((measure.max_abs, measure.tolerance.value, measure.needed), (1.25, 1.5, Some(3.0)));
    }

    #[test]
    fn what_is_not_a_number_is_only_the_same_as_itself() {
        let allowed = Allowed::uniform(1, 1.0, 1.0, "test");
        assert!(measure(&[f64::NAN], &[f64::NAN], &allowed, false).same);
        assert!(!measure(&[f64::NAN], &[0.0], &allowed, false).same);
        assert!(!measure(&[f64::INFINITY], &[1.0], &allowed, false).same);
        let half = measure(&[65504.0], &[1e6], &allowed, true);
        assert!(half.same && half.saturated == 1);
    }
}
