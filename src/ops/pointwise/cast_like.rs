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
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    node.choice("round_mode", "up", &["up"])?;
    Ok(Arc::new(CastLike { to: None, saturate: node.flag("saturate", true)? }))
}

impl Operator for CastLike {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let to = match self.to {
            Some(to) => to,
            None => inputs.required(1)?.dtype,
        };
        let x = inputs.required(0)?;
        // The other's type is enough: a number that is known stays known, whatever it is cast like.
        let value = x.value.as_ref().map(|value| cast(value, to, self.saturate)).transpose()?;
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
        Ok(vec![cast(inputs.required(0)?, to, self.saturate)?])
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
        if !self.saturate && to.is_small_float() && to != DType::BF16 {
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
