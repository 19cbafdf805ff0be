//! [FeatureVectorizer](https://onnx.ai/onnx/operators/onnx_aionnxml_FeatureVectorizer.html), version 1 of
//! ai.onnx.ml: rows of features side by side. Each input has as many features as `inputdimensions` says: it
//! is cut, or filled up with zeros, as onnxruntime does.

use super::{DOMAIN, floats, integers, rows};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "FeatureVectorizer", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct FeatureVectorizer {
    /// `None`: each input's own.
    sizes: Option<Vec<usize>>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let count = node.inputs.len();
    node.expect_inputs(1..=count.max(1))?;
    let size = |&size: &i64| single::size(size, "attribute 'inputdimensions'");
    let sizes = integers(node, "inputdimensions")?;
    let sizes = sizes.map(|list| list.iter().map(size).collect::<Result<Vec<_>>>()).transpose()?;
    if sizes.as_ref().is_some_and(|sizes| sizes.len() != count) {
        return Err(Error::model(format!("attribute 'inputdimensions' for {count} inputs is {sizes:?}")));
    }
    Ok(Arc::new(FeatureVectorizer { sizes }))
}

impl FeatureVectorizer {
    fn size(&self, index: usize, features: usize) -> usize {
        self.sizes.as_ref().and_then(|sizes| sizes.get(index).copied()).unwrap_or(features)
    }

    /// `[rows, features]`
    fn shape<'a>(&self, shapes: impl Iterator<Item = &'a [usize]>) -> Result<[usize; 2]> {
        let mut total: Option<[usize; 2]> = None;
        for (index, shape) in shapes.enumerate() {
            let [count, features] = rows(shape)?;
            let [known, before] = total.unwrap_or([count, 0]);
            if known != count {
                return Err(Error::model(format!("{known} and {count} rows side by side")));
            }
            total = Some([count, before.saturating_add(self.size(index, features))]);
        }
        total.ok_or_else(|| Error::model("has no inputs"))
    }
}

impl Operator for FeatureVectorizer {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        (0..inputs.len()).try_for_each(|index| inputs.required(index).map(drop))?;
        Ok(vec![Fact::new(DType::F32, self.shape(inputs.present().map(|fact| &fact.shape[..]))?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let shape = self.shape(inputs.present().map(Tensor::shape))?;
        let mut all: Vec<f64> = zeros(crate::tensor::element_count(&shape)?)?;
        let mut first = 0;
        for (index, x) in inputs.present().enumerate() {
            let [count, features] = rows(x.shape())?;
            let (size, list) = (self.size(index, features), x.to_f64s()?);
            let kept = size.min(features);
            for row in 0..if all.is_empty() { 0 } else { count } {
                all[row * shape[1] + first..][..kept].copy_from_slice(&list[row * features..][..kept]);
            }
            first += size;
        }
        Ok(vec![floats(shape, all, mode)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(&[("inputdimensions", Ints(&[3, 2]))], &[Floats(&[4, 3]), Floats(&[4, 2])]).at(1).runs("cpu"),
    case(&[("inputdimensions", Ints(&[2, 4]))], &[Floats(&[2, 3]), Floats(&[2, 3])]).at(1).runs("cpu"),
];
