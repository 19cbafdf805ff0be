//! [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html), versions 15, 19, 21, 23, 24: a cast to the type of another
//! tensor, whose elements don't matter.

use super::{Pointwise, table};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Fact, Infer, Mode, NodeView, OpDef, Operands, Operator};
use crate::plan::{Lowering, Unsupported};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "CastLike", since: 15, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct CastLike;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    node.choice("round_mode", "up", &["up"])?;
    if !node.flag("saturate", true)? {
        return Err(Error::unsupported("saturate = 0").remedy("set saturate to 1"));
    }
    Ok(Arc::new(CastLike))
}

impl CastLike {
    /// What it is once the type is known.
    pub fn expression(to: DType) -> Pointwise {
        let mut expression = Pointwise::of(&table::CAST, 1, &[]);
        expression.steps[0].to = Some(to);
        expression
    }
}

impl Operator for CastLike {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, to) = (inputs.required(0)?, inputs.required(1)?.dtype);
        // A known value stays one: the type of the other tensor is known even where its elements aren't.
        Ok(vec![match &x.value {
            Some(value) => Fact::of(&cast(value, to, true)?),
            None => Fact::new(to, x.shape.clone()),
        }])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: Mode) -> Result<Vec<Tensor>> {
        Ok(vec![cast(inputs.required(0)?, inputs.required(1)?.dtype(), true)?])
    }

    fn moves(&self) -> bool {
        true
    }

    fn lower(&self, at: &mut Lowering<'_>) -> Result<(), Unsupported> {
        let (from, to) = (at.fact(0)?.dtype, at.fact(1)?.dtype);
        let view = at.view(0)?;
        if from == to {
            at.alias(0, view);
            return Ok(());
        }
        crate::kernels::pointwise::lower_views(&Self::expression(to), at, &[view])
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 5]), I32(&[1])]),
    case(&[], &[I64(&[197]), Floats(&[3])]),
    case(&[], &[Wide(DType::I32, &[5]), Wide(DType::U8, &[1])]),
    case(&[], &[Floats(&[3]), Floats(&[5])]).runs("view"),
    case(&[("saturate", Int(1))], &[Known(&[1, 2, 3]), Floats(&[5])]).runs("plan"),
];
