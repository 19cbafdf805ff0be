//! [Trilu](https://onnx.ai/onnx/operators/onnx__Trilu.html), version 14: the triangle of matrices on one side of a diagonal,
//! zeros elsewhere.
//!
//! Inputs: data `[…, n, m]` and optionally k, the diagonal (0 the main one, positive above it).

use crate::compare::Bound;
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Fact, Infer, Mode, NodeView, OpDef, Operands, Operator};
use crate::tensor::Tensor;
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

impl Operator for Trilu {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if x.rank() < 2 {
            return Err(Error::model(format!("a tensor of rank {} holds no matrices", x.rank())).into());
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: Mode) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [.., rows, columns] = *x.shape() else { return Err(Error::model(format!("a tensor of rank {} holds no matrices", x.rank()))) };
        let k = match inputs.optional(1).map(Tensor::to_i64s).transpose()?.as_deref() {
            None => 0,
            Some(&[k]) => k,
            Some(list) => return Err(Error::input(format!("the diagonal of a Trilu is {} numbers, not one", list.len()))),
        };
        let kept = x.pick(x.shape(), |at| {
            let diagonal = (at % columns) as i64 - (at / columns % rows) as i64;
            let inside = if self.upper { diagonal >= k } else { diagonal <= k };
            inside.then_some(at)
        })?;
        Ok(vec![kept])
    }

    fn moves(&self) -> bool {
        true
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5])]).runs("cpu"),
    case(&[("upper", Int(0))], &[I64(&[4, 3]), Known(&[-1])]).runs("cpu"),
    case(&[], &[Floats(&[3, 3]), Known(&[7])]).runs("cpu"),
];
