//! One step of training each: new values of any number of tensors from their gradients.
//!
//! Inputs: the learning rate, the number of steps before this one, then the tensors, their gradients and what
//! a method keeps of the steps before, each list in the tensors' order. Outputs: the same without the
//! gradients. The arithmetic is that of ONNX's text, in float64.

pub mod adagrad;
pub mod adam;
pub mod momentum;

use super::single;
use crate::base::{Fact, Layout, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::{Lowering, pointwise};
use crate::ops::{NodeView, Spread};
use crate::tensor::{DType, Tensor, allocate, cast};

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

/// A method's formulas, of the operands in [`RATE`]'s order.
trait Method {
    /// Lists that it keeps beside the tensors.
    const KEPT: usize;
    /// What list `list` of the outputs becomes: the tensors (0), or one of what is kept.
    fn formula(&self, list: usize) -> Pointwise;
}

/// The operands of a formula: the learning rate, the number of steps before, an element, its gradient, and
/// what is kept of it.
const RATE: Arg = Arg::Operand(0);
const BEFORE: Arg = Arg::Operand(1);
const VALUE: Arg = Arg::Operand(2);
const GRADIENT: Arg = Arg::Operand(3);
const FIRST_KEPT: Arg = Arg::Operand(4);
const SECOND_KEPT: Arg = Arg::Operand(5);

/// A gradient with that of the norm's square, which a coefficient of 0 leaves out, whatever the value.
fn regularised(norm: f64, value: f64, gradient: f64) -> f64 {
    if norm == 0.0 { gradient } else { norm * value + gradient }
}

/// A formula that has no steps yet but those of [`regularised`].
fn begin(kept: usize, norm: f64) -> (Pointwise, Arg) {
    let mut steps = Pointwise { operands: 4 + kept, steps: vec![] };
    if norm == 0.0 {
        return (steps, GRADIENT);
    }
    let own = steps.push(&table::MUL, vec![VALUE, Arg::Const(norm)]);
    let gradient = steps.push(&table::ADD, vec![own, GRADIENT]);
    (steps, gradient)
}

/// The number of steps before, at least 1 where `counted`, in float32.
fn before(steps: &mut Pointwise, counted: bool) -> Arg {
    let whole = if counted { steps.push(&table::MAX, vec![BEFORE, Arg::Const(1.0)]) } else { BEFORE };
    steps.push_cast(whole, DType::F32)
}

/// The inputs of a formula, for output `output` of so many.
fn operands(output: usize, count: usize, kept: usize) -> Vec<usize> {
    let k = output % count.max(1);
    [0, 1].into_iter().chain((0..kept + 2).map(|list| 2 + list * count + k)).collect()
}

/// How many tensors a node has.
fn tensors(inputs: usize, kept: usize) -> usize {
    inputs.saturating_sub(2) / (kept + 2)
}

/// The formula of an output over its inputs.
fn spread<M: Method>(method: &M, output: usize, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
    let count = tensors(inputs.len(), M::KEPT);
    let of = |index: usize| {
        let tensor = inputs.required(index)?;
        // The two numbers may come as lists of one.
        Ok((if index < 2 { tensor.reshape([])? } else { tensor.clone() }, index))
    };
    let operands = operands(output, count, M::KEPT).into_iter().map(of).collect::<Result<Vec<_>>>()?;
    Ok(Some(Spread { expression: method.formula(output / count.max(1)), operands }))
}

/// Emits every output that is asked for.
fn lower<M: Method>(method: &M, at: &mut dyn Lowering) -> Result<(), Unsupported> {
    let count = tensors(at.input_count(), M::KEPT);
    for output in 0..(M::KEPT + 1) * count {
        if !at.has_output(output) {
            continue;
        }
        let mut given = vec![];
        for index in operands(output, count, M::KEPT) {
            let (view, dtype) = (at.view(index)?, at.fact(index)?.dtype);
            let view =
                if index < 2 { view.reshaped_or(&[], "a learning rate or a number of steps")? } else { view };
            given.push((view, dtype));
        }
        pointwise::emit_output(at, &method.formula(output / count), &given, output, Layout::Dense)?;
    }
    Ok(())
}
