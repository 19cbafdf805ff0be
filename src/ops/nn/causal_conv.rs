//! [CausalConvWithState](https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html), version 27: a
//! convolution of each channel by itself over what lies before, whose last elements are handed on.
//!
//! Inputs: X `[n, c, length]`, weights `[c, 1, k]`, and optionally a bias `[c]` and the state before,
//! `[n, c, k − 1]`, zeros where it is left out. Outputs: Y, and the state behind it.

use crate::base::{EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::kernels::causal_conv::{CausalConv, emit};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::{Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "CausalConvWithState", since: 27, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct CausalConvWithState {
    /// Each result x becomes x · sigmoid(x).
    silu: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=4)?;
    let silu = node.choice("activation", "none", &["none", "silu", "swish"])? != "none";
    Ok(Arc::new(CausalConvWithState { silu }))
}

/// The shape of the state.
fn check(x: &[usize], w: &[usize], bias: Option<&[usize]>, past: Option<&[usize]>) -> Result<[usize; 3]> {
    if let ([n, c, _], [channels, 1, k]) = (x, w)
        && c == channels
        && *k > 0
        && bias.is_none_or(|bias| bias == [*c])
        && past.is_none_or(|past| past == [*n, *c, k - 1])
    {
        return Ok([*n, *c, k - 1]);
    }
    Err(Error::model(format!(
        "an input {x:?}, weights {w:?}, a bias {bias:?} and a state {past:?} are not [n, c, length], \
         [c, 1, k], [c] and [n, c, k - 1]"
    )))
}

impl Operator for CausalConvWithState {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let shape = |index: usize| inputs.optional(index).map(|fact| &fact.shape[..]);
        let state = check(&x.shape, &inputs.required(1)?.shape, shape(2), shape(3))?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone()), Fact::new(x.dtype, state)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, w) = (inputs.required(0)?, inputs.required(1)?);
        let shape = |index: usize| inputs.optional(index).map(Tensor::shape);
        let state = check(x.shape(), w.shape(), shape(2), shape(3))?;
        let ([n, channels, kept], length) = (state, x.shape()[2]);
        let list = |index: usize| inputs.optional(index).map(Tensor::to_f64s).transpose();
        let (xs, ws, bias, past) = (x.to_f64s()?, w.to_f64s()?, list(2)?, list(3)?);
        let mut ys: Vec<f64> = allocate(x.len())?;
        let handed_on = element_count(&state)?;
        let mut states: Vec<f64> = allocate(handed_on)?;
        let mut line: Vec<f64> = allocate(kept.saturating_add(length))?;
        let rows = if x.is_empty() && handed_on == 0 { 0 } else { n * channels };
        for row in 0..rows {
            line.clear();
            match &past {
                Some(past) => line.extend(&past[row * kept..][..kept]),
                None => line.resize(kept, 0.0),
            }
            line.extend(&xs[row * length..][..length]);
            let channel = row % channels;
            let (weights, shift) =
                (&ws[channel * (kept + 1)..][..kept + 1], bias.as_ref().map_or(0.0, |bias| bias[channel]));
            for seen in line.windows(kept + 1) {
                let y = seen.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() + shift;
                ys.push(if self.silu { y / (1.0 + (-y).exp()) } else { y });
            }
            states.extend(&line[length..]);
        }
        let made = [Tensor::new(x.shape(), ys)?, Tensor::new(state, states)?];
        made.iter().map(|tensor| cast(tensor, x.dtype(), true)).collect()
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn output_expression(&self, output: usize, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let (x, w, past) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(3));
        let shape = |index: usize| inputs.optional(index).map(Tensor::shape);
        let state = check(x.shape(), w.shape(), shape(2), shape(3))?;
        let (kept, length) = (state[2], x.shape()[2]);
        // The elements of every line from `first` on, of data and the state before one after the other.
        let from = match past {
            Some(past) => Tensor::chain(&[x, &past.reshape([past.len()])?])?,
            None => x.clone(),
        };
        let of_lines = |first: usize, count: usize| {
            from.pick([state[0], state[1], count], |at| {
                let (row, place) = (at / count, at % count + first);
                match place.checked_sub(kept) {
                    Some(place) => Some(row * length + place),
                    None => past.map(|_| x.len() + row * kept + place),
                }
            })
        };
        if output == 1 {
            let operands = vec![(of_lines(length, kept)?, 0)];
            return Ok(Some(Spread { expression: Pointwise::identity(), operands }));
        }
        let taps = kept + 1;
        let (mut operands, channels) = (vec![], state[1]);
        for tap in 0..taps {
            operands.push((of_lines(tap, length)?, 0));
            operands.push((w.pick([channels, 1], |channel| Some(channel * taps + tap))?, 1));
        }
        let biased = inputs.optional(2);
        if let Some(bias) = biased {
            operands.push((bias.reshape([channels, 1])?, 2));
        }
        let mut steps = Pointwise { operands: operands.len(), steps: vec![] };
        let mut sum = steps.push(&table::MUL, vec![Arg::Operand(0), Arg::Operand(1)]);
        for tap in 1..taps {
            let term = steps.push(&table::MUL, vec![Arg::Operand(2 * tap), Arg::Operand(2 * tap + 1)]);
            sum = steps.push(&table::ADD, vec![sum, term]);
        }
        if biased.is_some() {
            sum = steps.push(&table::ADD, vec![sum, Arg::Operand(2 * taps)]);
        }
        if self.silu {
            steps.push(&table::SILU, vec![sum]);
        }
        Ok(Some(Spread { expression: steps, operands }))
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let taps = inputs.optional(1).and_then(|w| w.shape.last().copied()).unwrap_or(1) as u64;
        outputs.first().map_or(0, |out| taps.saturating_mul(2 * out.count() as u64))
    }
}

