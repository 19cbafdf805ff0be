//! From the sums of quantised products to the quantised result, `saturate(round(sum · multiplier) + zero)`
//! with the multiplier `a_scale · b_scale / y_scale`.

use super::quantize_linear::push_rounded;
use crate::base::{Fact, Operands};
use crate::cpu_kernels::requantize::{Requantize, Results};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::tensor::{DType, Tensor};

/// What operators that [`crate::passes`] made do beyond what ONNX says of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Sums are scaled in float64: what the nodes that the operator stands for say isn't rounded before the
    /// end.
    pub exact: bool,
    /// Negative numbers become 0 before they are rounded.
    pub relu: bool,
}

/// Over operands: the sums, the scales of a, b and y, y's zero point. `scale` is the type of the scales.
pub fn formula(scale: DType, to: DType, beyond: Beyond) -> Pointwise {
    let mut e = Pointwise { operands: 5, steps: vec![] };
    let wide = if beyond.exact || scale == DType::F64 { DType::F64 } else { DType::F32 };
    let sum = e.push_cast(Arg::Operand(0), wide);
    let mut factors = [1, 2, 3].map(Arg::Operand);
    if scale != wide {
        factors = factors.map(|factor| e.push_cast(factor, wide));
    }
    let both = e.push(&table::MUL, vec![factors[0], factors[1]]);
    let multiplier = e.push(&table::DIV, vec![both, factors[2]]);
    push_result(&mut e, [sum, multiplier, Arg::Operand(4)], wide, to, beyond.relu);
    e
}

/// The same over the sums, the multiplier in float32, and y's zero point.
pub fn by_factor(to: DType) -> Pointwise {
    let mut e = Pointwise { operands: 3, steps: vec![] };
    let sum = e.push_cast(Arg::Operand(0), DType::F32);
    push_result(&mut e, [sum, Arg::Operand(1), Arg::Operand(2)], DType::F32, to, false);
    e
}

fn push_result(e: &mut Pointwise, [sum, multiplier, zero]: [Arg; 3], wide: DType, to: DType, relu: bool) {
    let mut quotient = e.push(&table::MUL, vec![sum, multiplier]);
    if relu {
        quotient = e.push(&table::RELU, vec![quotient]);
    }
    if super::ends(to).is_some() {
        push_rounded(e, quotient, Some(zero), wide, to);
    } else {
        let zero = e.push_cast(zero, wide);
        let value = e.push(&table::ADD, vec![quotient, zero]);
        e.push_cast(value, to);
    }
}

/// Errors where the three scales aren't floats of one type.
pub fn check_scales(scales: [&Fact; 3]) -> Result<()> {
    let dtype = scales[0].dtype;
    if !dtype.is_float() {
        return Err(Error::model(format!("{dtype} is not a type of scales")));
    }
    match scales.iter().find(|scale| scale.dtype != dtype) {
        Some(other) => Err(Error::model(format!("scales of several types: {dtype} and {}", other.dtype))),
        None => Ok(()),
    }
}

/// What requantises sums of so many columns in one loop: of scales in float32 (inputs 1, 4 and 6), one for x
/// and one for each column at most, with a bias (input 8) where there is one, to 8 bits (input 7). `None`:
/// there is no such form.
pub fn in_a_loop(inputs: Operands<'_, Tensor>, columns: usize, beyond: Beyond) -> Result<Option<Requantize>> {
    let zero = inputs.required(7)?;
    let scales = [inputs.required(1)?, inputs.required(4)?, inputs.required(6)?];
    let bytes = matches!(zero.dtype(), DType::U8 | DType::I8) && zero.len() == 1;
    if !bytes || scales.iter().any(|scale| scale.dtype() != DType::F32) {
        return Ok(None);
    }
    let [x, w, y] = scales;
    let bias = inputs.optional(8).map(Tensor::as_slice::<i32>).transpose()?;
    let of = Results {
        zero: zero.to_f64s()?.first().copied().unwrap_or(0.0),
        signed: zero.dtype() == DType::I8,
        relu: beyond.relu,
    };
    Requantize::new(columns, bias, [x.as_slice()?, w.as_slice()?, y.as_slice()?], beyond.exact, of)
}
