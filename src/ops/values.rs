//! Operators on values that needn't be tensors, and on graphs: what beside [`Operator`] they implement.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::ops::control::ControlFlow;
use crate::tensor::{DType, Tensor};
use crate::value::Value;
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// An operator that takes or makes sequences, optionals or maps, or runs graphs. The CPU runs it, but where it
/// says how its graphs run ([`OnValues::control_flow`]): a session then runs those where it runs.
pub trait OnValues {
    /// The reference, as [`Operator::eval`] is of tensors. Results are rounded as the graphs or the operands
    /// that they come from were.
    fn eval_values(&self, inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>>;

    /// The node's inputs before those that its graphs read of the graphs around it.
    fn own_inputs(&self) -> usize {
        usize::MAX
    }

    /// The graphs that the operator runs.
    fn bodies(&self) -> &[Arc<dyn Body>] {
        &[]
    }

    /// The same operator with other graphs of the same inputs and outputs.
    fn with_bodies(&self, _bodies: Vec<Arc<dyn Body>>) -> Option<Arc<dyn Operator>> {
        None
    }

    /// The types and shapes of the outputs where they are the same whatever the input is whose elements
    /// [`Operator::infer`] asks for.
    fn infer_undecided(&self, _inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Err(Infer::DependsOnData("its shape depends on what only a run can know".into()))
    }

    /// How the graphs run, for who runs them elsewhere than on the CPU; `None` where only
    /// [`OnValues::eval_values`] knows.
    fn control_flow(&self) -> Option<ControlFlow<'_>> {
        None
    }

    /// The one of [`OnValues::bodies`] that stands for the whole operator where its first input is this: it
    /// takes the values from around it alone. `None`: it is none of them.
    fn taken(&self, _decides: &Tensor) -> Option<usize> {
        None
    }
}

/// A graph that a node holds: a branch, or what a loop does in a turn. Its inputs are those that it declares,
/// then the values of the graphs around it that the node's bodies read: the node has those as inputs behind
/// its own.
pub trait Body: Any + Debug + Send + Sync {
    /// The number of inputs, values from around it included.
    fn inputs(&self) -> usize;
    /// The number of outputs.
    fn outputs(&self) -> usize;
    /// The number of axes that it declares of an input.
    fn input_rank(&self, index: usize) -> Option<usize>;
    /// The element type that it declares of an output, and the sizes; those that it leaves open are 0.
    fn declared(&self, output: usize) -> Option<(DType, Vec<usize>)>;
    /// Runs it. Errors name the node inside.
    fn eval(&self, inputs: Vec<Value>, mode: EvalPrecision) -> Result<Vec<Value>>;
    /// The types and shapes of the outputs. [`Infer::NeedsValue`] has the number of one of these inputs.
    fn infer(&self, inputs: &[Fact]) -> Result<Vec<Fact>, Infer>;
    /// Whether anything in it is drawn at random.
    fn is_random(&self) -> bool;
    /// Whether all that it works on are tensors, in graphs of its nodes too.
    fn on_tensors_alone(&self) -> bool;
}

impl dyn Body {
    /// The graph as its own type, for a pass that knows it.
    pub fn downcast<T: Body>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// The `eval` of an operator on values where all that goes in and comes out are tensors.
///
/// Errors: a result that is none.
pub fn eval_tensors(
    op: &dyn OnValues,
    inputs: Operands<'_, Tensor>,
    mode: EvalPrecision,
) -> Result<Vec<Tensor>> {
    let values: Vec<Option<Value>> =
        (0..inputs.len()).map(|index| inputs.optional(index).cloned().map(Value::from)).collect();
    let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    op.eval_values(Operands::new(&refs), mode)?.into_iter().map(Value::into_tensor).collect()
}

/// The one number or truth value of an input that is a scalar, or a list of one.
pub fn scalar(value: &Value, index: usize) -> Result<i64> {
    let tensor = value.tensor().map_err(|error| error.of_input(index))?;
    match tensor.to_i64s()?[..] {
        [one] => Ok(one),
        _ => Err(Error::input(format!("found shape {:?} where one element is needed", tensor.shape()))
            .of_input(index)),
    }
}

/// `infer` of what makes or takes something other than tensors.
pub fn no_tensors() -> Infer {
    Infer::DependsOnData("it works on values that are no tensors".into())
}
