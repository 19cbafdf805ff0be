//! How far a right step may lie from the reference: an operator's [`Bound`] made into numbers, element by
//! element.

use super::accuracy;
use super::attention::attention;
use super::expression::{Propagated, Rounding, Uncertain, propagate};
use super::linear_attention::linear_attention;
use super::located::located;
use super::loss::loss;
use super::lp_normalization::lp_normalization;
use super::mean_variance::mean_variance;
use super::measure::Allowed;
use super::normalization::{Runs, moments, normalization};
use super::recurrent::recurrent;
use super::sets::{has_subnormal, is_subnormal};
use super::sums::Summed;
use super::winograd::spread;
use super::{SAFETY_FACTOR, sums};
use crate::base::{Bound, EvalPrecision, Fact, Operands, Precision, UNIT_F16, UNIT_F32};
use crate::cpu;
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::graph::Node;
use crate::kernels::winograd::WinogradTile;
use crate::ops::nn::conv::Conv;
use crate::ops::{Operator, Spread};
use crate::passes::set_epilogue;
use crate::tensor::{DType, Tensor, cast};

/// The unit roundoff with which a type is stored at a precision.
pub fn unit(dtype: DType, precision: Precision) -> f64 {
    match dtype {
        DType::F16 => UNIT_F16,
        DType::BF16 => 1.0 / 256.0,
        DType::F32 if precision == Precision::F16 => UNIT_F16,
        DType::F32 => UNIT_F32,
        DType::F64 => f64::EPSILON / 2.0,
        _ => 0.0,
    }
}

/// Below this magnitude a type's rounding is absolute, not relative.
pub fn floor(unit: f64) -> f64 {
    if unit == UNIT_F16 {
        f64::exp2(-14.0)
    } else if unit == 0.0 {
        0.0
    } else {
        f32::MIN_POSITIVE as f64
    }
}

/// What is lost of a magnitude where a driver takes it for 0, as it may what is subnormal in float32.
fn flushed(size: f64, unit: f64) -> f64 {
    if unit >= UNIT_F32 && is_subnormal(size) { size } else { 0.0 }
}

/// Whether every float type holds this number: bfloat16 has 8 digits.
fn is_whole(x: f64) -> bool {
    x.abs() <= 256.0 && x == x.trunc()
}

/// An input of a step as the reference has it.
#[derive(Clone)]
pub struct Input {
    /// Floats as float64.
    pub value: Tensor,
    /// The roundoff with which the step's device stores it; 0 for what is exact.
    pub unit: f64,
    /// How far the device's own value may lie from the reference's already: 0 for a local measure.
    pub apart: f64,
}

impl Input {
    /// What each element may be off by. Small whole numbers and infinities are stored exactly, and these stay
    /// what they are however far they lie apart; what is too small for a normal float32 may be read as 0.
    pub fn errors(&self) -> Result<Vec<f64>> {
        let stored = |x: f64| {
            if is_whole(x) { 0.0 } else { self.unit * x.max(floor(self.unit)) + flushed(x, self.unit) }
        };
        let error = |x: &f64| if x.is_finite() { stored(x.abs()) + self.apart } else { 0.0 };
        Ok(self.value.to_f64s()?.iter().map(error).collect())
    }
    fn uncertain(&self) -> Result<Uncertain> {
        Ok(Uncertain { value: self.value.clone(), error: self.errors()? })
    }
    /// Magnitudes, none below the smallest that is rounded relatively. What is no finite number has none: a
    /// sum that it is in is what IEEE 754 says, whatever the order.
    pub fn magnitude(&self) -> Result<Tensor> {
        if !self.value.dtype().is_float() {
            return Ok(self.value.clone());
        }
        Tensor::new(
            self.value.shape(),
            self.value
                .to_f64s()?
                .iter()
                .map(|x| if x.is_finite() { x.abs().max(floor(self.unit)) } else { 0.0 })
                .collect::<Vec<_>>(),
        )
    }
}

/// The reference's side of a measure.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceRounding {
    /// Whether its sums are rounded as the device's are: not the oracle's.
    pub arithmetic: bool,
    /// The roundoff with which it stores results.
    pub unit: f64,
}

