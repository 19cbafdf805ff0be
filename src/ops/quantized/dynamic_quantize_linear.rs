//! [DynamicQuantizeLinear](https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html), version 11: x in
//! uint8, with the scale and the zero point that its own range, 0 included, asks for.

use super::quantize_linear::push_rounded;
use crate::base::{EvalPrecision, Fact, Infer, Layout, Operands, Reduction, Unsupported, View};
use crate::cpu_kernels::panels::Packed;
use crate::cpu_kernels::quantize::{self, Scales};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::{Lowering, pointwise, reduce};
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator, Spread};
use crate::simd::{Loop, vectorised};
use crate::tensor::{DType, Real, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "DynamicQuantizeLinear", since: 11, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct DynamicQuantizeLinear;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(DynamicQuantizeLinear))
}

/// Elements that are looked at together.
const LANES: usize = 64;

/// The least and the greatest of numbers and 0.
struct Ends<'a, T>(&'a [T]);

impl<T: Real> Loop for Ends<'_, T> {
    type Output = [T; 2];

    #[inline(always)]
    fn run(self) -> [T; 2] {
        let least = |x: T, low: T| if x < low { x } else { low };
        let most = |x: T, high: T| if x > high { x } else { high };
        // Lanes side by side, so that the loop vectorises.
        let (mut lows, mut highs) = ([T::default(); LANES], [T::default(); LANES]);
        let lines = self.0.chunks_exact(LANES);
        let rest = lines.remainder();
        for line in lines {
            for (lane, &x) in line.iter().enumerate() {
                (lows[lane], highs[lane]) = (least(x, lows[lane]), most(x, highs[lane]));
            }
        }
        let low = lows.iter().chain(rest).fold(T::default(), |low, &x| least(x, low));
        let high = highs.iter().chain(rest).fold(T::default(), |high, &x| most(x, high));
        [low, high]
    }
}

/// The scale and the zero point of numbers in their own type's arithmetic.
fn range<T: Real>(xs: &[T]) -> (T, u8) {
    let [low, high] = vectorised(Ends(xs));
    let span = high - low;
    let mut scale = if span.f64().is_finite() {
        span / T::of(255.0)
    } else {
        // The span may leave the type, a 255th of it doesn't.
        high / T::of(255.0) - low / T::of(255.0)
    };
    if scale == T::default() {
        scale = T::of(1.0);
    }
    let zero = (-low / scale).f64().clamp(0.0, 255.0).round_ties_even();
    (scale, zero as u8)
}

/// Over operands x, the scale, the zero point.
fn formula(wide: DType) -> Pointwise {
    let mut e = Pointwise { operands: 3, steps: vec![] };
    let quotient = e.push(&table::DIV, vec![Arg::Operand(0), Arg::Operand(1)]);
    push_rounded(&mut e, quotient, Some(Arg::Operand(2)), wide, DType::U8);
    e
}

impl DynamicQuantizeLinear {
    fn scale(x: &Tensor) -> Result<[Tensor; 2]> {
        Ok(match x.dtype() {
            DType::F64 => {
                let (scale, zero) = range(x.as_slice::<f64>()?);
                [Tensor::scalar(scale), Tensor::scalar(zero)]
            }
            _ => {
                let (scale, zero) = range(x.as_slice::<f32>()?);
                [Tensor::scalar(scale), Tensor::scalar(zero)]
            }
        })
    }
}

impl Operator for DynamicQuantizeLinear {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if !x.dtype.is_float() {
            return Err(Error::model(format!("{} is not a type of this operator", x.dtype)).into());
        }
        Ok(vec![Fact::new(DType::U8, x.shape.clone()), Fact::new(x.dtype, []), Fact::new(DType::U8, [])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [scale, zero] = Self::scale(x)?;
        Ok(vec![formula(x.dtype()).eval(&[x, &scale, &zero], mode)?, scale, zero])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        self.output_expression(0, inputs)
    }

    /// What follows from x's ends is as uncertain as these.
    fn output_expression(&self, output: usize, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let x = inputs.required(0)?;
        let [scale, zero] = Self::scale(x)?;
        let [low, high] = vectorised(Ends(&x.to_f64s()?));
        let end = |value: f64| cast(&Tensor::scalar(value), x.dtype(), true);
        let mut e = Pointwise { operands: 2, steps: vec![] };
        let operands = match output {
            0 => {
                e = formula(x.dtype());
                vec![(x.clone(), 0), (scale, 0), (zero, 0)]
            }
            // A range of nothing but 0 has a scale by decree.
            1 if low < high => {
                let span = e.push(&table::SUB, vec![Arg::Operand(0), Arg::Operand(1)]);
                e.push(&table::DIV, vec![span, Arg::Const(255.0)]);
                vec![(end(high)?, 0), (end(low)?, 0)]
            }
            2 => {
                let quotient = e.push(&table::DIV, vec![Arg::Operand(0), Arg::Operand(1)]);
                push_rounded(&mut e, quotient, None, x.dtype(), DType::U8);
                vec![(end(-low)?, 0), (scale, 0)]
            }
            _ => return Ok(None),
        };
        Ok(Some(Spread { expression: e, operands }))
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        inputs.optional(0).map_or(0, |x| 4 * x.count() as u64)
    }
}

impl Lower for DynamicQuantizeLinear {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let fact = Fact::new(at.fact(0)?.dtype, at.fact(0)?.shape.clone());
        let x = at.view(0)?;
        if x.count() == 0 {
            return Err(Unsupported::new("a range of nothing"));
        }
        // What isn't a number is no end of the range.
        let mut e = Pointwise { operands: 1, steps: vec![] };
        let nan = e.push(&table::IS_NAN, vec![Arg::Operand(0)]);
        let number = e.push(&table::NOT, vec![nan]);
        e.push(&table::WHERE, vec![number, Arg::Operand(0), Arg::Const(0.0)]);
        let layout = at.layout_of(&x);
        let numbers = at.scratch(&fact, layout)?;
        let given = [(x.clone(), fact.dtype)];
        pointwise::emit_into(at, &e, &given, &fact.shape, (fact.dtype, layout), numbers.buffer)?;
        let flat = at.reshaped(numbers, &[x.count()], "numbers")?;
        let high = reduce::reduced(at, Reduction::Max, fact.dtype, flat.clone(), &[0])?;
        let low = reduce::reduced(at, Reduction::Min, fact.dtype, flat, &[0])?;
        let end = |view: View| Ok::<_, Unsupported>((view.reshaped_or(&[], "an end")?, fact.dtype));
        let ends = [end(high)?, end(low)?];
        for index in 0..3 {
            if !at.has_output(index) {
                continue;
            }
            let layout = if index == 0 { layout } else { Layout::Dense };
            let (expression, operands) = match index {
                0 => (quantized(), [&ends[..], &[(x.clone(), fact.dtype)]].concat()),
                1 => (scale_of_ends().0, ends.to_vec()),
                _ => (zero_of_ends().0, ends.to_vec()),
            };
            pointwise::emit_output(at, &expression, &operands, index, layout)?;
        }
        Ok(())
    }
}

