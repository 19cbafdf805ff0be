//! [ArrayFeatureExtractor](https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html), version
//! 1 of ai.onnx.ml: the features of each row that a list of indices names. Of one dimension, a row is made.

use super::DOMAIN;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::gather::{Addressing, gathered};
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
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

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

impl Lower for ArrayFeatureExtractor {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (types, count) = ([at.fact(0)?.dtype, at.fact(1)?.dtype], at.fact(1)?.count());
        let (data, indices) = (at.view(0)?, at.input(1, Layout::Dense)?);
        let Some((&features, outer)) = data.shape.split_last() else {
            return Err(Unsupported::new("a scalar has no features"));
        };
        let axis = outer.len();
        if let Some(known) = at.constant(1).map(Tensor::to_i64s).transpose()?
            && known.iter().any(|index| usize::try_from(*index).map_or(true, |at| at >= features))
        {
            return Err(Unsupported::new("an index outside the features"));
        }
        let indices = at.reshaped(indices, &[count], "indices of nothing")?;
        // Of one dimension a row is made.
        let steps = if axis == 0 { vec![0] } else { data.strides[..axis].to_vec() };
        let addressing = Addressing {
            index_strides: [&vec![0; steps.len()][..], &indices.strides].concat(),
            data_strides: [&steps[..], &[0]].concat(),
            tuple_step: 0,
            axis,
            axes: vec![(features, data.strides[axis])],
        };
        let report = at.report(1, axis, vec![features], false);
        let output = at.output(0, Layout::Dense)?;
        gathered(at, (&data, types[0]), (&indices, types[1]), &addressing, false, report, output)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 4]), Indices(&[3], &[3, 0, 3])]).at(1),
    case(&[], &[I64(&[5]), Indices(&[1, 2], &[4, 1])]).at(1),
    case(&[], &[Floats(&[2, 3, 5]), Known(&[4, 4, 0, 1, 2, 3, 4])]).at(1),
    case(&[], &[Floats(&[1]), Indices(&[1], &[0])]).at(1),
];