/// The device's side of a measure.
#[derive(Debug, Clone, Copy)]
pub struct DeviceRounding {
    /// The roundoff with which it stores results.
    pub unit: f64,
    /// The tile by which it took a convolution by Winograd's method, if it did.
    pub winograd: Option<WinogradTile>,
}

/// What output `index` of `node` (its reference `want`, as float64) is held to.
pub fn allowed(
    node: &Node,
    index: usize,
    inputs: &[Option<Input>],
    want: &[f64],
    made: DeviceRounding,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let store = made.unit;
    let facts: Vec<Option<Fact>> =
        inputs.iter().map(|input| input.as_ref().map(|input| Fact::of(&input.value))).collect();
    let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    // What is no float is stored as it is.
    let whole = store == 0.0;
    let elements = inputs.first().and_then(Option::as_ref).map_or(0, |input| input.value.len());
    let reduced = |how| Summed { reduction: Some(how), ..Summed::of(elements.div_ceil(want.len().max(1))) };
    let mut allowed = match node.op.error_bound(Operands::new(&refs)) {
        Bound::Exact => exact(inputs, want),
        // Positions are whole, of whatever they are.
        Bound::Choice { .. } if whole => Allowed::uniform(want.len(), 0.0, 0.0, "positions: exact"),
        Bound::Choice { .. } => exact(inputs, want),
        Bound::Contraction { length } if whole => sums::whole(inputs, want, Summed::of(length))?,
        Bound::Sum { length, terms } if whole => sums::whole(inputs, want, Summed::new(length, terms))?,
        Bound::Reduction(reduction) if whole => sums::whole(inputs, want, reduced(reduction))?,
        Bound::Contraction { length } => contraction(node, inputs, length, made.winograd, own)?,
        Bound::Softmax { before, length, after, logarithm } => {
            softmax([before, length, after], inputs, want, logarithm, own)?
        }
        Bound::Attention => attention(node, index, inputs, want, own)?,
        Bound::LpNormalization { axis, squared } => lp_normalization(inputs, axis, squared, own)?,
        Bound::Sum { length, terms } => sums::sum(&*node.op, inputs, want, Summed::new(length, terms), own)?,
        Bound::Reduction(reduction) => sums::sum(&*node.op, inputs, want, reduced(reduction), own)?,
        Bound::Normalization { length, epsilon, .. } if index > 0 => {
            moments(inputs, want, index, (length, epsilon as f64), own)?
        }
        Bound::MeanVariance { axes, epsilon } => mean_variance(inputs, &axes, epsilon, own)?,
        Bound::Normalization { length, centred, epsilon } => {
            normalization(node, inputs, want, Runs { length, centred, epsilon: epsilon as f64 }, own)?
        }
        Bound::Located => located(&*node.op, inputs, own)?,
        Bound::Loss { softmax } => loss(node, index, inputs, want, softmax, made.unit, own)?,
        Bound::LinearAttention => linear_attention(node, index, inputs, own)?,
        Bound::Recurrent => recurrent(node, index, inputs, own)?,
        Bound::Elementwise => elementwise(node, index, inputs, want, own)?,
    };
    for (index, want) in want.iter().enumerate() {
        let open = allowed.open.get(index) == Some(&true);
        let (Some(fixed), Some(scaled)) = (allowed.fixed.get_mut(index), allowed.scaled.get_mut(index))
        else {
            continue;
        };
        if want.is_finite() {
            // The device's own store, which may flush what is subnormal, and the reference's.
            let size = want.abs();
            *fixed +=
                flushed(size, store) + store * size.max(floor(store)) + own.unit * size.max(floor(own.unit));
        } else if !open {
            // Held to what it is.
            (*fixed, *scaled) = (0.0, 0.0);
        }
    }
    Ok(allowed)
}

