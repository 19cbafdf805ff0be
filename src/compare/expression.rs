//! Running error analysis of elementwise expressions: the value in float64 and, beside it, how far a right
//! float32 evaluation may lie from it, step by step.

use super::accuracy::rounding;
use super::range::LARGEST_F16;
use crate::base::{EvalPrecision, UNIT_F16, UNIT_F32};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, Step};
use crate::tensor::index::{Odometer, broadcast, broadcast_strides, strides};
use crate::tensor::{DType, Tensor, cast};

/// A tensor (floats as float64) and the absolute error of each element.
#[derive(Clone)]
pub struct Uncertain {
    pub value: Tensor,
    pub error: Vec<f64>,
}

/// What is counted as rounding.
#[derive(Debug, Clone, Copy)]
pub struct Rounding {
    /// A multiple of the float32 arithmetic's own error: 0 leaves only what the operands bring.
    pub arithmetic: f64,
    /// The roundoff with which the *reference* stores the result of each step; 0 for the oracle.
    pub reference: f64,
}

/// An expression's value with its error.
pub struct Propagated {
    pub value: Uncertain,
    /// Elements that may be no number: a result on the way may leave the range of the type that holds it, and
    /// what comes of an infinity may be anything; or a function isn't defined within its arguments' errors.
    pub open: Vec<bool>,
}

/// The value of an expression with its error, over operands that broadcast together.
pub fn propagate(expression: &Pointwise, operands: &[Uncertain], counted: Rounding) -> Result<Propagated> {
    let mut shape = vec![];
    for operand in operands {
        shape = broadcast(&shape, operand.value.shape())?;
    }
    let spread = operands.iter().map(|operand| operand.broadcast(&shape)).collect::<Result<Vec<_>>>()?;
    let mut results: Vec<Uncertain> = vec![];
    let mut chains: Vec<Option<Chain>> = vec![];
    let mut open = vec![false; shape.iter().product()];
    let mut lost = open.clone();
    for (at, step) in expression.steps.iter().enumerate() {
        let (result, undefined) = apply(step, &spread, &results, counted)?;
        open.iter_mut().zip(undefined).for_each(|(open, undefined)| *open |= undefined);
        let chain = Chain::of(step, &spread, &results, &chains, open.len())?;
        if let Some(chain) = chain.as_ref().filter(|chain| chain.terms > 2) {
            open.iter_mut().zip(&chain.mass).for_each(|(open, mass)| *open |= *mass > f32::MAX as f64);
        }
        chains.push(chain);
        // Whether the last result leaves its range is for what stores it.
        if at + 1 < expression.steps.len() && result.value.dtype().is_float() {
            let largest = if step.to == Some(DType::F16) { LARGEST_F16 } else { f32::MAX as f64 };
            let values = result.value.to_f64s()?.into_iter().zip(&result.error);
            for (open, (value, error)) in open.iter_mut().zip(values) {
                *open |= value.is_finite() && value.abs() + error > largest;
            }
            lost.clone_from(&open);
        }
        results.push(result);
    }
    let mut value = results
        .pop()
        .or_else(|| spread.into_iter().next())
        .ok_or_else(|| Error::internal("an expression without operands"))?;
    value.error.iter_mut().zip(lost).filter(|(_, lost)| *lost).for_each(|(error, _)| *error = f64::INFINITY);
    Ok(Propagated { value, open })
}

/// A sum of sums. WGSL lets a compiler take its terms in any order, so that what lies between may be as large
/// as all their magnitudes together.
struct Chain {
    terms: usize,
    /// Those of finite terms, for each element.
    mass: Vec<f64>,
}

impl Chain {
    /// What a step adds up; none where it is no sum.
    fn of(
        step: &Step,
        operands: &[Uncertain],
        results: &[Uncertain],
        chains: &[Option<Chain>],
        elements: usize,
    ) -> Result<Option<Self>> {
        if !matches!(step.row.name, "Add" | "Sub") {
            return Ok(None);
        }
        let mut all = Chain { terms: 0, mass: vec![0.0; elements] };
        for arg in &step.args {
            let (terms, mass) = match *arg {
                Arg::Step(k) => match chains.get(k).and_then(Option::as_ref) {
                    Some(chain) => (chain.terms, chain.mass.clone()),
                    None => (1, magnitudes(results.get(k))?),
                },
                Arg::Operand(k) => (1, magnitudes(operands.get(k))?),
                Arg::Const(value) => (1, vec![value.abs(); elements]),
            };
            all.terms += terms;
            all.mass.iter_mut().zip(mass).for_each(|(sum, own)| *sum += own);
        }
        Ok(Some(all))
    }
}

