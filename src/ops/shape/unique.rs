//! [Unique](https://onnx.ai/onnx/operators/onnx__Unique.html), versions 11, 28: each element, or each slice
//! along an axis, once.
//!
//! Outputs: what is unique, where each comes first, which of them each element is, and how often each comes.
//! They are in order (of slices the first element that differs decides), or as they come. NaN equals itself
//! and comes last. The outputs' sizes depend on the elements.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::reduce::order::keys;
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{DType, Tensor, allocate, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Unique", since: 11, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Unique {
    /// `None`: of the elements.
    axis: Option<i64>,
    sorted: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Unique { axis: node.optional_int("axis")?, sorted: node.flag("sorted", true)? }))
}

/// What is unique of slices that are numbered.
struct Groups {
    /// The first slice of each.
    firsts: Vec<usize>,
    /// The group of each slice.
    of: Vec<i64>,
    counts: Vec<i64>,
}

/// Keys that compare as the elements do, of strings too.
fn ordered(x: &Tensor) -> Result<Vec<i64>> {
    let Ok(texts) = x.as_strings() else { return keys(x) };
    let mut sorted: Vec<&String> = texts.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    Ok(texts.iter().map(|text| sorted.partition_point(|other| *other < text) as i64).collect())
}

impl Unique {
    /// The slices' number, and their elements' steps: `[outer, slices, inner]`.
    fn split(&self, x: &Tensor) -> Result<[usize; 3]> {
        Ok(match self.axis {
            None => [1, x.len(), 1],
            Some(at) => {
                let at = axis(at, x.rank())?;
                let product = |sizes: &[usize]| sizes.iter().fold(1usize, |all, &n| all.saturating_mul(n));
                [product(&x.shape()[..at]), x.shape()[at], product(&x.shape()[at + 1..])]
            }
        })
    }

    fn groups(&self, x: &Tensor) -> Result<Groups> {
        let [outer, slices, inner] = self.split(x)?;
        let keys = ordered(x)?;
        let (outer, inner) = if keys.is_empty() { (0, 0) } else { (outer, inner) };
        let slice =
            |at: usize| (0..outer).flat_map(move |o| (0..inner).map(move |i| (o * slices + at) * inner + i));
        let compare = |a: &usize, b: &usize| slice(*a).map(|at| keys[at]).cmp(slice(*b).map(|at| keys[at]));
        let mut order: Vec<usize> = allocate(slices)?;
        order.extend(0..slices);
        order.sort_by(compare);
        // Equal ones lie side by side, the first first.
        let runs: Vec<&[usize]> = order.chunk_by(|a, b| compare(a, b).is_eq()).collect();
        let mut sequence: Vec<usize> = allocate(runs.len())?;
        sequence.extend(0..runs.len());
        if !self.sorted {
            sequence.sort_unstable_by_key(|&run| runs[run][0]);
        }
        let mut of: Vec<i64> = zeros(slices)?;
        for (group, &run) in sequence.iter().enumerate() {
            runs[run].iter().for_each(|&at| of[at] = group as i64);
        }
        Ok(Groups {
            firsts: sequence.iter().map(|&run| runs[run][0]).collect(),
            of,
            counts: sequence.iter().map(|&run| runs[run].len() as i64).collect(),
        })
    }

    /// The first output's shape.
    fn shape(&self, x: &[usize], count: usize) -> Result<Vec<usize>> {
        let Some(at) = self.axis else { return Ok(vec![count]) };
        let mut shape = x.to_vec();
        shape[axis(at, x.len())?] = count;
        Ok(shape)
    }
}

impl Operator for Unique {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        self.shape(&x.shape, 0)?;
        let groups = self.groups(x.value.as_ref().ok_or(Infer::NeedsValue(0))?)?;
        let count = groups.firsts.len();
        let int64s = |count: usize| Fact::new(DType::I64, [count]);
        Ok(vec![
            Fact::new(x.dtype, self.shape(&x.shape, count)?),
            int64s(count),
            int64s(groups.of.len()),
            int64s(count),
        ])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Groups { firsts, of, counts } = self.groups(x)?;
        let ([_, slices, inner], count) = (self.split(x)?, firsts.len());
        let source = |at: usize| {
            let (outer, group) = (at / inner / count, at / inner % count);
            Some((outer * slices + firsts[group]) * inner + at % inner)
        };
        Ok(vec![
            x.pick(self.shape(x.shape(), count)?, source)?,
            Tensor::int64s(firsts.iter().map(|&first| first as i64)),
            Tensor::int64s(of),
            Tensor::int64s(counts),
        ])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(&[], &[Indices(&[9], &[2, 1, 1, 3, 4, 3, -7, 2, 0])]).outputs(4).runs("plan"),
    case(&[("sorted", Int(0))], &[Indices(&[2, 4], &[2, 1, 1, 3, 4, 3, 1, 2])]).outputs(4).runs("plan"),
    case(&[("axis", Int(0))], &[Values(&[3, 3], &[1.0, 0.0, 0.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0])])
        .outputs(4)
        .runs("cpu"),
    case(&[("axis", Int(-1)), ("sorted", Int(0))], &[Indices(&[2, 5], &[3, 1, 3, 0, 1, 0, 2, 0, 5, 1])])
        .outputs(3)
        .runs("plan"),
    case(&[], &[Bools(&[3, 4])]).outputs(2).runs("plan"),
    case(&[("axis", Int(1))], &[Small(DType::U8, &[2, 3, 2])]).runs("plan"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(x: &Tensor, axis: Option<i64>, sorted: bool) -> Vec<Tensor> {
        Unique { axis, sorted }.eval(Operands::new(&[Some(x)]), EvalPrecision::Declared).unwrap()
    }

    #[test]
    fn strings_and_nan() {
        let words = ["b", "a", "b", ""].map(String::from).to_vec();
        let found = of(&Tensor::strings([4], words).unwrap(), None, true);
        assert_eq!(found[0].as_strings().unwrap(), ["", "a", "b"]);
        assert_eq!(found[2].to_i64s().unwrap(), [2, 1, 2, 0]);
        let numbers = Tensor::new([5], vec![f32::NAN, 0.0, f32::NAN, -1.0, -0.0]).unwrap();
        let found = of(&numbers, None, true);
        assert_eq!(found[0].to_f64s().unwrap()[..2], [-1.0, 0.0]);
        assert_eq!(
            (found[1].to_i64s().unwrap(), found[3].to_i64s().unwrap()),
            (vec![3, 1, 0], vec![1, 2, 2])
        );
    }

    #[test]
    fn slices_of_nothing_are_one() {
        let none = Tensor::new([3, 0], Vec::<f32>::new()).unwrap();
        assert_eq!(of(&none, Some(0), true)[0].shape(), [1, 0]);
        assert_eq!(of(&none, Some(1), true)[0].shape(), [3, 0]);
        assert_eq!(of(&none, None, false)[0].shape(), [0]);
    }
}