/// Moved as they are, rounded when stored.
pub fn exact(inputs: &[Option<Input>], want: &[f64]) -> Allowed {
    let unit = inputs.iter().flatten().map(|input| input.unit).fold(0.0, f64::max);
    let apart = inputs.iter().flatten().map(|input| input.apart).fold(0.0, f64::max);
    // A driver that reads subnormal numbers as 0 takes any of them for the largest.
    let subnormal = inputs
        .iter()
        .flatten()
        .any(|input| input.unit >= UNIT_F32 && has_subnormal(&input.value).unwrap_or(false));
    let tiny = if subnormal { f32::MIN_POSITIVE as f64 } else { 0.0 };
    let stored = |x: &f64| unit * x.abs().max(floor(unit)) + if x.abs() < tiny { tiny } else { 0.0 };
    let fixed = want.iter().map(|x| if x.is_finite() { stored(x) } else { 0.0 } + apart).collect();
    Allowed::new(fixed, vec![0.0; want.len()], "storage rounding")
}

/// Whether sums of this magnitude may leave float32's range, or aren't known not to.
pub fn leaves_range(magnitude: f64) -> bool {
    magnitude.is_nan() || magnitude > f32::MAX as f64
}

/// What the magnitudes of an operator's terms come to, its own coefficients' included.
pub fn magnitude_of(op: &dyn Operator, magnitudes: &[Option<Tensor>]) -> Result<Vec<f64>> {
    match op.magnitude() {
        Some(op) => evaluate(&*op, magnitudes),
        None => evaluate(op, magnitudes),
    }?
    .to_f64s()
}

pub fn evaluate(op: &dyn Operator, inputs: &[Option<Tensor>]) -> Result<Tensor> {
    let refs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    cpu::eval_node(op, &refs, EvalPrecision::Oracle)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("an operator without a result"))
}

/// c · u · length · Σ|aᵢbᵢ| and the rounding of what is summed, taken through the epilogue.
fn contraction(
    node: &Node,
    inputs: &[Option<Input>],
    length: usize,
    winograd: Option<WinogradTile>,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let epilogue = node.op.epilogue().cloned().unwrap_or_else(Pointwise::identity);
    let mut bare = node.clone();
    set_epilogue(&mut bare, Pointwise::identity());
    let plain: Vec<Option<Tensor>> =
        inputs.iter().map(|input| input.as_ref().map(|input| input.value.clone())).collect();
    let sum = evaluate(&*bare.op, &plain)?;
    let magnitudes = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| match input {
            Some(input) if node.op.by_value(index) => Ok(Some(input.value.clone())),
            input => input.as_ref().map(Input::magnitude).transpose(),
        })
        .collect::<Result<Vec<_>>>()?;
    let magnitude = magnitude_of(&*bare.op, &magnitudes)?;
    let unit_of = |index: usize| {
        let input = inputs.get(index).and_then(Option::as_ref).filter(|_| !node.op.by_value(index));
        input.map_or(0.0, |input| input.unit)
    };
    let operands = unit_of(0) + unit_of(1).max(unit_of(2));
    // Weights that a rewrite folded were rounded once more, and the reference stored what lay between the
    // nodes.
    let folded = if node.fused.is_empty() { 0.0 } else { UNIT_F32 + own.unit * node.fused.len() as f64 };
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    // Products below the smallest normal number may be flushed to 0.
    let tiny = length as f64 * f32::MIN_POSITIVE as f64;
    let fixed: Vec<f64> = magnitude.iter().map(|m| (operands + folded) * m + tiny).collect();
    let (mut tiles, mut touched) = (None, None);
    // By type: Winograd's tiles go by the convolution's window.
    if let (Some(tile), Some(conv), [Some(x), Some(w), ..]) =
        (winograd, bare.op.downcast::<Conv>(), &magnitudes[..])
    {
        let given = plain.first().and_then(Option::as_ref).unwrap_or(x);
        tiles = Some(spread(conv, tile, &where_finite(x, |x| x, 0.0)?, w)?);
        // What is no number goes into every output of its tile, or none of it where its coefficient is 0.
        touched = if given.to_f64s()?.iter().all(|x| x.is_finite()) {
            None
        } else {
            Some(spread(conv, tile, &where_finite(given, |_| 0.0, 1.0)?, w)?)
        };
    }
    let spread = tiles;
    let terms = |index: usize, m: f64| {
        length as f64 * m * sides + spread.as_ref().map_or(0.0, |spread| spread[index])
    };
    let scaled: Vec<f64> =
        magnitude.iter().enumerate().map(|(index, &m)| UNIT_F32 * terms(index, m)).collect();
    let formula = if spread.is_some() {
        format!("c·u·({length}·Σ|ab| + Winograd's spread) + storage rounding")
    } else {
        format!("c·u·{length}·Σ|ab| + storage rounding")
    };
    // A partial sum may be as large as all magnitudes together, before it is scaled.
    let scale = bare.op.product().map_or(1.0, |product| product.alpha.abs().min(1.0) as f64);
    let of_tile = |at: usize| {
        spread.as_ref().is_some_and(|s| leaves_range(s[at])) || touched.as_ref().is_some_and(|t| t[at] > 0.0)
    };
    let open: Vec<bool> =
        magnitude.iter().enumerate().map(|(at, &m)| leaves_range(m / scale) || of_tile(at)).collect();
    if epilogue.is_identity() {
        return Ok(Allowed::new(fixed, scaled, formula).with_open(open));
    }
    let through = |error: Vec<f64>, arithmetic: f64| -> Result<Propagated> {
        let mut operands = vec![Uncertain { value: sum.clone(), error }];
        for index in 3..3 + epilogue.operands.saturating_sub(1) {
            let input = inputs
                .get(index)
                .and_then(Option::as_ref)
                .ok_or_else(|| Error::internal("an epilogue's operand is missing"))?;
            operands.push(input.uncertain()?);
        }
        propagate(&epilogue, &operands, Rounding { arithmetic, reference: own.unit })
    };
    let whole = through(
        fixed.iter().zip(&scaled).map(|(f, s)| f + SAFETY_FACTOR * s).collect(),
        SAFETY_FACTOR * sides,
    )?;
    let either = open.iter().zip(&whole.open).map(|(sum, step)| *sum || *step).collect();
    let mut allowed =
        split(through(fixed, 0.0)?, Propagated { open: either, ..whole }, formula + ", through the epilogue");
    // An infinity on the way may become any number: there is nothing to hold it to.
    allowed
        .fixed
        .iter_mut()
        .zip(open)
        .filter(|(_, open)| *open)
        .for_each(|(fixed, _)| *fixed = f64::INFINITY);
    Ok(allowed)
}

