//! How far a linear attention may be off: the same steps over numbers with their errors, each step's carried
//! on into the next.

use super::bounds::{Input, ReferenceRounding, leaves_range};
use super::measure::Allowed;
use super::{SAFETY_FACTOR, accuracy};
use crate::base::UNIT_F32;
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::ops::nn::linear_attention::LinearAttention;
use crate::ops::nn::linear_attention::walk::{Given, Number};

/// A number, how far it may be off, and whether anything on its way may leave float32's range.
#[derive(Debug, Clone, Copy)]
struct Off {
    value: f64,
    error: f64,
    open: bool,
    /// What an operation loses, relative.
    unit: f64,
}

impl Off {
    /// A result of `value` that `brought` is off by already, computed of two numbers with `roundings`.
    fn made(self, other: Off, value: f64, brought: f64, roundings: f64) -> Self {
        let unit = self.unit.max(other.unit);
        let size = value.abs() + brought;
        let lost = if unit > 0.0 { unit * roundings * size + f32::MIN_POSITIVE as f64 } else { 0.0 };
        let error = if value.is_finite() { brought + lost } else { 0.0 };
        let open = self.open || other.open || value.is_finite() && leaves_range(size);
        Off { value, error: if error.is_nan() { f64::INFINITY } else { error }, open, unit }
    }
}

impl Number for Off {
    const ZERO: Off = Off { value: 0.0, error: 0.0, open: false, unit: 0.0 };
    fn plus(self, other: Off) -> Off {
        self.made(other, self.value + other.value, self.error + other.error, 1.0)
    }
    fn minus(self, other: Off) -> Off {
        self.made(other, self.value - other.value, self.error + other.error, 1.0)
    }
    fn times(self, other: Off) -> Off {
        let part = |factor: f64, error: f64| if error == 0.0 { 0.0 } else { factor.abs() * error };
        let brought =
            part(self.value, other.error) + part(other.value, self.error) + part(self.error, other.error);
        self.made(other, self.value * other.value, brought, 1.0)
    }
    fn exponential(self) -> Off {
        let value = self.value.exp();
        let brought = if self.error == 0.0 { 0.0 } else { value * self.error.exp_m1() };
        self.made(self, value, brought, accuracy::exponential(self.value))
    }
}

/// The numbers of an output with what they are off by, where an operation loses `unit`.
fn errors(op: &LinearAttention, inputs: &[Option<Input>], index: usize, unit: f64) -> Result<Vec<Off>> {
    let input = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let list = |index: usize| -> Result<Option<Vec<Off>>> {
        let Some(input) = input(index) else { return Ok(None) };
        let numbers = input.value.to_f64s()?.into_iter().zip(input.errors()?);
        Ok(Some(numbers.map(|(value, error)| Off { value, error, open: false, unit }).collect()))
    };
    let needed = |index: usize| list(index)?.ok_or_else(|| Error::internal("an input is missing"));
    let sizes = op.sizes(std::array::from_fn(|index| input(index).map(|input| input.value.shape())))?;
    let given = Given {
        queries: needed(0)?,
        keys: needed(1)?,
        values: needed(2)?,
        past: list(3)?,
        decay: list(4)?,
        beta: list(5)?,
    };
    // The factor is rounded to float32.
    let factor = op.factor(sizes.depth);
    let scale = Off { value: factor, error: unit * factor.abs(), open: false, unit };
    let (read, states) = op.walk(&sizes, given, scale)?;
    Ok(if index == 0 { read } else { states })
}

/// What output `index` of a linear attention is held to.
pub fn linear_attention(
    node: &Node,
    index: usize,
    inputs: &[Option<Input>],
    own: ReferenceRounding,
) -> Result<Allowed> {
    // By type: the steps are the operator's own.
    let op = node.op.downcast::<LinearAttention>();
    let op = op.ok_or_else(|| Error::internal("the bound of a linear attention for another operator"))?;
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let brought = errors(op, inputs, index, 0.0)?;
    let all = errors(op, inputs, index, SAFETY_FACTOR * sides * UNIT_F32)?;
    let scaled = all.iter().zip(&brought);
    let scaled =
        scaled.map(|(all, brought)| ((all.error - brought.error) / SAFETY_FACTOR).max(0.0)).collect();
    let open: Vec<bool> = all.iter().map(|number| number.open).collect();
    // What may be anything is held to nothing.
    let fixed = brought.iter().zip(&open);
    let fixed = fixed.map(|(brought, &open)| if open { f64::INFINITY } else { brought.error }).collect();
    Ok(Allowed::new(fixed, scaled, "running error of the steps + storage rounding").with_open(open))
}
