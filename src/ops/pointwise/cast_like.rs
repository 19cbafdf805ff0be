//! [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html), version 15: a tensor in the type of
//! another; and what [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html) does without `saturate`, which
//! concerns 8-bit floats alone.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, Row, table};
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
        let expression = match beyond(to).filter(|_| !self.saturate) {
            Some(beyond) => unsaturated(at.fact(0)?.dtype, to, beyond),
            None => Pointwise::cast(to),
        };
        pointwise::emit_views(&expression, at, &[view])
    }
}

/// Where an 8-bit float ends, and how.
#[derive(Debug, Clone, Copy)]
struct Beyond {
    /// Half a step behind the largest number.
    edge: f64,
    /// Whether the edge itself is rounded to the largest number, which is even then.
    kept: bool,
    /// Whether what lies beyond is infinite, or no number.
    infinite: bool,
}

/// What lies beyond a type's largest number, where a cast that doesn't saturate makes a difference.
fn beyond(to: DType) -> Option<Beyond> {
    match to {
        DType::F8E4M3FN => Some(Beyond { edge: 464.0, kept: true, infinite: false }),
        DType::F8E4M3FNUZ => Some(Beyond { edge: 248.0, kept: false, infinite: false }),
        DType::F8E5M2 => Some(Beyond { edge: 61440.0, kept: false, infinite: true }),
        DType::F8E5M2FNUZ => Some(Beyond { edge: 61440.0, kept: false, infinite: false }),
        _ => None,
    }
}

/// A cast of what lies within, and what is beyond in its place.
fn unsaturated(from: DType, to: DType, beyond: Beyond) -> Pointwise {
    let mut steps = Pointwise { operands: 1, steps: vec![] };
    let mut x = Arg::Operand(0);
    if !matches!(from, DType::F32 | DType::F16) {
        x = steps.push_cast(x, DType::F32);
    }
    let mut made = steps.push_cast(x, to);
    let (above, below): (&'static Row, &'static Row) = if beyond.kept {
        (&table::GREATER, &table::LESS)
    } else {
        (&table::GREATER_OR_EQUAL, &table::LESS_OR_EQUAL)
    };
    // NaN is neither above nor below, and stays.
    for (row, sign) in [(above, 1.0), (below, -1.0)] {
        let outside = steps.push(row, vec![x, Arg::Const(sign * beyond.edge)]);
        let inside = steps.push(&table::NOT, vec![outside]);
        let other = if beyond.infinite { f64::INFINITY } else { f64::NAN }.copysign(sign);
        made = steps.push(&table::WHERE, vec![inside, made, Arg::Const(other)]);
    }
    steps
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 5]), I64(&[1])]).at(19),
    case(&[], &[I64(&[2, 5]), Floats(&[3])]).at(19),
    case(&[], &[Range(&[7], -9e9, 9e9), I32(&[])]).at(15),
    case(&[], &[Wide(DType::I64, &[5]), Bools(&[2])]).at(19),
    case(&[("saturate", Int(0))], &[Wide(DType::I8, &[5]), Wide(DType::U32, &[1])]).at(21),
    case(&[], &[Floats(&[3]), Floats(&[1])]).at(19).runs("view"),
    case(&[("saturate", Int(0))], &[Values(&[9], ENDS), Typed(DType::F8E4M3FN, &[1], &[0.0])]).at(19),
    case(&[("saturate", Int(0))], &[Values(&[9], ENDS), Typed(DType::F8E4M3FNUZ, &[1], &[0.0])]).at(19),
    case(&[("saturate", Int(0))], &[Values(&[9], ENDS), Typed(DType::F8E5M2, &[1], &[0.0])]).at(19),
    case(&[("saturate", Int(0))], &[Values(&[9], ENDS), Typed(DType::F8E5M2FNUZ, &[1], &[0.0])]).at(19),
];
/// About the ends of 8-bit floats, and beyond.
const ENDS: &[f32] = &[464.0, -464.1, 248.0, -247.9, 61439.0, -61440.0, 1e9, -1e30, 0.3];

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
