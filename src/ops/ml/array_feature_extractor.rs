//! [ArrayFeatureExtractor](https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html), version
//! 1 of ai.onnx.ml: the features of each row that a list of indices names. Of one dimension, a row is made.

use super::DOMAIN;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "ArrayFeatureExtractor", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct ArrayFeatureExtractor;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(ArrayFeatureExtractor))
}

impl Operator for ArrayFeatureExtractor {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, indices) = (inputs.required(0)?, inputs.required(1)?);
        let Some((_, outer)) = x.shape.split_last() else {
            return Err(Error::model("a scalar has no features").into());
        };
        let mut shape = if outer.is_empty() { vec![1] } else { outer.to_vec() };
        shape.push(indices.count());
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, indices) = (inputs.required(0)?, inputs.required(1)?.to_i64s()?);
        let features = x.shape().last().copied().unwrap_or(1);
        let known = |&index: &i64| {
            usize::try_from(index).ok().filter(|&at| at < features).ok_or_else(|| {
                Error::input(format!("index {index} lies outside {features} features")).of_input(1)
            })
        };
        let indices = indices.iter().map(known).collect::<Result<Vec<_>>>()?;
        let outer = &x.shape()[..x.rank().saturating_sub(1)];
        let mut shape = if outer.is_empty() { vec![1] } else { outer.to_vec() };
        shape.push(indices.len());
        let source = |at: usize| Some(at / indices.len() * features + indices[at % indices.len()]);
        Ok(vec![x.pick(shape, source)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 4]), Indices(&[3], &[3, 0, 3])]).at(1).runs("cpu"),
    case(&[], &[I64(&[5]), Indices(&[1, 2], &[4, 1])]).at(1).runs("cpu"),
];
