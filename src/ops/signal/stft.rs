//! [STFT](https://onnx.ai/onnx/operators/onnx__STFT.html), version 17: the discrete Fourier transforms of a
//! signal's frames, each weighted by a window.
//!
//! Inputs: the signal `[n, length, 1]` of real or `[n, length, 2]` of complex numbers, the step from frame to
//! frame, and optionally a window and a frame's length: the window's, else the signal's, where it isn't
//! given.

use super::fourier::{Complex, Fourier, line};
use super::matrix::Transform;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Terms, Unsupported, View};
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::kernels::{Lowering, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, single};
use crate::tensor::{Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "STFT", since: 17, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Stft {
    /// The half of the result that mirrors the other is left out.
    onesided: bool,
    /// Every coefficient is replaced by the largest magnitude that it has: see [`Operator::magnitude`].
    absolute: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=4)?;
    Ok(Arc::new(Stft { onesided: node.flag("onesided", true)?, absolute: false }))
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
        let transform = Transform { length, read: length, made, parts: [parts, 2], inverse: false };
        let (fourier, mut data) = (Fourier::new(length)?, line(length)?);
        for (signal, frame) in (0..signals).flat_map(|signal| (0..frames).map(move |frame| (signal, frame))) {
            let first = signal * samples + frame * step;
            for (k, value) in data.iter_mut().enumerate() {
                let at = (first + k) * parts;
                let weight = window.as_ref().map_or(1.0, |window| window[k]);
                *value = Complex::new(xs[at], if parts == 2 { xs[at + 1] } else { 0.0 }).scaled(weight);
            }
            if self.absolute {
                let sum: f64 = data.iter().map(|x| x.re.abs() + x.im.abs()).sum();
                data.fill(Complex::new(sum, sum));
            } else if transform.by_definition(&data) {
                transform.define(&mut data)?;
            } else {
                fourier.forward(&mut data)?;
            }
            ys.extend(data.iter().take(made).flat_map(|value| [value.re, value.im]));
        }
        Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Stft { absolute: true, ..self.clone() }))
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let window = inputs.optional(2).and_then(|window| window.shape.first().copied());
        let given =
            inputs.optional(3).and_then(|length| length.value.as_ref()?.to_i64s().ok()?.first().copied());
        let whole = inputs.optional(0).and_then(|x| x.shape.get(1).copied());
        let length = window.or(given.and_then(|length| usize::try_from(length).ok())).or(whole);
        // The signal and the matrix, or the window, the matrix and their product, are stored.
        let stored = if window.is_some() { 4 } else { 2 };
        let parts = inputs.optional(0).and_then(|x| x.shape.last().copied()).unwrap_or(1);
        let length = parts.saturating_mul(length.unwrap_or(1));
        Bound::Sum { length, terms: Terms::Products(stored) }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.iter().map(|out| (out.count() as u64).saturating_mul(30)).sum()
    }
}

impl Lower for Stft {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        at.float_storage(0)?;
        let step = at.int(1)?;
        let given = at.has_input(3).then(|| at.int(3)).transpose()?;
        let dtype = at.fact(0)?.dtype;
        let window = if at.has_input(2) { Some(at.view(2)?) } else { None };
        let x = at.view(0)?;
        let Plan { step, length, frames, made } =
            self.plan(&x.shape, step, window.as_ref().map(|window| &window.shape[..]), given)?;
        let [signals, _, parts] = x.shape[..] else {
            return Err(Unsupported::new("a signal of another rank"));
        };
        if signals == 0 {
            return Err(Unsupported::new("no signals"));
        }
        let transform = Transform { length, read: length, made, parts: [parts, 2], inverse: false };
        let [read, numbers] = transform.sizes();
        let mut matrix = transform.table(at, dtype)?;
        if let Some(window) = window {
            // The matrix has fewer elements than the frames.
            if at.fact(2)?.dtype != dtype {
                return Err(Unsupported::new("a window of another type than the signal"));
            }
            let rows = matrix.reshaped_or(&[length, parts, numbers], "a matrix")?;
            let window = View { shape: vec![length, 1, 1], strides: vec![window.strides[0], 0, 0], ..window };
            let operands = [(rows, dtype), (window, dtype)];
            let product = Pointwise::of(&table::MUL, 2, &[]);
            let (weighted, _) = pointwise::computed(at, &product, &operands, &[length, parts, numbers])?;
            matrix = weighted.reshaped_or(&[read, numbers], "a matrix")?;
        }
        // Frames overlap where they lie.
        let apart = isize::try_from(step).map_err(|_| Unsupported::new("frames that far apart"))?;
        let lines = View {
            shape: vec![signals, frames, length, parts],
            strides: vec![x.strides[0], apart.saturating_mul(x.strides[1]), x.strides[1], x.strides[2]],
            ..x
        };
        let lines = at.reshaped(lines, &[signals * frames, read], "frames of no elements")?;
        let result = transform.product(at, dtype, lines, matrix)?;
        let result = result.reshaped_or(&[signals, frames, made, 2], "a transform")?;
        let result = at.in_layout(result, Layout::Dense)?;
        at.alias(0, result);
        Ok(())
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 40, 1]), Whole(8), Absent, Whole(16)]),
    case(&[], &[Floats(&[1, 33, 1]), Whole(5), Range(&[12], 0.0, 1.0)]),
    case(&[("onesided", Int(0))], &[Floats(&[1, 30, 2]), Whole(7), Range(&[9], 0.0, 1.0), Whole(9)]),
    case(&[("onesided", Int(0))], &[Floats(&[2, 11, 1]), Whole(1)]),
    case(&[], &[Floats(&[3, 24, 1]), Whole(4), Range(&[8], 0.0, 1.0)]),
    case(&[], &[Floats(&[1, 16, 1]), Whole(4), Absent, Whole(8)]),
];
