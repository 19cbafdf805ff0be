//! Control flow: operators that run graphs.

pub mod if_;
pub mod loop_;
pub mod scan;
pub mod sequence_map;

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::Body;
use crate::tensor::{DType, Tensor};
use crate::value::Value;
use std::ops::Range;
use std::sync::Arc;

/// How an operator runs its graphs, where all that they work on are tensors. The values that a graph reads
/// from around it follow its other inputs.
#[derive(Debug, Clone, Copy)]
pub enum ControlFlow<'a> {
    /// The first graph where input 0, the condition, holds, else the second.
    If,
    /// A graph turn by turn: see [`loop_`].
    Loop(&'a loop_::Loop),
    /// A graph over slices: see [`scan`].
    Scan(&'a scan::Scan),
}

/// The turns that a loop may take unless `SARDONYX_LOOP_LIMIT` says another number: one that doesn't end is
/// an error then.
const TURNS: i64 = 10_000_000;

/// The inputs of a node from `own` on: what its bodies read of the graphs around them.
fn captured(inputs: Operands<'_, Value>, own: usize) -> Vec<Value> {
    inputs.skip(own).present().cloned().collect()
}

/// Errors unless a body has this many inputs, the captured ones left out, and outputs.
fn check_counts(
    name: &str,
    body: &Arc<dyn Body>,
    captures: usize,
    inputs: usize,
    outputs: usize,
) -> Result<()> {
    let found = (body.inputs().saturating_sub(captures), body.outputs());
    if found == (inputs, outputs) {
        return Ok(());
    }
    Err(Error::model(format!(
        "the graph '{name}' has {} inputs and {} outputs where {inputs} and {outputs} belong",
        found.0, found.1
    ))
    .remedy("export the model again: the graph and its node contradict each other"))
}

/// What a body makes of one turn. The values of `given` in `carried` are those that it makes from `next` on for
/// the turn after. `own`: the node's inputs before those that the body reads around it; `turn` is what messages
/// call one.
fn infer_turn(
    body: &dyn Body,
    given: &[Fact],
    carried: Range<usize>,
    next: usize,
    own: usize,
    turn: &str,
) -> Result<Vec<Fact>, Infer> {
    let made = body.infer(given).map_err(|problem| match problem {
        Infer::NeedsValue(index) if index >= own => Infer::NeedsValue(index),
        Infer::NeedsValue(_) => Infer::DependsOnData(format!(
            "a shape in its graph depends on the {turn}, which only a run knows"
        )),
        other => other,
    })?;
    let changes =
        |(before, after): (&Fact, &Fact)| before.dtype != after.dtype || before.shape != after.shape;
    if given.get(carried).unwrap_or_default().iter().zip(made.iter().skip(next)).any(changes) {
        return Err(Infer::DependsOnData(format!("a carried value changes its shape from {turn} to {turn}")));
    }
    Ok(made)
}

/// A turn's number or condition, with as many axes as the graph declares.
pub(crate) fn counter(body: &dyn Body, index: usize, value: Tensor) -> Result<Tensor> {
    let axes = body.input_rank(index).filter(|&rank| rank == 1).unwrap_or(0);
    value.reshape(vec![1; axes])
}

/// The error of a loop that took as many turns as it may.
pub(crate) fn endless(turns: i64) -> Error {
    Error::unsupported(format!("the loop has not ended after {turns} turns"))
        .remedy("allow more with SARDONYX_LOOP_LIMIT=TURNS, if the model is right")
}

/// Tensors of one type and shape, side by side along a new axis that comes first. `declared`: an output of
/// which there may be none, in a body.
pub(crate) fn stack(parts: &[Tensor], body: &dyn Body, output: usize, mode: EvalPrecision) -> Result<Tensor> {
    let Some(first) = parts.first() else {
        let (dtype, shape) = body.declared(output).ok_or_else(|| {
            Error::model(format!("output {output} of the graph has no type, and no turn made one"))
                .remedy("export the model with types of the graph's outputs")
        })?;
        let shape: Vec<usize> = std::iter::once(0).chain(shape).collect();
        return match mode.of(dtype) {
            DType::String => Tensor::strings(shape, vec![]),
            dtype => Tensor::from_bytes(dtype, shape, &[]),
        };
    };
    if let Some(other) =
        parts.iter().find(|part| part.shape() != first.shape() || part.dtype() != first.dtype())
    {
        return Err(Error::input(format!(
            "output {output} of the graph is {}{:?} in one turn and {}{:?} in another: they can't be stacked",
            first.dtype(),
            first.shape(),
            other.dtype(),
            other.shape()
        )));
    }
    let shape: Vec<usize> = std::iter::once(parts.len()).chain(first.shape().iter().copied()).collect();
    Tensor::chain(&parts.iter().collect::<Vec<_>>())?.reshape(shape)
}

/// How many turns a loop may take: [`TURNS`], or what the environment says.
pub(crate) fn turn_limit() -> Result<i64> {
    let Some(text) = std::env::var_os("SARDONYX_LOOP_LIMIT") else { return Ok(TURNS) };
    text.to_str().and_then(|text| text.trim().parse().ok()).filter(|&turns: &i64| turns >= 0).ok_or_else(
        || {
            Error::usage(format!(
                "SARDONYX_LOOP_LIMIT is '{}', not a number of turns",
                text.to_string_lossy()
            ))
            .remedy("set it to a number such as 1000000, or unset it")
        },
    )
}
