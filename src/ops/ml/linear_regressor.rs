//! [LinearRegressor](https://onnx.ai/onnx/operators/onnx_aionnxml_LinearRegressor.html), version 1 of
//! ai.onnx.ml: weighted sums of features, one for each target.

use super::post_transform::PostTransform;
use super::{DOMAIN, floats, reals, rows};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, allocate};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "LinearRegressor", since: 1, parse, cases: CASES };

/// Weighted sums of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    /// Row by row, one for each result.
    pub coefficients: Vec<f64>,
    /// One for each result, or none.
    pub intercepts: Vec<f64>,
    pub results: usize,
}

impl Linear {
    pub fn new(coefficients: Vec<f64>, intercepts: Vec<f64>, results: usize) -> Result<Self> {
        let whole = results > 0 && coefficients.len().is_multiple_of(results);
        if !whole || !intercepts.is_empty() && intercepts.len() != results {
            return Err(Error::model(format!(
                "{} coefficients and {} intercepts for {results} results",
                coefficients.len(),
                intercepts.len()
            )));
        }
        Ok(Self { coefficients, intercepts, results })
    }

    pub fn features(&self) -> usize {
        self.coefficients.len() / self.results.max(1)
    }

    /// Errors unless rows have as many features as there are coefficients to a result.
    pub fn check(&self, features: usize) -> Result<()> {
        if features == self.features() {
            return Ok(());
        }
        Err(Error::model(format!("{} coefficients for rows of {features} features", self.features())))
    }

    /// The results of a row.
    pub fn of(&self, row: &[f64]) -> impl Iterator<Item = f64> {
        (0..self.results).map(move |result| {
            let weights = &self.coefficients[result * row.len()..][..row.len()];
            weights.iter().zip(row).map(|(w, x)| w * x).sum::<f64>()
                + self.intercepts.get(result).copied().unwrap_or(0.0)
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct LinearRegressor {
    linear: Linear,
    post: PostTransform,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let targets = single::size(node.int("targets", 1)?, "attribute 'targets'")?;
    let linear = Linear::new(reals(node, "coefficients")?, reals(node, "intercepts")?, targets)?;
    Ok(Arc::new(LinearRegressor { linear, post: PostTransform::parse(node)? }))
}

impl Operator for LinearRegressor {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let [count, features] = rows(&inputs.required(0)?.shape)?;
        self.linear.check(features)?;
        Ok(vec![Fact::new(DType::F32, [count, self.linear.results])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [count, features] = rows(x.shape())?;
        let shape = [count, self.linear.results];
        let mut list: Vec<f64> = allocate(crate::tensor::element_count(&shape)?)?;
        let xs = x.to_f64s()?;
        for row in 0..count {
            list.extend(self.linear.of(&xs[row * features..][..features]));
        }
        list.chunks_exact_mut(self.linear.results).for_each(|row| self.post.apply(row));
        Ok(vec![floats(shape, list, mode)?])
    }
}

const CASES: &[Case] = &[
    case(&[("coefficients", Reals(&[0.5, -1.0, 2.0])), ("intercepts", Reals(&[0.25]))], &[Floats(&[4, 3])])
        .at(1)
        .runs("cpu"),
    case(
        &[
            ("coefficients", Reals(&[0.5, -1.0, 2.0, 0.1, 0.3, -0.7])),
            ("targets", Int(2)),
            ("post_transform", Text("SOFTMAX")),
        ],
        &[Floats(&[4, 3])],
    )
    .at(1)
    .runs("cpu"),
];
