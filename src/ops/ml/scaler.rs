//! [Scaler](https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html), version 1 of ai.onnx.ml: features
//! shifted, then multiplied.

use super::{DOMAIN, floats, reals};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "Scaler", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    /// One for each feature, or for all of them.
    offset: Vec<f64>,
    scale: Vec<f64>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let (offset, scale) = (reals(node, "offset")?, reals(node, "scale")?);
    if offset.is_empty() || offset.len() != scale.len() {
        return Err(Error::model(format!("{} offsets and {} scales", offset.len(), scale.len())));
    }
    Ok(Arc::new(Scaler { offset, scale }))
}

impl Operator for Scaler {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let features = x.shape.last().copied().unwrap_or(1);
        if self.scale.len() != 1 && self.scale.len() != features {
            return Err(Error::model(format!("{} scales for {features} features", self.scale.len())).into());
        }
        Ok(vec![Fact::new(DType::F32, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let mut list = x.to_f64s()?;
        for (at, x) in list.iter_mut().enumerate() {
            let feature = at % self.scale.len();
            *x = (*x - self.offset[feature]) * self.scale[feature];
        }
        Ok(vec![floats(x.shape(), list, mode)?])
    }
}

const CASES: &[Case] = &[
    case(&[("offset", Reals(&[0.5, -1.0, 2.0])), ("scale", Reals(&[2.0, 0.3, -1.0]))], &[Floats(&[4, 3])])
        .at(1)
        .runs("cpu"),
    case(&[("offset", Reals(&[0.5])), ("scale", Reals(&[0.1]))], &[I64(&[2, 5])]).at(1).runs("cpu"),
];
