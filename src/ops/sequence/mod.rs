//! Sequences and optionals.

pub mod concat_from;
pub mod construct;
pub mod edit;
pub mod optional;
pub mod split_to;

/// The [`Operator`](crate::ops::Operator) of an operator on values: nothing is known of its results before a
/// run, and no tensor form of it is another.
macro_rules! on_values_alone {
    ($name:ty) => {
        impl crate::ops::Operator for $name {
            fn infer(
                &self,
                _inputs: crate::base::Operands<'_, crate::base::Fact>,
            ) -> Result<Vec<crate::base::Fact>, crate::base::Infer> {
                Err(crate::ops::values::no_tensors())
            }
            fn eval(
                &self,
                inputs: crate::base::Operands<'_, crate::tensor::Tensor>,
                mode: crate::base::EvalPrecision,
            ) -> Result<Vec<crate::tensor::Tensor>> {
                crate::ops::values::eval_tensors(self, inputs, mode)
            }
            fn on_values(&self) -> Option<&dyn crate::ops::OnValues> {
                Some(self)
            }
        }
    };
}
pub(crate) use on_values_alone;

use crate::error::{Error, Result};
use crate::value::Value;

/// A position in a sequence of `count` items, counted from the end where it is negative. `last`: whether
/// behind the last item is one too.
fn position(value: &Value, count: usize, last: bool, input: usize) -> Result<usize> {
    let index = crate::ops::values::scalar(value, input)?;
    let end = count + usize::from(last);
    let at = if index < 0 { index.checked_add(count as i64) } else { Some(index) };
    at.and_then(|at| usize::try_from(at).ok()).filter(|&at| at < end).ok_or_else(|| {
        Error::input(format!("position {index} lies outside a sequence of {count} items")).of_input(input)
    })
}