/// The magnitudes of what is finite.
fn magnitudes(of: Option<&Uncertain>) -> Result<Vec<f64>> {
    let of = of.ok_or_else(|| Error::internal("a step reads what isn't there"))?;
    let finite = |x: f64| if x.is_finite() { x.abs() } else { 0.0 };
    Ok(of.value.to_f64s()?.into_iter().map(finite).collect())
}

impl Uncertain {
    fn broadcast(&self, shape: &[usize]) -> Result<Self> {
        if self.value.shape() == shape {
            return Ok(self.clone());
        }
        let own = broadcast_strides(self.value.shape(), &strides(self.value.shape()), shape);
        let mut walk = Odometer::new(shape, [&own]);
        let value = self.value.pick(shape, |_| walk.next().map(|[at]| at))?;
        let error =
            Odometer::new(shape, [&own]).map(|[at]| self.error.get(at).copied().unwrap_or(0.0)).collect();
        Ok(Self { value, error })
    }

    /// The value moved by its error, up or down; a truth value that is uncertain is turned over.
    fn moved(&self, sign: f64) -> Result<Tensor> {
        let truth = self.value.dtype() == DType::Bool;
        self.with(|x, e| if truth && e > 0.0 { 1.0 - x } else { x + sign * e })
    }

    /// The value with 0 in the place of what its error may take there.
    fn vanished(&self) -> Result<Tensor> {
        self.with(|x, e| if x.abs() <= e { 0.0 } else { x })
    }

    fn with(&self, of: impl Fn(f64, f64) -> f64) -> Result<Tensor> {
        let moved: Vec<f64> =
            self.value.to_f64s()?.iter().zip(&self.error).map(|(&x, &e)| of(x, e)).collect();
        cast(&Tensor::new(self.value.shape(), moved)?, self.value.dtype(), true)
    }
}

