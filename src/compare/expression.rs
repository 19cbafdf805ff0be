//! Running error analysis of elementwise expressions: the value in float64 and, beside it, how far a right float32 evaluation
//! may lie from it, step by step.

use super::accuracy::rounding;
use super::{UNIT_F16, UNIT_F32};
use crate::error::{Error, Result};
use crate::ops::Mode;
use crate::ops::pointwise::{Arg, Pointwise, Step};
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

/// The value of an expression with its error, over operands that broadcast together.
pub fn propagate(expression: &Pointwise, operands: &[Uncertain], counted: Rounding) -> Result<Uncertain> {
    let mut shape = vec![];
    for operand in operands {
        shape = broadcast(&shape, operand.value.shape())?;
    }
    let spread = operands.iter().map(|operand| operand.broadcast(&shape)).collect::<Result<Vec<_>>>()?;
    let mut results: Vec<Uncertain> = vec![];
    for step in &expression.steps {
        let result = apply(step, &spread, &results, counted)?;
        results.push(result);
    }
    results.pop().or_else(|| spread.into_iter().next()).ok_or_else(|| Error::internal("an expression without operands"))
}

impl Uncertain {
    fn broadcast(&self, shape: &[usize]) -> Result<Self> {
        if self.value.shape() == shape {
            return Ok(self.clone());
        }
        let own = broadcast_strides(self.value.shape(), &strides(self.value.shape()), shape);
        let mut walk = Odometer::new(shape, [&own]);
        let value = self.value.pick(shape, |_| walk.next().map(|[at]| at))?;
        let error = Odometer::new(shape, [&own]).map(|[at]| self.error.get(at).copied().unwrap_or(0.0)).collect();
        Ok(Self { value, error })
    }

    /// The value moved by its error, up or down; a truth value that is uncertain is turned over.
    fn moved(&self, sign: f64) -> Result<Tensor> {
        let dtype = self.value.dtype();
        let moved: Vec<f64> =
            self.value.to_f64s()?.iter().zip(&self.error).map(|(x, e)| if dtype == DType::Bool && *e > 0.0 { 1.0 - x } else { x + sign * e }).collect();
        cast(&Tensor::new(self.value.shape(), moved)?, dtype, true)
    }
}

fn apply(step: &Step, operands: &[Uncertain], results: &[Uncertain], counted: Rounding) -> Result<Uncertain> {
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
    let value = single.eval(&centre, Mode::Oracle)?;
    let at = value.to_f64s()?;
    let mut error = vec![0f64; at.len()];
    let uncertain: Vec<usize> = (0..given.len()).filter(|&k| given[k].error.iter().any(|&e| e > 0.0)).collect();
    let difference = |moved: &Tensor| -> Result<Vec<f64>> {
        // A side on which the function isn't defined says nothing.
        Ok(moved.to_f64s()?.iter().zip(&at).map(|(m, v)| if m == v || (m - v).is_nan() { 0.0 } else { (m - v).abs() }).collect())
    };
    if step.row.test.is_some() && value.dtype() == DType::Bool {
        // A comparison is uncertain where its arguments' errors, against each other, turn it over.
        for signs in [[1.0, -1.0], [-1.0, 1.0]] {
            let moved = given.iter().enumerate().map(|(k, item)| item.moved(signs[k % 2])).collect::<Result<Vec<_>>>()?;
            let moved = single.eval(&moved.iter().collect::<Vec<_>>(), Mode::Oracle)?;
            error.iter_mut().zip(difference(&moved)?).for_each(|(e, d)| *e = e.max(d));
        }
        return Ok(Uncertain { value, error });
    }
    for &k in &uncertain {
        let mut worst = vec![0f64; at.len()];
        for sign in [1.0, -1.0] {
            let moved = given[k].moved(sign)?;
            let mut inputs = centre.clone();
            inputs[k] = &moved;
            worst.iter_mut().zip(difference(&single.eval(&inputs, Mode::Oracle)?)?).for_each(|(e, d)| *e = e.max(d));
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
            let own =
                if counted.arithmetic > 0.0 { counted.arithmetic * (UNIT_F32 * rounding(step.row.name, &args, *v) + f32::MIN_POSITIVE as f64) } else { 0.0 };
            *e += own + (counted.reference + stored) * v.abs();
        }
    }
    Ok(Uncertain { value, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::pointwise::table;

    fn operand(values: &[f64], error: f64) -> Uncertain {
        Uncertain { value: Tensor::new([values.len()], values.to_vec()).unwrap(), error: vec![error; values.len()] }
    }

    #[test]
    fn errors_follow_the_function() {
        let none = Rounding { arithmetic: 0.0, reference: 0.0 };
        let result = propagate(&Pointwise::of(&table::RELU, 1, &[]), &[operand(&[-1.0, 2.0], 1e-3)], none).unwrap();
        assert_eq!(result.error[0], 0.0);
        assert!((result.error[1] - 1e-3).abs() < 1e-12);
        let product = propagate(&Pointwise::of(&table::MUL, 2, &[]), &[operand(&[3.0], 1e-3), operand(&[-5.0], 0.0)], none).unwrap();
        assert!((product.error[0] - 5e-3).abs() < 1e-12);
    }

    #[test]
    fn a_comparison_is_open_within_the_margin_alone() {
        let none = Rounding { arithmetic: 0.0, reference: 0.0 };
        let less = propagate(&Pointwise::of(&table::LESS, 2, &[]), &[operand(&[1.0, 1.0], 1e-3), operand(&[1.001, 2.0], 1e-3)], none).unwrap();
        assert_eq!(less.error, [1.0, 0.0]);
    }
}
