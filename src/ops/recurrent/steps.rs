//! The walk over a sequence, for whatever its steps are computed in.

use super::activation::Activation;
use super::{Cell, gru, lstm, rnn};
use crate::error::Result;
use crate::expression::Pointwise;

/// What steps are computed in: tensors, or such with their errors. All of one direction.
pub trait Steps {
    /// Numbers `[batch, hidden]`, or `[hidden]` where they are the same for the whole batch.
    type Array: Clone;

    /// An expression of numbers that broadcast together.
    fn apply(&self, expression: &Pointwise, operands: &[&Self::Array]) -> Result<Self::Array>;

    /// The input's part of a gate at a step: the product by W, with the biases.
    fn input(&self, gate: usize, step: usize) -> Result<Self::Array>;

    /// The product of a state by a gate of R.
    fn recurrent(&self, gate: usize, state: &Self::Array) -> Result<Self::Array>;

    /// The peephole weights of an LSTM's input, output and forget gate, where it has any.
    fn peephole(&self, gate: usize) -> Option<&Self::Array>;

    /// The bias of a GRU's hidden gate that the reset gate lies over.
    fn reset_bias(&self) -> &Self::Array;

    /// The new state, and the old one for sequences that are over.
    fn advance(&self, step: usize, old: &Self::Array, new: Self::Array) -> Result<Self::Array>;
}

/// A direction's equations, its activations among them.
pub enum Equations {
    Rnn(rnn::Equations),
    Gru(gru::Equations),
    Lstm(lstm::Equations),
}

/// The states after each step, and the last with what else it is made of.
pub type Run<A> = (Vec<A>, Vec<A>);

impl Equations {
    pub fn of(cell: Cell, activations: &[Activation], clip: Option<f32>, peepholes: bool) -> Self {
        match cell {
            Cell::Rnn => Self::Rnn(rnn::Equations::of(activations, clip)),
            Cell::Gru { linear_before_reset } => {
                Self::Gru(gru::Equations::of(activations, clip, linear_before_reset))
            }
            Cell::Lstm { input_forget } => {
                Self::Lstm(lstm::Equations::of(activations, clip, input_forget, peepholes))
            }
        }
    }

    /// What a step computes, in the order in which a step does: an LSTM's cell before its state, the reset of a
    /// GRU's before it, where it comes before the product.
    pub fn expressions(&self) -> Vec<&Pointwise> {
        match self {
            Self::Rnn(equations) => vec![&equations.hidden],
            Self::Gru(equations) => equations.reset.iter().chain([&equations.hidden]).collect(),
            Self::Lstm(equations) => vec![&equations.cell, &equations.hidden],
        }
    }

    /// Runs over all steps, from the first state on.
    pub fn run<S: Steps>(&self, steps: &S, count: usize, initial: Vec<S::Array>) -> Result<Run<S::Array>> {
        let (mut state, mut all) = (initial, vec![]);
        for step in 0..count {
            let next = match self {
                Self::Rnn(equations) => equations.step(steps, step, &state)?,
                Self::Gru(equations) => equations.step(steps, step, &state)?,
                Self::Lstm(equations) => equations.step(steps, step, &state)?,
            };
            let kept = state.iter().zip(next).map(|(old, new)| steps.advance(step, old, new));
            state = kept.collect::<Result<Vec<_>>>()?;
            all.extend(state.first().cloned());
        }
        Ok((all, state))
    }
}