/// A step's result, and which elements may be no number though the value is one.
fn apply(
    step: &Step,
    operands: &[Uncertain],
    results: &[Uncertain],
    counted: Rounding,
) -> Result<(Uncertain, Vec<bool>)> {
    let mut given: Vec<&Uncertain> = vec![];
    let mut single = Step { row: step.row, args: vec![], to: step.to };
    for arg in &step.args {
        let from = match *arg {
            Arg::Operand(k) => operands.get(k),
            Arg::Step(k) => results.get(k),
            constant => {
                single.args.push(constant);
                continue;
            }
        };
        single.args.push(Arg::Operand(given.len()));
        given.push(from.ok_or_else(|| Error::internal("a step reads what isn't there"))?);
    }
    let single = Pointwise { operands: given.len(), steps: vec![single] };
    let centre: Vec<&Tensor> = given.iter().map(|item| &item.value).collect();
    let value = single.eval(&centre, EvalPrecision::Oracle)?;
    let at = value.to_f64s()?;
    let mut error = vec![0f64; at.len()];
    let uncertain: Vec<usize> =
        (0..given.len()).filter(|&k| given[k].error.iter().any(|&e| e > 0.0)).collect();
    let difference = |moved: &Tensor| -> Result<Vec<f64>> {
        // A side on which the function isn't defined says nothing.
        Ok(moved
            .to_f64s()?
            .iter()
            .zip(&at)
            .map(|(m, v)| if m == v || (m - v).is_nan() { 0.0 } else { (m - v).abs() })
            .collect())
    };
    if step.row.test.is_some() && value.dtype() == DType::Bool {
        if let ("Equal", [a, b]) = (step.row.name, &given[..]) {
            // Equality is uncertain as soon as the errors reach from one to the other.
            let numbers =
                a.value.to_f64s()?.into_iter().zip(b.value.to_f64s()?).zip(a.error.iter().zip(&b.error));
            let meets = |((a, b), (e, f)): ((f64, f64), (&f64, &f64))| {
                if e + f > 0.0 && (a - b).abs() <= e + f { 1.0 } else { 0.0 }
            };
            return Ok((Uncertain { error: numbers.map(meets).collect(), value }, vec![]));
        }
        // A comparison is uncertain where its arguments' errors, against each other, turn it over.
        for signs in [[1.0, -1.0], [-1.0, 1.0]] {
            let moved = given
                .iter()
                .enumerate()
                .map(|(k, item)| item.moved(signs[k % 2]))
                .collect::<Result<Vec<_>>>()?;
            let moved = single.eval(&moved.iter().collect::<Vec<_>>(), EvalPrecision::Oracle)?;
            error.iter_mut().zip(difference(&moved)?).for_each(|(e, d)| *e = e.max(d));
        }
        return Ok((Uncertain { value, error }, vec![]));
    }
    let mut undefined = vec![false; at.len()];
    for &k in &uncertain {
        let mut worst = vec![0f64; at.len()];
        for moved in [given[k].moved(1.0)?, given[k].moved(-1.0)?, given[k].vanished()?] {
            let mut inputs = centre.clone();
            inputs[k] = &moved;
            let moved = single.eval(&inputs, EvalPrecision::Oracle)?;
            worst.iter_mut().zip(difference(&moved)?).for_each(|(e, d)| *e = e.max(d));
            let numbers = moved.to_f64s()?.into_iter().zip(&at);
            undefined
                .iter_mut()
                .zip(numbers)
                .for_each(|(undefined, (moved, at))| *undefined |= !moved.is_finite() && at.is_finite());
        }
        error.iter_mut().zip(worst).for_each(|(e, d)| *e += d);
    }
    if value.dtype().is_float() {
        let numbers = centre.iter().map(|tensor| tensor.to_f64s()).collect::<Result<Vec<_>>>()?;
        let stored = match step.to {
            Some(DType::F16 | DType::BF16) => {
                if step.to == Some(DType::F16) {
                    UNIT_F16
                } else {
                    1.0 / 256.0
                }
            }
            _ => 0.0,
        };
        let mut args = Vec::with_capacity(step.args.len());
        for (index, (e, v)) in error.iter_mut().zip(&at).enumerate() {
            if !v.is_finite() {
                continue;
            }
            args.clear();
            args.extend(single.steps[0].args.iter().map(|arg| match *arg {
                Arg::Const(number) => number,
                Arg::Operand(k) | Arg::Step(k) => numbers[k][index],
            }));
            let own = if counted.arithmetic > 0.0 {
                counted.arithmetic
                    * (UNIT_F32 * rounding(step.row.name, &args, *v) + f32::MIN_POSITIVE as f64)
            } else {
                0.0
            };
            *e += own + (counted.reference + stored) * v.abs();
        }
    }
    Ok((Uncertain { value, error }, undefined))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::table;

    fn operand(values: &[f64], error: f64) -> Uncertain {
        Uncertain {
            value: Tensor::new([values.len()], values.to_vec()).unwrap(),
            error: vec![error; values.len()],
        }
    }

    #[test]
    fn errors_follow_the_function() {
        let none = Rounding { arithmetic: 0.0, reference: 0.0 };
        let result = propagate(&Pointwise::of(&table::RELU, 1, &[]), &[operand(&[-1.0, 2.0], 1e-3)], none)
            .unwrap()
            .value;
        assert_eq!(result.error[0], 0.0);
        assert!((result.error[1] - 1e-3).abs() < 1e-12);
        let product = propagate(
            &Pointwise::of(&table::MUL, 2, &[]),
            &[operand(&[3.0], 1e-3), operand(&[-5.0], 0.0)],
            none,
        )
        .unwrap()
        .value;
        assert!((product.error[0] - 5e-3).abs() < 1e-12);
    }

    #[test]
    fn a_comparison_is_open_within_the_margin_alone() {
        let none = Rounding { arithmetic: 0.0, reference: 0.0 };
        let less = propagate(
            &Pointwise::of(&table::LESS, 2, &[]),
            &[operand(&[1.0, 1.0], 1e-3), operand(&[1.001, 2.0], 1e-3)],
            none,
        )
        .unwrap()
        .value;
        assert_eq!(less.error, [1.0, 0.0]);
    }
}
