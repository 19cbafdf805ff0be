//! [Normalizer](https://onnx.ai/onnx/operators/onnx_aionnxml_Normalizer.html), version 1 of ai.onnx.ml: each
//! row divided by its largest element, by the sum of its magnitudes, or by the root of that of its squares,
//! where that isn't 0.

use super::{DOMAIN, floats, rows};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "Normalizer", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Norm {
    Max,
    L1,
    L2,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Normalizer(Norm);

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Normalizer(match node.choice("norm", "MAX", &["MAX", "L1", "L2"])?.as_str() {
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        _ => Norm::Max,
    })))
}

impl Operator for Normalizer {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        rows(&x.shape)?;
        Ok(vec![Fact::new(DType::F32, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [_, features] = rows(x.shape())?;
        let mut list = x.to_f64s()?;
        for row in list.chunks_exact_mut(features.max(1)) {
            let divisor = match self.0 {
                Norm::Max => row.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Norm::L1 => row.iter().map(|x| x.abs()).sum(),
                Norm::L2 => row.iter().map(|x| x * x).sum::<f64>().sqrt(),
            };
            if divisor != 0.0 {
                row.iter_mut().for_each(|x| *x /= divisor);
            }
        }
        Ok(vec![floats(x.shape(), list, mode)?])
    }
}

const CASES: &[Case] = &[
    case(&[], &[Range(&[3, 5], 0.1, 4.0)]).at(1).runs("cpu"),
    case(&[("norm", Text("L1"))], &[Floats(&[3, 5])]).at(1).runs("cpu"),
    case(&[("norm", Text("L2"))], &[I64(&[3, 4])]).at(1).runs("cpu"),
];
