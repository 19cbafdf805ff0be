//! [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html), version 15: a tensor in the type of
//! another; and what [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html) does without `saturate`, which
//! concerns 8-bit floats alone.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::Result;
use crate::expression::Pointwise;
use crate::kernels::{Lowering, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "CastLike", since: 15, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct CastLike {
    /// `None`: that of input 1.
    pub to: Option<DType>,
    /// Whether numbers beyond an 8-bit float become its largest, not infinity or NaN.
    pub saturate: bool,
    /// To which power of two a number goes that float8e8m0 doesn't hold.
    pub round: Round,
}

/// ONNX's `round_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    Up,
    Down,
    /// And up halfway.
    Nearest,
}

impl Round {
    /// The attribute of a Cast or CastLike.
    pub fn parse(node: &NodeView) -> Result<Self> {
        Ok(match node.choice("round_mode", "up", &["up", "down", "nearest"])?.as_str() {
            "down" => Round::Down,
            "nearest" => Round::Nearest,
            _ => Round::Up,
        })
    }

    /// A positive number's power of two.
    fn power(self, x: f64) -> f64 {
        // float64's exponent: what other types hold is normal there.
        let below = f64::from_bits(x.to_bits() & 0x7ff0_0000_0000_0000);
        match self {
            _ if x == below => x,
            Round::Down => below,
            Round::Nearest if x < 1.5 * below => below,
            _ => 2.0 * below,
        }
    }
}

/// A cast to a type of the `saturate` and `round_mode` that are given.
fn converted(x: &Tensor, to: DType, saturate: bool, round: Round) -> Result<Tensor> {
    if to != DType::F8E8M0 || round == Round::Up || x.dtype() == to {
        return cast(x, to, saturate);
    }
    let powers = x.to_f64s()?.into_iter().map(|x| if x > 0.0 && x.is_finite() { round.power(x) } else { x });
    cast(&Tensor::new(x.shape(), powers.collect::<Vec<_>>())?, to, saturate)
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(CastLike { to: None, saturate: node.flag("saturate", true)?, round: Round::parse(node)? }))
}

impl Operator for CastLike {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let to = match self.to {
            Some(to) => to,
            None => inputs.required(1)?.dtype,
        };
        let x = inputs.required(0)?;
        // The other's type is enough: a number that is known stays known, whatever it is cast like.
        let value =
            x.value.as_ref().map(|value| converted(value, to, self.saturate, self.round)).transpose()?;
        Ok(vec![Fact { value, ..Fact::new(to, x.shape.clone()) }])
    }

    /// Types are what this is about.
    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let to = match self.to {
            Some(to) => mode.of(to),
            None => inputs.required(1)?.dtype(),
        };
        Ok(vec![converted(inputs.required(0)?, to, self.saturate, self.round)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

impl Lower for CastLike {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let to = at.output_fact(0)?.dtype;
        let view = at.view(0)?;
        if at.fact(0)?.dtype == to {
            at.alias(0, view);
            return Ok(());
        }
        if !self.saturate && to.is_narrow_float() {
            return Err(Unsupported::new(format!("a cast to {to} that doesn't saturate")));
        }
        pointwise::emit_views(&Pointwise::cast(to), at, &[view])
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 5]), I64(&[1])]).at(19),
    case(&[], &[I64(&[2, 5]), Floats(&[3])]).at(19),
    case(&[], &[Range(&[7], -9e9, 9e9), I32(&[])]).at(15),
    case(&[], &[Wide(DType::I64, &[5]), Bools(&[2])]).at(19),
    case(&[("saturate", Int(0))], &[Wide(DType::I8, &[5]), Wide(DType::U32, &[1])]).at(21),
    case(&[], &[Floats(&[3]), Floats(&[1])]).at(19).runs("view"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_to_the_power_of_two_that_its_mode_says() {
        let x = Tensor::new([5], vec![1.0f32, 1.2, 1.5, 0.7, 6.1]).unwrap();
        for (round, wanted) in [
            (Round::Up, [1.0, 2.0, 2.0, 1.0, 8.0]),
            (Round::Down, [1.0, 1.0, 1.0, 0.5, 4.0]),
            (Round::Nearest, [1.0, 1.0, 2.0, 0.5, 8.0]),
        ] {
            let made = converted(&x, DType::F8E8M0, true, round).unwrap();
            assert_eq!(
                (made.dtype(), &made.to_f64s().unwrap()[..]),
                (DType::F8E8M0, &wanted[..]),
                "{round:?}"
            );
        }
    }
}
