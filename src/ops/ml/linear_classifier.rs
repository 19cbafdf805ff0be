//! [LinearClassifier](https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html), version 1 of
//! ai.onnx.ml: weighted sums of features as scores of classes. Outputs: the label of the best, and the
//! scores.
//!
//! Of one score s and two labels, the scores are −s and s.

use super::labels::Labels;
use super::linear_regressor::Linear;
use super::post_transform::PostTransform;
use super::{DOMAIN, floats, reals, rows};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, allocate};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "LinearClassifier", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct LinearClassifier {
    linear: Linear,
    labels: Labels,
    post: PostTransform,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    // How the coefficients were trained.
    node.ignore(&["multi_class"]);
    let labels = Labels::parse(node, "classlabels_ints", "classlabels_strings")?;
    let (coefficients, intercepts) = (reals(node, "coefficients")?, reals(node, "intercepts")?);
    let results = if intercepts.is_empty() { labels.len() } else { intercepts.len() };
    if results != labels.len() && (results, labels.len()) != (1, 2) {
        return Err(Error::model(format!("{results} scores for {} labels", labels.len())));
    }
    let linear = Linear::new(coefficients, intercepts, results)?;
    Ok(Arc::new(LinearClassifier { linear, labels, post: PostTransform::parse(node)? }))
}

/// The first of the largest.
pub(super) fn best(scores: &[f64]) -> usize {
    let mut best = 0;
    for (at, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = at;
        }
    }
    best
}

impl Operator for LinearClassifier {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let [count, features] = rows(&inputs.required(0)?.shape)?;
        self.linear.check(features)?;
        let scores = Fact::new(DType::F32, [count, self.labels.len()]);
        Ok(vec![Fact::new(self.labels.dtype(), [count]), scores])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [count, features] = rows(x.shape())?;
        let shape = [count, self.labels.len()];
        let mut list: Vec<f64> = allocate(crate::tensor::element_count(&shape)?)?;
        let mut classes: Vec<usize> = allocate(count)?;
        let xs = x.to_f64s()?;
        for row in 0..count {
            let mut scores: Vec<f64> = self.linear.of(&xs[row * features..][..features]).collect();
            if let ([score], 2) = (&scores[..], self.labels.len()) {
                scores = vec![-score, *score];
            }
            // An only label is given where its score is positive.
            classes.push(match scores[..] {
                [score] => usize::from(score <= 0.0),
                _ => best(&scores),
            });
            self.post.apply(&mut scores);
            list.extend(scores);
        }
        Ok(vec![self.labels.of(&classes)?, floats(shape, list, mode)?])
    }
}

const CASES: &[Case] = &[
    case(
        &[
            ("coefficients", Reals(&[0.5, -1.0, 2.0, 0.1, 0.3, -0.7, 0.2, 0.2, 0.4])),
            ("intercepts", Reals(&[0.25, -0.5, 0.1])),
            ("classlabels_ints", Ints(&[10, 20, 30])),
            ("post_transform", Text("SOFTMAX")),
        ],
        &[Floats(&[5, 3])],
    )
    .at(1)
    .outputs(2)
    .runs("cpu"),
    case(
        &[
            ("coefficients", Reals(&[0.5, -1.0])),
            ("intercepts", Reals(&[0.25])),
            ("classlabels_ints", Ints(&[3, 4])),
            ("post_transform", Text("LOGISTIC")),
        ],
        &[Floats(&[5, 2])],
    )
    .at(1)
    .outputs(2)
    .runs("cpu"),
];
