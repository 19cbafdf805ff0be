//! One comparison of two tensors: how far they are apart, and what they were held to.

use super::SAFETY_FACTOR;
use super::range::Range;
use crate::error::Result;
use crate::tensor::{DType, Tensor};
use serde::Serialize;

/// What elements are held to: `fixed + C · scaled`, element by element.
#[derive(Debug, Clone)]
pub struct Allowed {
    pub fixed: Vec<f64>,
    pub scaled: Vec<f64>,
    /// Elements whose own sum leaves float32's range: whether it ends as a number depends on the order of
    /// its terms. Empty: none.
    pub open: Vec<bool>,
    pub formula: String,
}

impl Allowed {
    pub fn new(fixed: Vec<f64>, scaled: Vec<f64>, formula: impl Into<String>) -> Self {
        Self { fixed, scaled, open: vec![], formula: formula.into() }
    }
    /// The same for every element.
    pub fn uniform(count: usize, fixed: f64, scaled: f64, formula: impl Into<String>) -> Self {
        Self::new(vec![fixed; count], vec![scaled; count], formula)
    }
    /// With elements that may leave the range.
    pub fn with_open(self, open: Vec<bool>) -> Self {
        Self { open, ..self }
    }
    pub fn at(&self, index: usize) -> f64 {
        let get = |list: &[f64]| list.get(index).copied().unwrap_or(0.0);
        get(&self.fixed) + SAFETY_FACTOR * get(&self.scaled)
    }
    pub fn is_open(&self, index: usize) -> bool {
        self.open.get(index).copied().unwrap_or(false)
    }
}

/// What a measure was held to.
#[derive(Debug, Clone, Serialize)]
pub struct Tolerance {
    /// The tolerance of the element that came nearest to it, or furthest beyond.
    pub value: f64,
    /// How it was derived, in words.
    pub formula: String,
}

/// How far two tensors are apart.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    /// The largest difference of two elements.
    pub max_abs: f64,
    /// Relative to the reference's element, where that isn't 0.
    pub max_rel: f64,
    /// The mean of all differences.
    pub mean_abs: f64,
    /// 1 where both are zero.
    pub cosine: f64,
    /// What the elements were held to.
    pub tolerance: Tolerance,
    /// The smallest C with which every element would have passed; `null` where none would.
    pub needed: Option<f64>,
    /// Finite values that float16 storage took to ±65,504.
    #[serde(skip_serializing_if = "is_zero")]
    pub saturated: usize,
    /// Elements on whose way a value left its type's range, so that more than one answer is right.
    #[serde(skip_serializing_if = "is_zero")]
    pub beyond_range: usize,
    /// Whether every element lies within its tolerance.
    pub same: bool,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The elements of a tensor: as float64, and 64-bit integers as they are beside it.
pub struct Elements {
    pub floats: Vec<f64>,
    whole: Option<Vec<i128>>,
}

impl Elements {
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let whole =
            if matches!(tensor.dtype(), DType::I64 | DType::U64) { Some(tensor.to_i128s()?) } else { None };
        Ok(Self { floats: tensor.to_f64s()?, whole })
    }
    fn whole(&self, index: usize) -> Option<i128> {
        self.whole.as_ref()?.get(index).copied()
    }
}

/// A right answer, as computed without an end to the range of its type, and how far another may lie from it.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub values: &'a Elements,
    pub allowed: &'a Allowed,
}

/// An element against one expected.
struct Distance {
    error: f64,
    same: bool,
    open: bool,
}

impl Expected<'_> {
    /// The rules: NaN is NaN; an infinity is that of the same sign; finite values lie no further apart than
    /// is allowed. At the edge of the range a value may round to either side.
    fn distance(&self, got: &Elements, index: usize, range: Range) -> Distance {
        let (x, wide, limit) = (got.floats[index], self.values.floats[index], self.allowed.at(index));
        let y = range.hold(wide);
        let within = |error: f64| Distance { error, same: error <= limit, open: false };
        if let (Some(x), Some(y)) = (got.whole(index), self.values.whole(index)) {
            return within((x - y).unsigned_abs() as f64);
        }
        if x == y || x.is_nan() && y.is_nan() {
            return Distance { error: 0.0, same: true, open: false };
        }
        if x.is_finite() && wide.is_finite() {
            let found = within((x - if y.is_finite() { y } else { wide }).abs());
            return Distance { open: limit.is_infinite(), ..found };
        }
        let rounds = x.is_infinite() && wide.is_finite() && wide * x.signum() + limit >= range.edge();
        let open = self.allowed.is_open(index) && !x.is_finite();
        Distance { error: if rounds || open { 0.0 } else { f64::INFINITY }, same: rounds || open, open }
    }
}

