//! What it takes to see a difference again without this comparison: the dispatches, what they read, what the
//! device made of it and what would have been right.

use super::measure::Allowed;
use super::range::Range;
use super::report::FirstDifferent;
use crate::base::BufferId;
use crate::error::Result;
use crate::gpu::PlaceBytes;
use crate::graph::Node;
use crate::plan::Plan;
use crate::tensor::{DType, Tensor};
use std::ops::Range as Span;
use std::sync::Arc;

/// Of what evidence is wanted.
#[derive(Debug, Clone, Default)]
pub enum Wanted {
    /// Of nothing.
    #[default]
    Nothing,
    /// Of the step that differs first, if one does.
    FirstDifferent,
    /// Of the step of this node, or that makes the value of this name, whether it differs or not.
    Node(String),
}

/// A right answer and how far each of its elements may be off.
#[derive(Debug, Clone)]
pub struct Answer {
    /// In float64, integers of 64 bits as they are.
    pub values: Tensor,
    /// Infinite where any answer is right.
    pub limits: Vec<f64>,
}

/// The dispatches of some steps of a plan, which differ by themselves.
pub struct Replay {
    /// The plan that they are of.
    pub plan: Arc<Plan>,
    /// The steps: the last one makes what differs.
    pub steps: Span<usize>,
    /// What lies in buffers before the first of them; every other byte is [`POISON`](crate::gpu::POISON).
    pub before: Vec<PlaceBytes>,
    /// Where the value is that differs.
    pub place: BufferId,
    /// That place's bytes as these steps, run by themselves, left them on the device.
    pub after: Vec<u8>,
    /// Whether they differ by themselves too.
    pub differs: bool,
}

/// What a comparison knows of one step.
pub struct Evidence {
    /// The step and the value.
    pub step: FirstDifferent,
    /// Whether it is about the step by itself, else about the run up to it.
    pub local: bool,
    /// Whether the comparison found a difference.
    pub differs: bool,
    /// What the device made, in the model's type.
    pub device: Tensor,
    /// What would have been right. Each element is to agree with one of them.
    pub answers: Vec<Answer>,
    /// The step's inputs that are no constants, as the reference has them.
    pub inputs: Vec<(String, Tensor)>,
    /// What the step should make of them.
    pub outputs: Vec<(String, Tensor)>,
    /// The model's own inputs.
    pub model_inputs: Vec<(String, Tensor)>,
    /// The dispatches; `None` where the step is none of the device's.
    pub replay: Option<Replay>,
}

/// A measure that evidence is to be gathered of.
pub(super) struct Found {
    pub step: FirstDifferent,
    pub local: bool,
    pub differs: bool,
    pub got: Tensor,
    pub answers: Vec<Answer>,
    pub node: Option<Node>,
    /// The plan's step and the place that it wrote.
    pub at: Option<(usize, BufferId)>,
}

/// A right answer as it is held against what a device made.
pub(super) fn answers(
    values: &Tensor,
    allowed: &Allowed,
    range: Range,
    stated: Option<(f64, f64)>,
) -> Result<Vec<Answer>> {
    let wide = values.to_f64s()?;
    let limit = |(at, x): (usize, &f64)| match stated {
        Some((rtol, atol)) => atol + rtol * x.abs(),
        None if allowed.is_open(at) => f64::INFINITY,
        // An infinite tolerance takes every number, but no infinity and no NaN.
        None => allowed.at(at).min(f64::MAX),
    };
    let limits: Vec<f64> = wide.iter().enumerate().map(limit).collect();
    if matches!(values.dtype(), DType::I64 | DType::U64) {
        return Ok(vec![Answer { values: values.clone(), limits }]);
    }
    let held: Vec<f64> = wide.iter().map(|&x| range.hold(x)).collect();
    // Within the tolerance of the range's end an infinity is as right as a number.
    let rounds = |(x, limit): (&f64, &f64)| x.is_finite() && x.abs() + limit >= range.edge();
    let edge: Vec<bool> = wide.iter().zip(&limits).map(rounds).collect();
    let mut all = vec![Answer { values: Tensor::new(values.shape(), held.clone())?, limits: limits.clone() }];
    if edge.contains(&true) {
        let ends = held.iter().zip(&edge);
        let ends = ends.map(|(&x, &edge)| if edge { f64::INFINITY.copysign(x) } else { x }).collect();
        all.push(Answer { values: Tensor::new(values.shape(), ends)?, limits });
    }
    Ok(all)
}

/// Whether each element agrees with one of the answers.
pub fn agrees(got: &Tensor, answers: &[Answer]) -> Result<bool> {
    let numbers = got.to_f64s()?;
    let mut right = vec![false; numbers.len()];
    for Answer { values, limits } in answers {
        for (right, ((x, y), limit)) in
            right.iter_mut().zip(numbers.iter().zip(values.to_f64s()?).zip(limits))
        {
            let same = *x == y || x.is_nan() && y.is_nan();
            *right |= same || *limit == f64::INFINITY || (x - y).abs() <= *limit;
        }
    }
    Ok(right.iter().all(|right| *right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Precision;

    #[test]
    fn each_element_agrees_with_one_answer() {
        let tensor = |list: [f64; 3]| Tensor::new([3], list.to_vec()).unwrap();
        let answer = |list, limit| Answer { values: tensor(list), limits: vec![limit; 3] };
        let two = [answer([1.0, 2.0, f64::NAN], 0.1), answer([1.0, 9.0, f64::INFINITY], 0.1)];
        assert!(agrees(&tensor([1.05, 9.0, f64::INFINITY]), &two).unwrap());
        assert!(agrees(&tensor([1.0, 2.05, f64::NAN]), &two).unwrap());
        assert!(!agrees(&tensor([1.0, 3.0, f64::NAN]), &two).unwrap());
        assert!(!agrees(&tensor([1.0, 2.0, 5.0]), &two).unwrap());
    }

    #[test]
    fn an_infinity_is_right_at_the_end_of_a_range() {
        let values = Tensor::new([2], vec![65_519.0, 3.0]).unwrap();
        let allowed = Allowed::uniform(2, 8.0, 0.0, "test");
        let all = answers(&values, &allowed, Range::of(DType::F16, Precision::F32), None).unwrap();
        let made = |x: f64, y: f64| Tensor::new([2], vec![x, y]).unwrap();
        assert!(agrees(&made(f64::INFINITY, 3.0), &all).unwrap());
        assert!(!agrees(&made(65_519.0, f64::INFINITY), &all).unwrap());
        // A stated tolerance takes the derived one's place.
        let all = answers(&values, &allowed, Range::UNBOUNDED, Some((0.0, 0.5))).unwrap();
        assert!(!agrees(&made(65_519.0, 4.0), &all).unwrap());
    }
}
