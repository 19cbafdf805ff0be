//! The ranges of a model's values over samples.

use crate::tensor::{DType, Tensor};
use std::collections::HashMap;

/// Bins of a histogram.
const BINS: usize = 2048;

/// What the float32 values of a model held, by name.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    of: HashMap<String, Range>,
}

#[derive(Debug, Clone)]
struct Range {
    low: f32,
    high: f32,
    /// How many elements there were that are numbers, and that are infinite or none.
    finite: u64,
    odd: u64,
    /// Elements between `low` and `high`, by bins of one width; empty before the second turn.
    bins: Vec<u64>,
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known {
    /// It is float32, and was seen.
    Range([f64; 2]),
    /// Infinities or what is no number were among its elements.
    Odd,
    /// No element of it was a finite number.
    NoNumber,
    /// No sample had an element of it, or it isn't float32.
    Unseen,
}

impl Ranges {
    /// Widens a value's range to a sample's.
    pub fn widen(&mut self, name: &str, tensor: &Tensor) {
        if tensor.dtype() != DType::F32 || tensor.is_empty() {
            return;
        }
        let Ok(list) = tensor.as_slice::<f32>() else { return };
        let new = Range { low: f32::INFINITY, high: f32::NEG_INFINITY, finite: 0, odd: 0, bins: vec![] };
        let range = self.of.entry(name.to_string()).or_insert(new);
        for &x in list {
            if x.is_finite() {
                (range.low, range.high) = (range.low.min(x), range.high.max(x));
                range.finite += 1;
            } else {
                range.odd += 1;
            }
        }
    }

    /// Counts a sample's elements, once all ranges are known: what [`Ranges::cut`] cuts by.
    pub fn count(&mut self, name: &str, tensor: &Tensor) {
        let Some(range) = self.of.get_mut(name).filter(|range| range.high > range.low) else { return };
        let Ok(list) = tensor.as_slice::<f32>() else { return };
        range.bins.resize(BINS, 0);
        let (low, width) = (f64::from(range.low), f64::from(range.high) - f64::from(range.low));
        for x in list.iter().filter(|x| x.is_finite()) {
            let bin = (f64::from(*x) - low) / width * BINS as f64;
            range.bins[(bin as usize).min(BINS - 1)] += 1;
        }
    }

    /// Narrows ranges to where so many of 100 elements lie, as many being left out at each end, to a bin.
    pub fn cut(&mut self, percentile: f64) {
        for range in self.of.values_mut().filter(|range| !range.bins.is_empty()) {
            let all: u64 = range.bins.iter().sum();
            let out = (100.0 - percentile) / 200.0 * all as f64;
            let below = beyond(range.bins.iter(), out);
            let above = beyond(range.bins.iter().rev(), out);
            let (low, width) = (f64::from(range.low), f64::from(range.high) - f64::from(range.low));
            let edge = |bin: usize| (low + width * bin as f64 / BINS as f64) as f32;
            // Neither can reach the other: together they hold less than all.
            (range.low, range.high) = (edge(below), edge(BINS.saturating_sub(above)));
            range.bins.clear();
        }
    }

    /// What is known of a value.
    pub fn known(&self, name: &str) -> Known {
        match self.of.get(name) {
            None => Known::Unseen,
            Some(range) if range.finite == 0 => Known::NoNumber,
            Some(range) if range.odd > 0 => Known::Odd,
            Some(range) => Known::Range([f64::from(range.low), f64::from(range.high)]),
        }
    }
}

/// How many of the first bins hold no more than so many elements together.
fn beyond<'a>(bins: impl Iterator<Item = &'a u64>, out: f64) -> usize {
    let mut sum = 0;
    bins.take_while(|count| {
        sum += **count;
        sum as f64 <= out
    })
    .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(list: &[f32]) -> Tensor {
        Tensor::new([list.len()], list.to_vec()).unwrap()
    }

    #[test]
    fn samples_widen_a_range() {
        let mut ranges = Ranges::default();
        ranges.widen("x", &list(&[1.0, 2.0]));
        ranges.widen("x", &list(&[-3.0]));
        ranges.widen("x", &list(&[]));
        ranges.widen("odd", &list(&[f32::INFINITY, 1.0]));
        ranges.widen("none", &list(&[f32::NAN]));
        ranges.widen("whole", &Tensor::int64s([1, 2]));
        assert_eq!(ranges.known("x"), Known::Range([-3.0, 2.0]));
        assert_eq!(ranges.known("odd"), Known::Odd);
        assert_eq!(ranges.known("none"), Known::NoNumber);
        assert_eq!(ranges.known("whole"), Known::Unseen);
    }

    #[test]
    fn a_percentile_leaves_out_both_ends() {
        // 0 to 9,999, and one far out at each end.
        let mut many: Vec<f32> = (0..10_000u16).map(f32::from).collect();
        many.extend([-1e5, 1e5]);
        let mut ranges = Ranges::default();
        ranges.widen("x", &list(&many));
        let mut whole = ranges.clone();
        ranges.count("x", &list(&many));
        ranges.cut(99.9);
        let Known::Range([low, high]) = ranges.known("x") else { panic!() };
        let bin = 2e5 / BINS as f64;
        assert!((low - 5.0).abs() <= bin && (high - 9995.0).abs() <= bin, "{low} to {high}");
        // Without a second turn, or with all of 100, nothing is cut.
        whole.cut(50.0);
        assert_eq!(whole.known("x"), Known::Range([-1e5, 1e5]));
        whole.count("x", &list(&many));
        whole.cut(100.0);
        assert_eq!(whole.known("x"), Known::Range([-1e5, 1e5]));
    }
}
