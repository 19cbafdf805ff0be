//! Measurement: repeated runs of a prepared session, and what their times come to.
//!
//! ```
//! use sardonyx::bench::{Extent, Statistics, time};
//! use sardonyx::{Session, Tensor};
//!
//! # fn main() -> sardonyx::Result<()> {
//! let session = Session::builder().load("models/digits/digits.onnx")?;
//! let inputs = session.bind(&[("image", Tensor::new([1, 1, 8, 8], vec![0.5f32; 64])?)])?;
//! let prepared = session.prepare(&inputs)?;
//! session.warm(&prepared)?;
//! let (times, _) = time(&session, &prepared, &inputs, Extent { runs: 10, duration: None })?;
//! println!("{:.3} ms at the median", Statistics::of(&times).map_or(0.0, |times| times.median));
//! # Ok(())
//! # }
//! ```

mod difference;
#[doc(hidden)]
pub mod families;
mod kernel;
mod profile;
#[doc(hidden)]
pub mod shapes;
mod split;

pub use difference::{Change, Difference, DifferenceOptions};
#[doc(hidden)]
pub use kernel::{KernelTime, PreparedKernel, Subject, Which, prepare};
pub use profile::{StepTime, host_us_per_dispatch, profile, profile_cpu, time_steps};
pub use split::time_split;

use crate::base::EvalPrecision;
use crate::cpu;
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::session::{Prepared, Session};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What a list of times comes to, in the unit of the list.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// The least.
    pub min: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The standard deviation of the sample, by n − 1; of one 0.
    #[serde(default)]
    pub std: f64,
    /// The 50th percentile.
    pub median: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// The coefficient of variation: the standard deviation relative to the mean.
    #[serde(default)]
    pub cv: f64,
}

impl Statistics {
    /// The statistics of a list; `None` of an empty one. Percentiles interpolate between the two nearest
    /// ranks, as numpy does.
    pub fn of(list: &[f64]) -> Option<Self> {
        let mut sorted = list.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(max);
        let percentile = |percent: f64| {
            let rank = percent / 100.0 * (sorted.len() - 1) as f64;
            at(rank as usize) + rank.fract() * (at(rank as usize + 1) - at(rank as usize))
        };
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let squares = sorted.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
        let std = (squares / (sorted.len() as f64 - 1.0).max(1.0)).sqrt();
        Some(Self {
            min,
            mean,
            std,
            median: percentile(50.0),
            p90: percentile(90.0),
            p95: percentile(95.0),
            p99: percentile(99.0),
            max,
            cv: if mean > 0.0 { std / mean } else { 0.0 },
        })
    }
}

/// When to stop: after so many runs, or, if a duration is given, once it is over.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How many runs, where no duration is given.
    pub runs: usize,
    /// How long to run altogether: the run in which that is over is the last.
    pub duration: Option<Duration>,
}

/// Milliseconds of each run, and the outputs of the last.
pub type Timed = (Vec<f64>, Vec<(String, Tensor)>);

/// Runs at least once, until `extent` is reached. A run uploads the inputs, computes, and reads the outputs
/// back.
pub fn time(
    session: &Session,
    prepared: &Prepared,
    inputs: &HashMap<ValueId, Tensor>,
    extent: Extent,
) -> Result<Timed> {
    let (mut times, mut total) = (vec![], 0.0);
    loop {
        let start = Instant::now();
        let outputs = session.run_prepared(prepared, inputs)?;
        let elapsed = milliseconds(start.elapsed());
        times.push(elapsed);
        total += elapsed;
        let done =
            extent.duration.map_or(times.len() >= extent.runs, |duration| total >= milliseconds(duration));
        if done {
            return Ok((times, outputs));
        }
    }
}

/// The outputs by the CPU: the graph as read, in the declared types, whatever the session's precision.
///
/// Errors are those of the run.
pub fn expected_on_cpu(session: &Session, inputs: &HashMap<ValueId, Tensor>) -> Result<Vec<Tensor>> {
    cpu::run(session.original(), inputs, EvalPrecision::Declared, &mut |_, _| {})
}

/// The largest absolute difference of any output from what is expected, relative to the output's largest
/// magnitude there.
///
/// Infinite where shapes, types or the places of NaN and infinities differ. Errors: another number of outputs.
pub fn difference(outputs: &[(String, Tensor)], expected: &[Tensor]) -> Result<f64> {
    if expected.len() != outputs.len() {
        return Err(Error::internal("the devices made different numbers of outputs"));
    }
    let mut worst = 0f64;
    for ((_, found), expected) in outputs.iter().zip(expected) {
        worst = worst.max(relative_difference(found, expected)?);
    }
    Ok(worst)
}

fn relative_difference(found: &Tensor, expected: &Tensor) -> Result<f64> {
    if found.shape() != expected.shape() || found.dtype() != expected.dtype() {
        return Ok(f64::INFINITY);
    }
    if let (Ok(found), Ok(expected)) = (found.as_strings(), expected.as_strings()) {
        return Ok(if found == expected { 0.0 } else { f64::INFINITY });
    }
    let (found, expected) = (found.to_f64s()?, expected.to_f64s()?);
    let (mut difference, mut magnitude) = (0f64, 0f64);
    for (x, y) in found.iter().zip(&expected) {
        if !y.is_finite() || !x.is_finite() {
            if x != y && !(x.is_nan() && y.is_nan()) {
                return Ok(f64::INFINITY);
            }
        } else {
            difference = difference.max((x - y).abs());
            magnitude = magnitude.max(y.abs());
        }
    }
    Ok(difference / magnitude.max(1e-12))
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The most bytes of main memory that this process held at once, where the system tells (Linux).
pub fn peak_host_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_numpys() {
        let list: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        let found = Statistics::of(&list).unwrap();
        // numpy.percentile(range(1, 11), [50, 90, 95, 99])
        let expected = [1.0, 5.5, 5.5, 9.1, 9.55, 9.91, 10.0];
        let all = [found.min, found.mean, found.median, found.p90, found.p95, found.p99, found.max];
        // numpy.std(range(1, 11), ddof=1)
        assert!(
            (found.std - 3.027_650_354_097_491_6).abs() < 1e-12 && (found.cv - found.std / 5.5).abs() < 1e-12
        );
        assert!(all.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-9), "{all:?}");
        assert_eq!(Statistics::of(&[3.0]).unwrap().p99, 3.0);
        assert_eq!(Statistics::of(&[]), None);
    }

    #[test]
    fn differences_are_relative_to_the_largest_magnitude() {
        let tensor = |list: &[f32]| Tensor::new([list.len()], list.to_vec()).unwrap();
        let difference = |x: &[f32], y: &[f32]| relative_difference(&tensor(x), &tensor(y)).unwrap();
        assert_eq!(difference(&[1.0, 9.0], &[1.0, 10.0]), 0.1);
        assert_eq!(difference(&[f32::NAN, 1.0], &[f32::NAN, 1.0]), 0.0);
        assert_eq!(difference(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(difference(&[f32::INFINITY], &[f32::NEG_INFINITY]), f64::INFINITY);
        assert_eq!(difference(&[1.0], &[1.0, 2.0]), f64::INFINITY);
    }
}
