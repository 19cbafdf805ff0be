//! Inputs that hold one number: a size, an axis, a threshold.

use crate::base::{Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Errors unless a tensor has one element, of whatever rank.
fn one(tensor: &Tensor, what: &str) -> Result<()> {
    match tensor.len() {
        1 => Ok(()),
        count => Err(Error::model(format!("{what} has {count} elements; one is needed"))),
    }
}

/// The one element of a tensor of integers; `what` says what it is.
pub fn whole(tensor: &Tensor, what: &str) -> Result<i64> {
    one(tensor, what)?;
    tensor.to_i64s()?.first().copied().ok_or_else(|| Error::internal("a tensor without its element"))
}

/// The one element of a tensor of numbers.
pub fn real(tensor: &Tensor, what: &str) -> Result<f64> {
    one(tensor, what)?;
    tensor.to_f64s()?.first().copied().ok_or_else(|| Error::internal("a tensor without its element"))
}

/// The one integer of an input that a shape depends on.
pub fn known(inputs: Operands<'_, Fact>, index: usize, what: &str) -> Result<i64, Infer> {
    match &inputs.required(index)?.value {
        Some(value) => Ok(whole(value, what).map_err(|error| error.of_input(index))?),
        None => Err(Infer::NeedsValue(index)),
    }
}

/// The same for an input that may be left out.
pub fn optionally_known(inputs: Operands<'_, Fact>, index: usize, what: &str) -> Result<Option<i64>, Infer> {
    inputs.optional(index).map(|_| known(inputs, index, what)).transpose()
}

/// A number that is a size.
pub fn size(number: i64, what: &str) -> Result<usize> {
    usize::try_from(number)
        .ok()
        .filter(|&size| size <= i32::MAX as usize)
        .ok_or_else(|| Error::model(format!("{what} is {number}: sizes can't be negative or beyond int32")))
}
