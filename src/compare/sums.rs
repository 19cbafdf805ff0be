//! What sums are held to: reductions, pools and what else adds up elements of one input.

use super::bounds::{Input, ReferenceRounding, floor, leaves_range, magnitude_of};
use super::measure::Allowed;
use super::{SAFETY_FACTOR, accuracy};
use crate::base::Reduction;
use crate::base::{Terms, UNIT_F32};
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::tensor::Tensor;

/// The smallest magnitude but 0, and the largest, of what is finite; (∞, 0) where there is none.
fn magnitudes(input: &Input) -> Result<(f64, f64)> {
    let span = |(low, high): (f64, f64), x: f64| (if x > 0.0 { low.min(x) } else { low }, high.max(x));
    Ok(input
        .value
        .to_f64s()?
        .iter()
        .filter(|x| x.is_finite())
        .map(|x| x.abs())
        .fold((f64::INFINITY, 0.0), span))
}

/// What a sum is of.
#[derive(Debug, Clone, Copy)]
pub struct Summed {
    /// Terms to a result.
    pub length: usize,
    pub terms: Terms,
    /// The reduction, where it is one.
    pub reduction: Option<Reduction>,
}

impl Summed {
    /// Sums of so many of these terms, or products of so many factors.
    pub fn new(length: usize, terms: Terms) -> Self {
        let reduction = (terms == Terms::Factors).then_some(Reduction::Prod);
        Self { length, terms, reduction }
    }
    /// Sums of so many elements.
    pub fn of(length: usize) -> Self {
        Self { length, terms: Terms::Elements, reduction: None }
    }
}

/// Integers: exact, but for what their inputs may already be off by. Bounds over the whole tensor, from
/// magnitudes.
pub fn whole(inputs: &[Option<Input>], want: &[f64], summed: Summed) -> Result<Allowed> {
    let apart = inputs.iter().flatten().map(|input| input.apart).fold(0.0, f64::max);
    let exact = "whole numbers: exact";
    if apart == 0.0 {
        return Ok(Allowed::uniform(want.len(), 0.0, 0.0, exact));
    }
    let most = inputs
        .iter()
        .flatten()
        .map(magnitudes)
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .fold(0.0, |most: f64, (_, high)| most.max(high));
    let off = match summed.reduction {
        Some(Reduction::Prod) => f64::INFINITY,
        // A mean is rounded to a whole number again.
        _ => summed.length as f64 * apart * (2.0 * most + apart).max(1.0) + 1.0,
    };
    Ok(Allowed::uniform(want.len(), off, 0.0, format!("{exact} but for inputs that are {apart} apart")))
}

/// Where what is no number may come to: of input 0, where its terms go; of another, anywhere.
fn touched(
    op: &dyn Operator,
    inputs: &[Option<Input>],
    magnitudes: &[Option<Tensor>],
    results: usize,
) -> Result<Vec<f64>> {
    let mut marks: Vec<Option<Tensor>> = magnitudes.to_vec();
    for (index, input) in inputs.iter().enumerate() {
        let Some(input) = input.as_ref().filter(|input| input.value.dtype().is_float()) else { continue };
        let list = input.value.to_f64s()?;
        let none = |x: &f64| if x.is_finite() { 0.0 } else { 1.0 };
        if index == 0 {
            marks[0] = Some(Tensor::new(input.value.shape(), list.iter().map(none).collect::<Vec<f64>>())?);
        } else if list.iter().any(|x| none(x) > 0.0) {
            return Ok(vec![1.0; results]);
        }
    }
    magnitude_of(op, &marks)
}

