//! [Trilu](https://onnx.ai/onnx/operators/onnx__Trilu.html), version 14: the triangle of matrices on one side
//! of a diagonal, zeros elsewhere.
//!
//! Inputs: data `[…, n, m]` and optionally k, the diagonal (0 the main one, positive above it).

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Trilu", since: 14, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Trilu {
    upper: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=2)?;
    Ok(Arc::new(Trilu { upper: node.flag("upper", true)? }))
}

/// The diagonal that input 1 gives, if it is there.
fn diagonal(given: Option<&[i64]>) -> Result<i64> {
    match given {
        None => Ok(0),
        Some(&[k]) => Ok(k),
        Some(list) => {
            Err(Error::input(format!("the diagonal of a Trilu is {} numbers, not one", list.len())))
        }
    }
}

impl Operator for Trilu {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if x.rank() < 2 {
            return Err(Error::model(format!("a tensor of rank {} holds no matrices", x.rank())).into());
        }
        // The GPU needs to know the diagonal.
        diagonal(inputs.optional_ints(1)?.as_deref())?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [.., rows, columns] = *x.shape() else {
            return Err(Error::model(format!("a tensor of rank {} holds no matrices", x.rank())));
        };
        let k = diagonal(inputs.optional(1).map(Tensor::to_i64s).transpose()?.as_deref())?;
        let kept = x.pick(x.shape(), |at| {
            let diagonal = (at % columns) as i64 - (at / columns % rows) as i64;
            let inside = if self.upper { diagonal >= k } else { diagonal <= k };
            inside.then_some(at)
        })?;
        Ok(vec![kept])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

impl Lower for Trilu {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let given = at.optional_ints(1)?;
        let k = diagonal(given.as_deref())?;
        crate::kernels::trilu::emit(at, self.upper, k)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5])]),
    case(&[("upper", Int(0))], &[I64(&[4, 3]), Known(&[-1])]),
    case(&[], &[Floats(&[3, 3]), Known(&[7])]),
    case(&[("upper", Int(0))], &[Floats(&[2, 197, 5]), Known(&[-190])]),
    case(&[], &[Wide(DType::U8, &[5, 1]), Known(&[-2])]),
    case(&[], &[Bools(&[3, 5]), Known(&[1])]),
    case(&[], &[Floats(&[2, 0, 3])]).runs("view"),
];