/// A tensor with its finite elements as `of` makes them, and the others as one number.
fn where_finite(tensor: &Tensor, of: fn(f64) -> f64, other: f64) -> Result<Tensor> {
    Tensor::new(
        tensor.shape(),
        tensor.to_f64s()?.iter().map(|&x| if x.is_finite() { of(x) } else { other }).collect::<Vec<_>>(),
    )
}

/// What operands bring, and the whole, as the parts of what is allowed.
fn split(brought: Propagated, whole: Propagated, formula: impl Into<String>) -> Allowed {
    let (fixed, all) = (brought.value.error, whole.value.error);
    let scaled = all.iter().zip(&fixed).map(|(all, fixed)| (all - fixed).max(0.0) / SAFETY_FACTOR).collect();
    Allowed::new(fixed, scaled, formula).with_open(whole.open)
}

fn elementwise(
    node: &Node,
    index: usize,
    inputs: &[Option<Input>],
    want: &[f64],
    own: ReferenceRounding,
) -> Result<Allowed> {
    let tensors: Vec<Option<&Tensor>> =
        inputs.iter().map(|input| input.as_ref().map(|input| &input.value)).collect();
    let spread = node.op.output_expression(index, Operands::new(&tensors))?;
    let Some(Spread { expression, operands }) = spread else {
        if !inputs.iter().flatten().any(|input| input.value.dtype().is_float()) {
            return Ok(exact(inputs, want));
        }
        // Nothing is known of the function: a few roundings of the largest magnitude that takes part.
        let mut largest = want.iter().filter(|x| x.is_finite()).fold(0f64, |m, x| m.max(x.abs()));
        let mut unit = UNIT_F32;
        for input in inputs.iter().flatten().filter(|input| input.value.dtype().is_float()) {
            largest =
                input.value.to_f64s()?.iter().filter(|x| x.is_finite()).fold(largest, |m, x| m.max(x.abs()));
            unit = unit.max(input.unit);
        }
        return Ok(Allowed::uniform(
            want.len(),
            2.0 * unit * largest,
            16.0 * UNIT_F32 * largest,
            "c·u·16·max|x| + storage rounding",
        ));
    };
    // Each operand is as uncertain as the input that it is spread from, or sums that are made of it.
    let apart = |index: usize| inputs.get(index).and_then(Option::as_ref).map_or(0.0, |input| input.apart);
    let sums = node.op.sums_apart(Operands::new(&tensors), &apart)?;
    let uncertain = |(value, from): (Tensor, usize)| {
        let input = inputs
            .get(from)
            .and_then(Option::as_ref)
            .ok_or_else(|| Error::internal("an operand that is spread from no input"))?;
        let apart = if from == 0 { sums } else { input.apart };
        Input { value, unit: input.unit, apart }.uncertain()
    };
    let operands =
        operands.into_iter().take(expression.operands).map(uncertain).collect::<Result<Vec<_>>>()?;
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let through =
        |arithmetic: f64| propagate(&expression, &operands, Rounding { arithmetic, reference: own.unit });
    Ok(split(
        through(0.0)?,
        through(SAFETY_FACTOR * sides)?,
        "running error of the expression + storage rounding",
    ))
}