/// Reductions and pools: u · length · the same of |x|.
pub fn sum(
    op: &dyn Operator,
    inputs: &[Option<Input>],
    want: &[f64],
    summed: Summed,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let input = inputs
        .first()
        .and_then(Option::as_ref)
        .ok_or_else(|| Error::internal("a reduction without input"))?;
    let operand = |(index, input): (usize, &Option<Input>)| {
        input
            .as_ref()
            .map(|input| if op.by_value(index) { Ok(input.value.clone()) } else { input.magnitude() })
            .transpose()
    };
    let all = inputs.iter().enumerate().map(operand).collect::<Result<Vec<Option<Tensor>>>>()?;
    let magnitude = magnitude_of(op, &all)?;
    let (reduction, terms) = (summed.reduction, summed.length as f64);
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    // Stored numbers that each term is a product of, and the roundings of that product.
    let factors = match summed.terms {
        Terms::Products(count) | Terms::Regrouped(count) => count as f64,
        _ => 1.0,
    };
    let touched = if matches!(summed.terms, Terms::Regrouped(_)) {
        touched(op, inputs, &all, want.len())?
    } else {
        vec![]
    };
    let power = if let Terms::Powers(p) = summed.terms { Some(p) } else { None };
    let (mut smallest, mut largest) = magnitudes(input)?;
    // Factors may come from every input.
    let mut brought = (input.unit, input.apart);
    if summed.terms == Terms::Factors {
        for other in inputs.iter().skip(1).flatten().filter(|other| other.value.dtype().is_float()) {
            let (low, high) = magnitudes(other)?;
            (smallest, largest) = (smallest.min(low), largest.max(high));
            brought = (brought.0.max(other.unit), brought.1.max(other.apart));
        }
    }
    // Squares and powers on the way, which a result that is normalised again says nothing of.
    let squared = summed.terms == Terms::Squares;
    let through = |p: f64| leaves_range(terms * largest.powf(p));
    let tiny = terms * f32::MIN_POSITIVE as f64;
    // Partial products, in whatever order.
    let products = terms * largest.ln().max(-smallest.ln()) > (f32::MAX as f64).ln();
    // Whether what is lost may be all of a sum whose logarithm is taken.
    let lost = match reduction {
        Some(Reduction::LogSum) => {
            let mut all: Vec<Option<Tensor>> = all.clone();
            let lost = input.value.to_f64s()?.into_iter().zip(input.errors()?).map(|(x, e)| {
                if x.is_finite() { SAFETY_FACTOR * UNIT_F32 * terms * x.abs() + e } else { 0.0 }
            });
            all[0] = Some(Tensor::new(input.value.shape(), lost.collect::<Vec<_>>())?);
            magnitude_of(op, &all)?
        }
        _ => vec![],
    };
    let vanishing = |at: usize| {
        lost.get(at).zip(want.get(at)).is_some_and(|(lost, y)| *lost > f64::NEG_INFINITY && lost >= y)
    };
    let (mut fixed, mut scaled, mut open) =
        (Vec::with_capacity(want.len()), Vec::with_capacity(want.len()), Vec::with_capacity(want.len()));
    for (at, (&m, &y)) in magnitude.iter().zip(want).enumerate() {
        // What powers that are flushed to 0 move a root by: no more than their own root.
        let flushed = |p: f64| tiny.powf(1.0 / p).min(tiny / m.max(floor(UNIT_F32)).powf(p - 1.0)) / UNIT_F32;
        let (f, s) = match (reduction, power) {
            (Some(Reduction::SumSquare), _) => (2.0 * m, (terms + 2.0) * m),
            (Some(Reduction::Prod), _) => (terms * m, terms * m),
            (Some(Reduction::L2), _) => (m, (terms + 10.0) * m + flushed(2.0)),
            (Some(Reduction::LogSum), _) => {
                let ratio = (m - y).exp();
                (ratio, terms * ratio + accuracy::logarithm(y))
            }
            (Some(Reduction::LogSumExp), _) => (
                2.0 * largest,
                terms + accuracy::exponential(2.0 * largest.min(100.0)) + accuracy::logarithm(y) + y.abs(),
            ),
            // A power and a root of the sum.
            (None, Some(p)) => (m, (terms + 200.0) * m + flushed(p)),
            // Products below the smallest normal number may be flushed to 0.
            (None, None) if factors > 1.0 => (factors * m, (terms + 4.0 + factors) * m + tiny / UNIT_F32),
            _ => (m, (terms + 5.0) * m),
        };
        let leaves = match reduction {
            Some(Reduction::L2) => leaves_range(m * m),
            // A sum that may be 0 has an infinite logarithm.
            Some(Reduction::LogSum) => leaves_range(m.exp()) || vanishing(at),
            Some(Reduction::LogSumExp) => false,
            Some(Reduction::Mean) => leaves_range(terms * m),
            Some(Reduction::Prod) => products,
            Some(_) => leaves_range(m),
            None => {
                touched.get(at).is_some_and(|&marks| marks > 0.0)
                    || leaves_range(m)
                    || leaves_range(terms * largest)
                    || power.is_some_and(through)
                    || squared && through(2.0)
            }
        };
        let lost = leaves && (squared || reduction == Some(Reduction::Prod));
        fixed.push(if lost { f64::INFINITY } else { brought.0 * f + brought.1 });
        scaled.push(sides * UNIT_F32 * s);
        open.push(leaves);
    }
    Ok(Allowed::new(fixed, scaled, format!("c·u·{terms}·Σ|x| + storage rounding")).with_open(open))
}