impl Lower for CausalConvWithState {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let fact = at.fact(0)?.clone();
        for index in (1..4).filter(|&index| at.has_input(index)) {
            if at.fact(index)?.dtype != fact.dtype {
                return Err(Unsupported::new("inputs of several types"));
            }
        }
        let taps = at.fact(1)?.shape.last().copied().unwrap_or(1);
        let (kept, length) = (taps - 1, fact.shape.last().copied().unwrap_or(0));
        if fact.count() == 0 {
            return Err(Unsupported::new("a signal without elements"));
        }
        let given = at.view(0)?;
        let input = at.in_layout(given.clone(), Layout::Rows4)?;
        let weights = at.input(1, Layout::Dense)?;
        let bias = at.optional_input(2, Layout::Dense)?;
        let past = at.optional_input(3, Layout::Dense)?.filter(|_| kept > 0);
        let output = at.output(0, Layout::Rows4)?;
        let conv = CausalConv { input, output, weights, bias, past, silu: self.silu };
        emit(at, storage, &conv)?;
        if !at.has_output(1) {
            return Ok(());
        }
        // The last elements of each line: of the data alone where that is long enough.
        let mut last = given;
        let mine = kept.min(length);
        last.offset = last.offset.wrapping_add_signed((length - mine) as isize * last.strides[2]);
        last.shape[2] = mine;
        if mine == kept {
            at.alias(1, last);
            return Ok(());
        }
        let state = at.output(1, Layout::Rows4)?;
        let (mut older, mut newer) = (state.clone(), state);
        older.shape[2] = kept - mine;
        newer.shape[2] = mine;
        newer.offset = newer.offset.wrapping_add_signed((kept - mine) as isize * newer.strides[2]);
        let mut before = match conv.past {
            Some(past) => past,
            None => {
                let shape = [fact.shape[0], fact.shape[1], kept];
                at.filled("no state", &Tensor::scalar(0f32), fact.dtype, &shape)?
            }
        };
        before.offset = before.offset.wrapping_add_signed(mine as isize * before.strides[2]);
        before.shape[2] = kept - mine;
        at.copy(&before, &older)?;
        at.copy(&last, &newer)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 7]), Floats(&[3, 1, 4])]).at(27).outputs(2),
    case(
        &[("activation", Text("silu"))],
        &[Floats(&[1, 5, 2]), Floats(&[5, 1, 4]), Floats(&[5]), Floats(&[1, 5, 3])],
    )
    .at(27)
    .outputs(2),
    case(&[], &[Floats(&[2, 2, 3]), Floats(&[2, 1, 1]), Floats(&[2])]).at(27),
    case(&[("activation", Text("swish"))], &[Floats(&[1, 1, 9]), Floats(&[1, 1, 3]), Floats(&[1])])
        .at(27)
        .outputs(2),
    case(&[], &[Floats(&[2, 3, 1]), Floats(&[3, 1, 4]), Absent, Floats(&[2, 3, 3])]).at(27).outputs(2),
];
