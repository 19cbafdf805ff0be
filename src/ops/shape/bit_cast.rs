//! [BitCast](https://onnx.ai/onnx/operators/onnx__BitCast.html), version 26: elements' bits taken for those
//! of another type of the same width.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::kernels::{Lowering, copy, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{Boolean, DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "BitCast", since: 26, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct BitCast {
    to: DType,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let number = node.int("to", 0)?;
    let known = i32::try_from(number).ok().and_then(DType::from_onnx).filter(|&to| to != DType::String);
    Ok(Arc::new(BitCast {
        to: known.ok_or_else(|| Error::unsupported(format!("the bits of element type {number}")))?,
    }))
}

/// Bits that count.
fn width(dtype: DType) -> usize {
    dtype.packed_bits().unwrap_or(8 * dtype.size())
}

impl BitCast {
    /// What is read as bits: the oracle holds every float as float64, whose bits are none of the model's.
    fn declared(&self, from: DType) -> Result<DType> {
        match (from, width(self.to)) {
            (from, bits) if from != DType::String && width(from) == bits => Ok(from),
            (DType::F64, 32) => Ok(DType::F32),
            (DType::F64, 16) => Ok(DType::F16),
            (from, bits) => Err(Error::model(format!(
                "elements of {from} have {} bits, those of {} {bits}",
                width(from),
                self.to
            ))),
        }
    }
}

impl Operator for BitCast {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        self.declared(x.dtype)?;
        Ok(vec![Fact::new(self.to, x.shape.clone())])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let from = self.declared(x.dtype())?;
        if from != x.dtype() && mode != EvalPrecision::Oracle {
            return Err(Error::model(format!(
                "elements of {} have another width than {}",
                x.dtype(),
                self.to
            )));
        }
        let x = cast(x, from, true)?;
        let made = match (self.to, width(self.to)) {
            // A bool is 0 or 1.
            (DType::Bool, _) => {
                let truth: Vec<Boolean> = x.bytes().iter().map(|&byte| Boolean::from(byte != 0)).collect();
                Tensor::new(x.shape(), truth)?
            }
            // Such a type takes a byte, sign-extended where it has a sign.
            (to, bits @ (2 | 4)) => {
                let (unused, signed) = (8 - bits, matches!(to, DType::I4 | DType::I2));
                let byte = |byte: u8| {
                    let high = byte << unused;
                    if signed { (high as i8 >> unused) as u8 } else { high >> unused }
                };
                let bytes: Vec<u8> = x.bytes().iter().map(|&x| byte(x)).collect();
                Tensor::from_bytes(to, x.shape(), &bytes)?
            }
            (to, _) => Tensor::from_bytes(to, x.shape(), x.bytes())?,
        };
        Ok(vec![cast(&made, mode.of(self.to), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

impl Lower for BitCast {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let from = at.fact(0)?.dtype;
        let whole = |dtype: DType| dtype.is_integer() || dtype == DType::Bool;
        if from == self.to {
            let view = at.view(0)?;
            at.alias(0, view);
            return Ok(());
        }
        if whole(from) && whole(self.to) {
            // A cast between integers of one width keeps their bits, and a bool is 0 or 1.
            return pointwise::emit(&Pointwise::cast(self.to), at);
        }
        let held = |dtype: DType| at.storage(dtype).map(|storage| storage.element_bytes() == dtype.size());
        if !held(from)? || !held(self.to)? || from.is_narrow_float() || self.to.is_narrow_float() {
            return Err(Unsupported::new(format!(
                "the bits of {from} as {}, of which a device holds other ones",
                self.to
            )));
        }
        let view = at.view(0)?;
        let output = at.output(0, Layout::Dense)?;
        copy::emit_bits(at.emitter(), &view, &output)
    }
}

const CASES: &[Case] = &[
    case(&[("to", Int(6))], &[Floats(&[3, 5])]).at(26),
    case(&[("to", Int(1))], &[Small(DType::I32, &[7])]).at(26),
    case(&[("to", Int(7))], &[Wide(DType::U64, &[2, 3])]).at(26),
    case(&[("to", Int(2))], &[Bools(&[5])]).at(26),
    case(&[("to", Int(4))], &[Wide(DType::I16, &[])]).at(26),
    case(&[("to", Int(3))], &[Wide(DType::U8, &[9])]).at(26),
    case(&[("to", Int(12))], &[Floats(&[2, 5])]).at(26),
    case(&[("to", Int(1))], &[Small(DType::U32, &[0, 3])]).at(26).runs("view"),
    case(&[("to", Int(10))], &[Small(DType::I16, &[5])]).at(26).runs("cpu"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(x: &Tensor, to: DType) -> Result<Tensor> {
        Ok(BitCast { to }.eval(Operands::new(&[Some(x)]), EvalPrecision::Declared)?.remove(0))
    }

    #[test]
    fn small_types_and_back() {
        let bytes: Vec<u8> = (0..16).collect();
        let unsigned = Tensor::from_bytes(DType::U4, [16], &bytes).unwrap();
        let signed = bits(&unsigned, DType::I4).unwrap();
        assert_eq!(signed.to_i64s().unwrap()[6..10], [6, 7, -8, -7]);
        assert_eq!(bits(&signed, DType::U4).unwrap(), unsigned);
        assert_eq!(bits(&signed, DType::F4E2M1).unwrap().to_f64s().unwrap()[7..10], [6.0, 0.0, -0.5]);
    }

    #[test]
    fn another_width_is_an_error() {
        let error = bits(&Tensor::scalar(1.0f64), DType::I32).unwrap_err();
        assert!(error.message().contains("another width"), "{error}");
        let error = bits(&Tensor::scalar(1i32), DType::I64).unwrap_err();
        assert!(error.message().contains("32 bits"), "{error}");
    }
}
