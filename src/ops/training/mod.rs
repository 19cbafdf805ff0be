//! One step of training each: new values of any number of tensors from their gradients.
//!
//! Inputs: the learning rate, the number of steps before this one, then the tensors, their gradients and what
//! a method keeps of the steps before, each list in the tensors' order. Outputs: the same without the
//! gradients. The arithmetic is that of ONNX's text, in float64.

pub mod adagrad;
pub mod adam;
pub mod momentum;

use super::single;
use crate::base::{Fact, Operands};
use crate::error::{Error, Result};
use crate::ops::NodeView;
use crate::tensor::{Tensor, allocate, cast};

/// The domain of all of them.
const DOMAIN: &str = "ai.onnx.preview.training";

/// Errors unless a node has as many inputs as tensors with gradients and `kept` lists need.
fn expect_lists(node: &NodeView, kept: usize) -> Result<()> {
    let (count, each) = (node.inputs.len(), kept + 2);
    if count > 2 && (count - 2) % each == 0 {
        return Ok(());
    }
    Err(Error::model(format!("has {count} inputs; two and a multiple of {each} are needed")))
}

/// The outputs of one list of tensors and `kept` others.
fn infer(inputs: Operands<'_, Fact>, kept: usize) -> Result<Vec<Fact>> {
    let count = inputs.len().saturating_sub(2) / (kept + 2);
    let given = |list: usize, k: usize| inputs.required(2 + list * count + k);
    for (list, k) in (1..kept + 2).flat_map(|list| (0..count).map(move |k| (list, k))) {
        let (tensor, other) = (given(0, k)?, given(list, k)?);
        if (tensor.dtype, &tensor.shape) != (other.dtype, &other.shape) {
            return Err(Error::model(format!(
                "a tensor {}{:?} with a gradient or state {}{:?}",
                tensor.dtype, tensor.shape, other.dtype, other.shape
            )));
        }
    }
    let lists = std::iter::once(0).chain(2..kept + 2);
    lists
        .flat_map(|list| (0..count).map(move |k| (list, k)))
        .map(|(list, k)| given(list, k).map(|fact| Fact::new(fact.dtype, fact.shape.clone())))
        .collect()
}

/// Applies a step to every element: `step` takes the rate, the number of steps before, and an element's
/// value, gradient and `KEPT` others, and gives its new value and the new others.
fn eval<const KEPT: usize>(
    inputs: Operands<'_, Tensor>,
    step: impl Fn(f64, f64, f64, f64, [f64; KEPT]) -> (f64, [f64; KEPT]),
) -> Result<Vec<Tensor>> {
    let rate = single::real(inputs.required(0)?, "the learning rate")?;
    let before = single::whole(inputs.required(1)?, "the number of steps")? as f64;
    let count = inputs.len().saturating_sub(2) / (KEPT + 2);
    let mut made: Vec<Vec<Tensor>> = vec![vec![]; KEPT + 1];
    for k in 0..count {
        let tensor = inputs.required(2 + k)?;
        let lists = (0..KEPT + 2).map(|list| inputs.required(2 + list * count + k)?.to_f64s());
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let mut new: Vec<Vec<f64>> = (0..=KEPT).map(|_| allocate(tensor.len())).collect::<Result<_>>()?;
        for (at, (&x, &gradient)) in lists[0].iter().zip(&lists[1]).enumerate() {
            let kept = std::array::from_fn(|other| lists[2 + other][at]);
            let (value, others) = step(rate, before, x, gradient, kept);
            new[0].push(value);
            new[1..].iter_mut().zip(others).for_each(|(list, other)| list.push(other));
        }
        for (to, new) in made.iter_mut().zip(new) {
            to.push(cast(&Tensor::new(tensor.shape(), new)?, tensor.dtype(), true)?);
        }
    }
    Ok(made.concat())
}
