//! How right a cell is: `compare`'s verdict, the largest difference from the CPU, agreement on the largest
//! elements.

use super::measurement::{Accuracy, Agreement, Verdict};
use crate::cli::options::Precision;
use sardonyx::compare::{self, Options, Reference, UNIT_F32, compare};
use sardonyx::error::Result;
use sardonyx::graph::ValueId;
use sardonyx::session::Session;
use sardonyx::{Tensor, bench};
use std::collections::HashMap;

/// What a reader of a cell's speed should know of its results.
pub struct Judgement {
    pub accuracy: Accuracy,
    pub verdict: Verdict,
    pub agreement: Option<Agreement>,
}

/// Judges a run's outputs. Errors are those of the runs on the CPU.
pub fn judge(
    session: &Session,
    inputs: &HashMap<ValueId, Tensor>,
    outputs: &[(String, Tensor)],
    precision: &Precision,
) -> Result<Judgement> {
    let expected = bench::expected_on_cpu(session, inputs)?;
    let difference = bench::difference(outputs, &expected)?;
    let options = Options { reference: Reference::CpuF64, per_node: false, tolerance: None };
    let same = compare(session, inputs, &options)?.verdict == compare::Verdict::Same;
    // Of what is computed in float16 and still is as near as float32 gets, nothing needs explaining.
    let near = *precision == Precision::F32 || difference <= compare::SAFETY_FACTOR * UNIT_F32;
    let verdict = match (same, near) {
        (false, _) => Verdict::Different,
        (true, true) => Verdict::Ok,
        (true, false) => Verdict::Rounding,
    };
    let max_rel = difference.is_finite().then_some(difference);
    let pair = outputs.iter().zip(&expected).find(|((_, found), _)| is_score(found));
    let agreement = pair.map(|((_, found), expected)| agreement(found, expected)).transpose()?.flatten();
    Ok(Judgement { accuracy: Accuracy { reference: "cpu f32, as read".into(), max_rel }, verdict, agreement })
}

/// Whether a tensor has rows of numbers among which one is the largest.
fn is_score(tensor: &Tensor) -> bool {
    tensor.dtype().is_float() && !tensor.is_empty() && innermost(tensor).is_some()
}

/// The size of the last axis that is longer than 1: scores are `[n, classes]`, or `[n, classes, 1, 1]`.
fn innermost(tensor: &Tensor) -> Option<usize> {
    tensor.shape().iter().rev().copied().find(|&size| size > 1)
}

/// The agreement along that axis; `None` of tensors of different shapes.
fn agreement(found: &Tensor, expected: &Tensor) -> Result<Option<Agreement>> {
    let Some(length) = innermost(found).filter(|_| found.shape() == expected.shape()) else {
        return Ok(None);
    };
    let (found, expected) = (found.to_f64s()?, expected.to_f64s()?);
    let rows = found.chunks_exact(length).zip(expected.chunks_exact(length));
    let (mut count, mut first, mut five) = (0usize, 0usize, 0usize);
    for (found, expected) in rows {
        let (found, expected) = (largest(found), largest(expected));
        count += 1;
        first += usize::from(found.first() == expected.first());
        five += expected.iter().filter(|index| found.contains(index)).count();
    }
    let share = |hits: usize, of: usize| hits as f64 / of.max(1) as f64;
    Ok(Some(Agreement {
        top1: share(first, count),
        top5: (length > FIVE).then(|| share(five, count * FIVE)),
    }))
}

const FIVE: usize = 5;

/// The indices of the five largest elements, the largest first; of equal ones the first.
fn largest(row: &[f64]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(FIVE + 1);
    for (index, x) in row.iter().enumerate() {
        let at = best.iter().position(|&other| *x > row[other] || row[other].is_nan() && !x.is_nan());
        let at = at.unwrap_or(best.len());
        if at < FIVE {
            best.insert(at, index);
            best.truncate(FIVE);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_rows_and_the_five_largest() {
        let tensor = |list: &[f32], shape: [usize; 2]| Tensor::new(shape, list.to_vec()).unwrap();
        let a = tensor(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [2, 7]);
        let b = tensor(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 5.0, 6.0, 4.0, 3.0, 0.0, 1.0, 2.5], [2, 7]);
        assert_eq!(agreement(&a, &a).unwrap(), Some(Agreement { top1: 1.0, top5: Some(1.0) }));
        assert_eq!(agreement(&b, &a).unwrap(), Some(Agreement { top1: 0.5, top5: Some(0.9) }));
        assert_eq!(agreement(&a, &tensor(&[0.0; 14], [7, 2])).unwrap(), None);
        let image = a.reshape([2, 7, 1, 1]).unwrap();
        assert_eq!(agreement(&image, &image).unwrap(), Some(Agreement { top1: 1.0, top5: Some(1.0) }));
        assert_eq!(largest(&[f64::NAN, 1.0, 1.0]), [1, 2, 0]);
    }
}
