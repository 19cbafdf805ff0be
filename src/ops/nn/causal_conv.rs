//! [CausalConvWithState](https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html), version 27: a
//! convolution of each channel by itself over what lies before, whose last elements are handed on.
//!
//! Inputs: X `[n, c, length]`, weights `[c, 1, k]`, and optionally a bias `[c]` and the state before,
//! `[n, c, k − 1]`, zeros where it is left out. Outputs: Y, and the state behind it.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
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

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let taps = inputs.optional(1).and_then(|w| w.shape.last().copied()).unwrap_or(1);
        if self.silu { Bound::Elementwise } else { Bound::Sum { length: taps, terms: Terms::Elements } }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let taps = inputs.optional(1).and_then(|w| w.shape.last().copied()).unwrap_or(1) as u64;
        outputs.first().map_or(0, |out| taps.saturating_mul(2 * out.count() as u64))
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 7]), Floats(&[3, 1, 4])]).at(27).outputs(2).runs("cpu"),
    case(
        &[("activation", Text("silu"))],
        &[Floats(&[1, 5, 2]), Floats(&[5, 1, 4]), Floats(&[5]), Floats(&[1, 5, 3])],
    )
    .at(27)
    .outputs(2)
    .runs("cpu"),
    case(&[], &[Floats(&[2, 2, 3]), Floats(&[2, 1, 1]), Floats(&[2])]).at(27).runs("cpu"),
];
