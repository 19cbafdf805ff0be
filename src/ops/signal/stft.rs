//! [STFT](https://onnx.ai/onnx/operators/onnx__STFT.html), version 17: the discrete Fourier transforms of a
//! signal's frames, each weighted by a window.
//!
//! Inputs: the signal `[n, length, 1]` of real or `[n, length, 2]` of complex numbers, the step from frame to
//! frame, and optionally a window and a frame's length: the window's, else the signal's, where it isn't
//! given.

use super::fourier::{Complex, Fourier, line};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "STFT", since: 17, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Stft {
    /// The half of the result that mirrors the other is left out.
    onesided: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=4)?;
    Ok(Arc::new(Stft { onesided: node.flag("onesided", true)? }))
}

/// What is transformed.
struct Plan {
    step: usize,
    /// A frame's length.
    length: usize,
    frames: usize,
    /// Numbers that are kept of a frame.
    made: usize,
}

impl Stft {
    fn plan(&self, x: &[usize], step: i64, window: Option<&[usize]>, length: Option<i64>) -> Result<Plan> {
        let [_, samples, parts @ (1 | 2)] = *x else {
            return Err(Error::model(format!("a signal {x:?} is not [n, length, 1] or [n, length, 2]")));
        };
        if self.onesided && parts == 2 {
            return Err(Error::model("a one-sided transform of complex numbers; it takes real ones"));
        }
        let step = single::size(step, "frame_step")?;
        let given = length.map(|length| single::size(length, "frame_length")).transpose()?;
        let length = match (window, given) {
            (Some([window]), given) if given.is_none_or(|given| given == *window) => *window,
            (Some(window), _) => {
                return Err(Error::model(format!("a window {window:?} for frames of length {given:?}")));
            }
            (None, given) => given.unwrap_or(samples),
        };
        if step == 0 || length == 0 || length > samples {
            return Err(Error::model(format!(
                "frames of length {length}, {step} apart, in a signal of {samples} elements"
            )));
        }
        let made = if self.onesided { length / 2 + 1 } else { length };
        Ok(Plan { step, length, frames: (samples - length) / step + 1, made })
    }
}

impl Operator for Stft {
    fn by_value(&self, index: usize) -> bool {
        index == 1 || index == 3
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, window) = (inputs.required(0)?, inputs.optional(2).map(|window| &window.shape[..]));
        let step = single::known(inputs, 1, "frame_step")?;
        let length = single::optionally_known(inputs, 3, "frame_length")?;
        let plan = self.plan(&x.shape, step, window, length)?;
        Ok(vec![Fact::new(x.dtype, [x.shape[0], plan.frames, plan.made, 2])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, window) = (inputs.required(0)?, inputs.optional(2));
        let step = single::whole(inputs.required(1)?, "frame_step")?;
        let length = inputs.optional(3).map(|length| single::whole(length, "frame_length")).transpose()?;
        let Plan { step, length, frames, made } =
            self.plan(x.shape(), step, window.map(Tensor::shape), length)?;
        let (signals, samples, parts) = (x.shape()[0], x.shape()[1], x.shape()[2]);
        let shape = [signals, frames, made, 2];
        let (xs, window) = (x.to_f64s()?, window.map(Tensor::to_f64s).transpose()?);
        let mut ys: Vec<f64> = allocate(element_count(&shape)?)?;
        let (fourier, mut data) = (Fourier::new(length)?, line(length)?);
        for (signal, frame) in (0..signals).flat_map(|signal| (0..frames).map(move |frame| (signal, frame))) {
            let first = signal * samples + frame * step;
            for (k, value) in data.iter_mut().enumerate() {
                let at = (first + k) * parts;
                let weight = window.as_ref().map_or(1.0, |window| window[k]);
                *value = Complex::new(xs[at], if parts == 2 { xs[at + 1] } else { 0.0 }).scaled(weight);
            }
            fourier.forward(&mut data)?;
            ys.extend(data.iter().take(made).flat_map(|value| [value.re, value.im]));
        }
        Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?])
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.iter().map(|out| (out.count() as u64).saturating_mul(30)).sum()
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 40, 1]), Whole(8), Absent, Whole(16)]).runs("cpu"),
    case(&[], &[Floats(&[1, 33, 1]), Whole(5), Range(&[12], 0.0, 1.0)]).runs("cpu"),
    case(&[("onesided", Int(0))], &[Floats(&[1, 30, 2]), Whole(7), Range(&[9], 0.0, 1.0), Whole(9)])
        .runs("cpu"),
    case(&[("onesided", Int(0))], &[Floats(&[2, 11, 1]), Whole(1)]).runs("cpu"),
];
