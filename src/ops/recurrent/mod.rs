//! Recurrent networks of one layer: what RNN, GRU and LSTM share.
//!
//! Each runs over a sequence forwards, in reverse, or both ways by weights of their own. A step makes the
//! next state of the input at that step and the last state: products of both by the gates' weights, then
//! equations that are elementwise, an expression each.

pub mod activation;
mod float32;
pub mod gru;
mod lower;
pub mod lstm;
pub mod rnn;
pub mod sequence;
pub mod sizes;
pub mod steps;
pub mod values;

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::cpu_kernels::panels::{Packed, Panels};
use crate::error::{Error, Result};
use crate::ops::{Engine, Lower, NodeView, Operator};
use crate::tensor::{DType, Tensor, element_count};
use crate::threads::try_parallel_for;
use activation::Activation;
use sequence::Sequence;
use sizes::Sizes;
use std::sync::{Arc, Mutex, PoisonError};
use steps::{Equations, Run};
use values::Values;

/// What a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Rnn,
    Gru {
        /// Whether the reset gate comes after the product of the state, and not before.
        linear_before_reset: bool,
    },
    Lstm {
        /// Whether what the input gate lets in is what is forgotten.
        input_forget: bool,
    },
}

impl Cell {
    pub fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru { .. } => 3,
            Cell::Lstm { .. } => 4,
        }
    }
    /// Tensors of a state: h, and an LSTM's c.
    pub fn states(self) -> usize {
        1 + usize::from(matches!(self, Cell::Lstm { .. }))
    }
    fn activations(self) -> &'static [&'static str] {
        match self {
            Cell::Rnn => &["Tanh"],
            Cell::Gru { .. } => &["Sigmoid", "Tanh"],
            Cell::Lstm { .. } => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// A recurrent network.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    pub cell: Cell,
    /// Whether each direction runs in reverse: one or two.
    pub reverse: Vec<bool>,
    pub hidden: Option<usize>,
    /// Each direction's, one after the other.
    pub activations: Vec<Activation>,
    /// The ends ± of what goes into an activation.
    pub clip: Option<f32>,
    /// Whether the batch is the outermost axis, not the sequence.
    pub batch_first: bool,
}

/// Reads the attributes that the three share.
pub fn parse(node: &mut NodeView, cell: Cell) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=if cell.states() == 2 { 8 } else { 6 })?;
    // Version 1 could leave the first output out by this.
    node.ignore(&["output_sequence"]);
    let reverse =
        match node.choice("direction", "forward", &["forward", "reverse", "bidirectional"])?.as_str() {
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            _ => vec![false],
        };
    let clip = node.optional_float("clip")?.filter(|&clip| clip != 0.0);
    if let Some(clip) = clip.filter(|&clip| clip.is_nan() || clip < 0.0) {
        return Err(Error::model(format!("attribute 'clip' is {clip}: a threshold is positive")));
    }
    let hidden = node.optional_int("hidden_size")?;
    let hidden = hidden.map(usize::try_from).transpose().ok().flatten().or_else(|| hidden.map(|_| 0));
    if hidden == Some(0) {
        return Err(Error::model("attribute 'hidden_size' must be positive"));
    }
    let activations = Activation::parse(node, cell.activations(), reverse.len())?;
    let batch_first = node.flag("layout", false)?;
    Ok(Arc::new(Recurrent { cell, reverse, hidden, activations, clip, batch_first }))
}

impl Recurrent {
    /// The equations of a direction.
    pub fn equations(&self, direction: usize, peepholes: bool) -> Equations {
        let count = self.cell.activations().len();
        Equations::of(self.cell, &self.activations[direction * count..][..count], self.clip, peepholes)
    }