/// Compares elements: each has to agree with one of what is expected, the first of which is the reference.
pub fn measure(got: &Elements, expected: &[Expected], range: Range) -> Measure {
    let Some(reference) = expected.first() else {
        return measure(got, &[Expected { values: got, allowed: &Allowed::uniform(0, 0.0, 0.0, "") }], range);
    };
    let count = got.floats.len();
    let (mut max_abs, mut max_rel, mut total, mut dot, mut xx, mut yy) = (0f64, 0f64, 0.0, 0.0, 0.0, 0.0);
    let (mut needed, mut worst, mut tolerance, mut saturated, mut beyond_range) = (0f64, -1f64, 0.0, 0, 0);
    let mut same = expected.iter().all(|expected| expected.values.floats.len() == count);
    for index in 0..if same { count } else { 0 } {
        let mut from = reference;
        let mut found = from.distance(got, index, range);
        for other in &expected[1..] {
            let distance = other.distance(got, index, range);
            if !found.same && distance.same {
                (found, from) = (Distance { open: true, ..distance }, other);
            }
        }
        let (x, y) = (got.floats[index], range.hold(from.values.floats[index]));
        saturated += range.saturates(reference.values.floats[index]) as usize;
        beyond_range += found.open as usize;
        same &= found.same;
        let (error, limit) = (found.error, from.allowed.at(index));
        max_abs = max_abs.max(error);
        if y != 0.0 && y.is_finite() && error > 0.0 {
            max_rel = max_rel.max(error / y.abs());
        }
        total += error;
        if x.is_finite() && y.is_finite() {
            (dot, xx, yy) = (dot + x * y, xx + x * x, yy + y * y);
        }
        let ratio = if error == 0.0 { 0.0 } else { error / limit };
        if ratio > worst {
            (worst, tolerance) = (ratio, limit);
        }
        let get = |list: &[f64]| list.get(index).copied().unwrap_or(0.0);
        let (fixed, scaled) = (get(&from.allowed.fixed), get(&from.allowed.scaled));
        if error > fixed {
            needed = needed.max((error - fixed) / scaled);
        }
    }
    let cosine = if xx == yy && xx == 0.0 { 1.0 } else { dot / (xx.sqrt() * yy.sqrt()) };
    let tolerance = Tolerance { value: tolerance, formula: reference.allowed.formula.clone() };
    let needed = Some(needed).filter(|c| c.is_finite());
    Measure {
        max_abs,
        max_rel,
        mean_abs: total / count.max(1) as f64,
        cosine,
        tolerance,
        needed,
        saturated,
        beyond_range,
        same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Precision;

    fn one(got: &Tensor, want: &Tensor, allowed: &Allowed, range: Range) -> Measure {
        measure(
            &Elements::of(got).unwrap(),
            &[Expected { values: &Elements::of(want).unwrap(), allowed }],
            range,
        )
    }

    fn floats(got: f64, want: f64, allowed: &Allowed, range: Range) -> Measure {
        one(&Tensor::scalar(got), &Tensor::scalar(want), allowed, range)
    }

    const F32: Range = Range::UNBOUNDED;

    #[test]
    fn what_was_needed_and_what_was_allowed() {
        let allowed = Allowed::uniform(2, 0.5, 0.25, "test");
        let tensor = |list: [f64; 2]| Tensor::new([2], list.to_vec()).unwrap();
        let measure = one(&tensor([1.0, 2.0]), &tensor([1.0, 3.25]), &allowed, F32);
        assert!(measure.same);
        assert_eq!((measure.max_abs, measure.tolerance.value, measure.needed), (1.25, 1.5, Some(3.0)));
    }

    #[test]
    fn what_is_not_a_number_is_only_the_same_as_itself() {
        for allowed in
            [Allowed::uniform(1, 1.0, 1.0, "test"), Allowed::uniform(1, f64::NAN, f64::INFINITY, "test")]
        {
            let same =
                |got: f64, want: f64| floats(got, want, &allowed, Range::of(DType::F32, Precision::F32)).same;
            assert!(
                same(f64::NAN, f64::NAN) && same(f64::INFINITY, f64::INFINITY) && same(f64::INFINITY, 1e39)
            );
            assert!(!same(f64::NAN, 0.0) && !same(0.0, f64::NAN) && !same(1.0, f64::INFINITY));
            assert!(!same(f64::NEG_INFINITY, f64::INFINITY) && !same(f64::INFINITY, f64::NAN));
        }
        assert!(
            !floats(
                f64::INFINITY,
                1.0,
                &Allowed::uniform(1, 1.0, 1.0, "test"),
                Range::of(DType::F32, Precision::F32)
            )
            .same
        );
    }

    #[test]
    fn narrowed_values_saturate_and_are_counted() {
        let half = floats(
            65504.0,
            1e6,
            &Allowed::uniform(1, 1.0, 1.0, "test"),
            Range::of(DType::F32, Precision::F16),
        );
        assert!(half.same && half.saturated == 1);
        assert!(
            !floats(
                65504.0,
                1e6,
                &Allowed::uniform(1, 1.0, 1.0, "test"),
                Range::of(DType::F16, Precision::F16)
            )
            .same
        );
    }

    #[test]
    fn at_the_edge_of_the_range_either_side_is_right() {
        let (declared, allowed) =
            (Range::of(DType::F16, Precision::F32), Allowed::uniform(1, 20.0, 0.0, "test"));
        assert!(
            floats(f64::INFINITY, 65510.0, &allowed, declared).same
                && floats(65504.0, 65521.0, &allowed, declared).same
        );
        assert!(
            !floats(f64::INFINITY, 65000.0, &allowed, declared).same
                && !floats(65504.0, 1e9, &allowed, declared).same
        );
        assert!(!floats(f64::NEG_INFINITY, 65510.0, &allowed, declared).same);
    }

    #[test]
    fn whole_numbers_are_told_apart_beyond_2_to_the_53() {
        let one_of = |x: i64| Tensor::int64s([x]);
        let none = Allowed::uniform(1, 0.0, 0.0, "test");
        assert!(!one(&one_of((1 << 60) + 1), &one_of(1 << 60), &none, Range::UNBOUNDED).same);
        assert!(one(&one_of(-(1 << 60)), &one_of(-(1 << 60)), &none, Range::UNBOUNDED).same);
    }

    #[test]
    fn a_sum_that_leaves_the_range_may_be_no_number() {
        let open = Allowed::uniform(1, 1.0, 0.0, "test").with_open(vec![true]);
        let found = floats(f64::NAN, 3.0, &open, Range::of(DType::F32, Precision::F32));
        assert!(found.same && found.beyond_range == 1);
        assert!(!floats(7.0, 3.0, &open, F32).same);
    }
}
