//! From the sums of quantised products to the quantised result, `saturate(round(sum · multiplier) + zero)`
//! with the multiplier `a_scale · b_scale / y_scale`.

use super::quantize_linear::push_rounded;
use crate::base::Fact;
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::tensor::DType;

/// Over operands: the sums, the scales of a, b and y, y's zero point. `sums` is the type of the sums, `scale`
/// that of the scales.
pub fn formula(scale: DType, to: DType) -> Pointwise {
    let mut e = Pointwise { operands: 5, steps: vec![] };
    let wide = if scale == DType::F64 { DType::F64 } else { DType::F32 };
    let sum = e.push_cast(Arg::Operand(0), wide);
    let mut factors = [1, 2, 3].map(Arg::Operand);
    if scale != wide {
        factors = factors.map(|factor| e.push_cast(factor, wide));
    }
    let both = e.push(&table::MUL, vec![factors[0], factors[1]]);
    let multiplier = e.push(&table::DIV, vec![both, factors[2]]);
    push_result(&mut e, [sum, multiplier, Arg::Operand(4)], wide, to);
    e
}

/// The same over the sums, the multiplier in float32, and y's zero point.
pub fn by_factor(to: DType) -> Pointwise {
    let mut e = Pointwise { operands: 3, steps: vec![] };
    let sum = e.push_cast(Arg::Operand(0), DType::F32);
    push_result(&mut e, [sum, Arg::Operand(1), Arg::Operand(2)], DType::F32, to);
    e
}

fn push_result(e: &mut Pointwise, [sum, multiplier, zero]: [Arg; 3], wide: DType, to: DType) {
    let quotient = e.push(&table::MUL, vec![sum, multiplier]);
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