/// A softmax's rows: each element's exponent, the largest exponent, the sum and the quotient may be off.
pub fn softmax(
    [before, length, after]: [usize; 3],
    inputs: &[Option<Input>],
    want: &[f64],
    logarithm: bool,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let input =
        inputs.first().and_then(Option::as_ref).ok_or_else(|| Error::internal("a softmax without input"))?;
    let (xs, errors) = (input.value.to_f64s()?, input.errors()?);
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let (mut fixed, mut scaled) = (vec![0.0; xs.len()], vec![0.0; xs.len()]);
    for (outer, inner) in (0..before).flat_map(|outer| (0..after).map(move |inner| (outer, inner))) {
        let row = || (0..length).map(move |k| (outer * length + k) * after + inner);
        let high = row().map(|at| xs[at]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row().map(|at| (xs[at] - high).exp()).sum();
        // The sum's relative errors: what its terms bring, weighted, and its own additions.
        let weight = |at: usize| (xs[at] - high).exp() / sum;
        let brought: f64 = row().map(|at| weight(at) * errors[at]).sum();
        let own_terms: f64 = row()
            .map(|at| (xs[at] - high).max(-200.0))
            .zip(row())
            .map(|(d, at)| weight(at) * accuracy::exponential(d))
            .sum();
        let sum_error = own_terms + length as f64;
        for at in row() {
            let distance = (xs[at] - high).max(-200.0);
            let (f, s) = (errors[at] + brought, UNIT_F32 * sum_error);
            if logarithm {
                let value = want.get(at).copied().unwrap_or(0.0);
                (fixed[at], scaled[at]) = (
                    f,
                    sides * (s + UNIT_F32 * (distance.abs() + accuracy::logarithm(sum.ln()) + value.abs())),
                );
            } else {
                let value = want.get(at).copied().unwrap_or(0.0).abs();
                let relative = s + UNIT_F32 * (accuracy::exponential(distance) + accuracy::quotient());
                // Exponentials below float32's smallest normal may be flushed to 0.
                // An exponential that is 0 in float64 has no relative error: it is what the error makes of
                // it.
                let brought = if value > 0.0 { f.exp_m1() * value } else { (xs[at] - high + f).exp() / sum };
                (fixed[at], scaled[at]) = (brought, sides * (relative * value + f32::MIN_POSITIVE as f64));
            }
        }
    }
    let formula = format!("c·u·(length {length} + the exponentials' accuracy)·y + storage rounding");
    Ok(Allowed::new(fixed, scaled, formula))
}

/// A tensor as the bounds take it: floats widened.
pub fn widened(tensor: &Tensor) -> Result<Tensor> {
    if tensor.dtype().is_float() { cast(tensor, DType::F64, true) } else { Ok(tensor.clone()) }
}