/// The scale, over operands the greatest and the least number: that of [`range`], in float32. With the least
/// of it and 0.
fn scale_of_ends() -> (Pointwise, [Arg; 2]) {
    let mut e = Pointwise { operands: 2, steps: vec![] };
    let high = e.push(&table::MAX, vec![Arg::Operand(0), Arg::Const(0.0)]);
    let low = e.push(&table::MIN, vec![Arg::Operand(1), Arg::Const(0.0)]);
    let span = e.push(&table::SUB, vec![high, low]);
    let beyond = e.push(&table::IS_INF, vec![span, Arg::Const(1.0), Arg::Const(1.0)]);
    let whole = e.push(&table::DIV, vec![span, Arg::Const(255.0)]);
    let of_high = e.push(&table::DIV, vec![high, Arg::Const(255.0)]);
    let of_low = e.push(&table::DIV, vec![low, Arg::Const(255.0)]);
    let apart = e.push(&table::SUB, vec![of_high, of_low]);
    let scale = e.push(&table::WHERE, vec![beyond, apart, whole]);
    let nothing = e.push(&table::EQUAL, vec![scale, Arg::Const(0.0)]);
    let something = e.push(&table::NOT, vec![nothing]);
    let scale = e.push(&table::WHERE, vec![something, scale, Arg::Const(1.0)]);
    (e, [scale, low])
}

/// The zero point, over the same, as a whole number of float32; with the scale.
fn zero_in_float() -> (Pointwise, [Arg; 2]) {
    let (mut e, [scale, low]) = scale_of_ends();
    let negative = e.push(&table::NEG, vec![low]);
    let quotient = e.push(&table::DIV, vec![negative, scale]);
    let below = e.push(&table::MAX, vec![quotient, Arg::Const(0.0)]);
    let within = e.push(&table::MIN, vec![below, Arg::Const(255.0)]);
    let zero = e.push(&table::ROUND, vec![within]);
    (e, [zero, scale])
}

/// The zero point in uint8.
fn zero_of_ends() -> (Pointwise, Arg) {
    let (mut e, [zero, _]) = zero_in_float();
    let zero = e.push_cast(zero, DType::U8);
    (e, zero)
}

/// Over operands the ends and x.
fn quantized() -> Pointwise {
    let (mut e, [zero, scale]) = zero_in_float();
    e.operands = 3;
    // NaN of an infinite range is 0.
    let zero = e.push_cast(zero, DType::U8);
    let quotient = e.push(&table::DIV, vec![Arg::Operand(2), scale]);
    push_rounded(&mut e, quotient, Some(zero), DType::F32, DType::U8);
    e
}

impl Engine for DynamicQuantizeLinear {
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _wanted: usize,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let x = inputs.required(0)?;
        if x.dtype() != DType::F32 || x.is_empty() {
            return Ok(None);
        }
        let xs = x.as_slice::<f32>()?;
        let (scale, zero) = range(xs);
        let scales = Scales { scales: &[scale], zeros: &[zero as f32], run: xs.len(), count: 1 };
        let ys = Tensor::new(x.shape(), quantize::quantize::<u8>(xs, &scales)?)?;
        Ok(Some(vec![ys, Tensor::scalar(scale), Tensor::scalar(zero)]))
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 5])]).outputs(3),
    case(&[], &[Range(&[2, 3, 7], 0.5, 3.0)]).outputs(3),
    case(&[], &[Range(&[4], -9.0, -1.0)]).outputs(3),
    case(&[], &[Range(&[3], 0.0, 0.0)]).outputs(3),
    case(&[], &[Range(&[40001], -1.0, 6.0)]).outputs(3),
];