    /// The outputs: Y, Y_h, and an LSTM's Y_c.
    fn computed(
        &self,
        inputs: Operands<'_, Tensor>,
        panels: Option<&[Panels]>,
        mode: EvalPrecision,
    ) -> Result<Vec<Tensor>> {
        let shapes = |index: usize| inputs.optional(index).map(Tensor::shape);
        let sizes = Sizes::of(self, &shapes)?;
        let sequence = Sequence::of(&sizes, self.batch_first, inputs.optional(4))?;
        let dtype = inputs.required(0)?.dtype();
        let direction = |direction: usize| {
            let equations = self.equations(direction, inputs.optional(7).is_some());
            if let Some(panels) = panels {
                let count = float32::matrices(self.cell);
                let own = panels.get(direction * count..(direction + 1) * count).unwrap_or_default();
                let run = float32::run(self, inputs, &sequence, direction, own, &equations)?;
                if let Some(run) = run {
                    return Ok(run);
                }
            }
            let values = Values::of(self, inputs, &sequence, direction, mode)?;
            let initial = (0..self.cell.states())
                .map(|state| sequence.initial(dtype, inputs.optional(5 + state), direction))
                .collect::<Result<Vec<_>>>()?;
            equations.run(&values, sequence.steps(), initial)
        };
        // A step is too small to be shared among threads; directions know nothing of each other.
        let runs: Vec<Mutex<Option<Run<Tensor>>>> = self.reverse.iter().map(|_| Mutex::default()).collect();
        try_parallel_for(runs.len(), |index| {
            *runs[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(direction(index)?);
            Ok(())
        })?;
        let (mut made, mut last) = (vec![], vec![]);
        for (&reverse, run) in self.reverse.iter().zip(runs) {
            let run = run.into_inner().unwrap_or_else(PoisonError::into_inner);
            let (hidden, state) = run.ok_or_else(|| Error::internal("a direction was left out"))?;
            made.push((reverse, hidden));
            last.push(state);
        }
        let mut outputs = vec![sequence.joined(dtype, &made)?];
        for state in 0..self.cell.states() {
            let parts: Vec<&Tensor> = last.iter().filter_map(|states| states.get(state)).collect();
            outputs.push(sequence.last(&parts)?);
        }
        Ok(outputs)
    }
}

impl Operator for Recurrent {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if !x.dtype.is_float() {
            return Err(Error::model(format!("{} is not a type of this operator", x.dtype)).into());
        }
        for index in (1..inputs.len()).filter(|&index| index != 4) {
            if let Some(other) = inputs.optional(index).filter(|other| other.dtype != x.dtype) {
                return Err(Error::model(format!(
                    "its inputs are of several types: {} and {}",
                    x.dtype, other.dtype
                ))
                .remedy("convert the model anew, in one precision")
                .into());
            }
        }
        if let Some(lengths) = inputs.optional(4).filter(|lengths| !lengths.dtype.is_integer()) {
            return Err(
                Error::model(format!("the sequences' lengths are {}, not int32", lengths.dtype)).into()
            );
        }
        let shapes = |index: usize| inputs.optional(index).map(|fact| &fact.shape[..]);
        let s = Sizes::of(self, &shapes)?;
        let (all, last) = if self.batch_first {
            (vec![s.batch, s.steps, s.directions, s.hidden], vec![s.batch, s.directions, s.hidden])
        } else {
            (vec![s.steps, s.directions, s.batch, s.hidden], vec![s.directions, s.batch, s.hidden])
        };
        let mut outputs = vec![Fact::new(x.dtype, all)];
        outputs.extend((0..self.cell.states()).map(|_| Fact::new(x.dtype, last.clone())));
        Ok(outputs)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        self.computed(inputs, None, mode)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn recurrent(&self) -> Option<&Recurrent> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Recurrent
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let [x, r] = [0, 2].map(|index| inputs.optional(index).and_then(|fact| fact.shape.last().copied()));
        let (input, hidden) = (x.unwrap_or(0) as u64, r.unwrap_or(0) as u64);
        let made = outputs.first().map_or(0, |all| all.count() as u64);
        made.saturating_mul(2 * self.cell.gates() as u64).saturating_mul(input.saturating_add(hidden))
    }
}

impl Engine for Recurrent {
    fn weights(&self) -> &'static [usize] {
        &[1, 2]
    }

    /// Each direction's weights in panels.
    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        let (Some(w), Some(r)) = (inputs.optional(1), inputs.optional(2)) else { return Ok(None) };
        let (&[directions, rows, _], &[_, other, hidden]) = (w.shape(), r.shape()) else { return Ok(None) };
        let fits = rows == other && Some(rows) == hidden.checked_mul(self.cell.gates());
        if w.dtype() != DType::F32
            || r.dtype() != DType::F32
            || !fits
            || directions != r.shape()[0]
            || hidden == 0
        {
            return Ok(None);
        }
        let (gates, input) = (self.cell.gates(), w.shape()[2]);
        let rows = element_count(&[gates, hidden])?;
        let (w, r) = (w.as_slice::<f32>()?, r.as_slice::<f32>()?);
        let mut list = vec![];
        for direction in 0..directions {
            let own = [(w, input), (r, hidden)].map(|(all, k)| &all[direction * rows * k..][..rows * k]);
            list.extend(float32::pack(own, self.cell, input, hidden)?);
        }
        Ok(Some(Packed::Panels(list)))
    }

    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        if inputs.required(0)?.dtype() != DType::F32 {
            return Ok(None);
        }
        let own = if packed.is_none() { self.pack(inputs)? } else { None };
        match packed.or(own.as_ref()) {
            Some(Packed::Panels(panels)) => self.computed(inputs, Some(panels), mode).map(Some),
            _ => Ok(None),
        }
    }
}
