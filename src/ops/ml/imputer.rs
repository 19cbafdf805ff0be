//! [Imputer](https://onnx.ai/onnx/operators/onnx_aionnxml_Imputer.html), version 1 of ai.onnx.ml: one value,
//! which may be NaN, replaced by another, or by one of each feature's own.

use super::{DOMAIN, integers};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "Imputer", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub enum Imputer {
    Floats { replaced: f64, imputed: Vec<f64> },
    Ints { replaced: i64, imputed: Vec<i64> },
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let floats = super::reals(node, "imputed_value_floats")?;
    let (float, int) = (node.float("replaced_value_float", 0.0)?, node.int("replaced_value_int64", 0)?);
    match (floats.is_empty(), integers(node, "imputed_value_int64s")?) {
        (false, None) => Ok(Arc::new(Imputer::Floats { replaced: float as f64, imputed: floats })),
        (true, Some(imputed)) => Ok(Arc::new(Imputer::Ints { replaced: int, imputed })),
        _ => Err(Error::model("of 'imputed_value_floats' and 'imputed_value_int64s' one must be given")),
    }
}

impl Operator for Imputer {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let (count, fits) = match self {
            Imputer::Floats { imputed, .. } => (imputed.len(), x.dtype.is_float()),
            Imputer::Ints { imputed, .. } => (imputed.len(), x.dtype.is_integer()),
        };
        let features = x.shape.last().copied().unwrap_or(1);
        if !fits || count != 1 && count != features {
            return Err(Error::model(format!(
                "{count} values of another type than {}, or for {features} features",
                x.dtype
            ))
            .into());
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let made = match self {
            Imputer::Floats { replaced, imputed } => {
                let mut list = x.to_f64s()?;
                for (at, x) in list.iter_mut().enumerate() {
                    if *x == *replaced || x.is_nan() && replaced.is_nan() {
                        *x = imputed[at % imputed.len()];
                    }
                }
                Tensor::new(x.shape(), list)?
            }
            Imputer::Ints { replaced, imputed } => {
                let mut list = cast(x, DType::I64, true)?.to_i64s()?;
                for (at, x) in list.iter_mut().enumerate().filter(|(_, x)| **x == *replaced) {
                    *x = imputed[at % imputed.len()];
                }
                Tensor::new(x.shape(), list)?
            }
        };
        Ok(vec![cast(&made, x.dtype(), true)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(
        &[("imputed_value_floats", Reals(&[1.5, -2.0, 7.0])), ("replaced_value_float", Float(f32::NAN))],
        &[Values(&[2, 3], &[0.5, f32::NAN, 3.0, f32::NAN, 1.0, f32::NAN])],
    )
    .at(1)
    .runs("cpu"),
    case(
        &[("imputed_value_int64s", Ints(&[9])), ("replaced_value_int64", Int(-1))],
        &[Indices(&[2, 3], &[1, -1, 2, -1, 0, 5])],
    )
    .at(1)
    .runs("cpu"),
];
