//! [TreeEnsembleClassifier](https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html),
//! versions 1, 3, 5 of ai.onnx.ml: votes of decision trees as scores of classes. Outputs: the best class's
//! label, and the scores.
//!
//! Of two classes the leaves may vote for one alone, by a score s, and ONNX's text doesn't say what then. As
//! onnxruntime has it, votes for the second class leave the first 0; those for the first are the second's,
//! and the first is 1 − s where no weight is negative, else −s. The second label is given above 0.5, or 0.

use super::labels::Labels;
use super::linear_classifier::best;
use super::post_transform::PostTransform;
use super::trees::{Aggregate, Forest};
use super::{DOMAIN, floats, integers, reals_or_tensor, rows};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::ml::tree_ensemble_regressor::trees;
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, allocate, element_count};
use std::sync::Arc;

pub const DEF: OpDef =
    OpDef { domain: DOMAIN, name: "TreeEnsembleClassifier", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct TreeEnsembleClassifier {
    forest: Forest,
    labels: Labels,
    base: Vec<f64>,
    post: PostTransform,
    /// The one of two classes that the leaves vote for.
    only: Option<usize>,
    all_positive: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let labels = Labels::parse(node, "classlabels_int64s", "classlabels_strings")?;
    let base = reals_or_tensor(node, "base_values")?;
    let voted = integers(node, "class_ids")?.unwrap_or_default();
    let first = voted.first().and_then(|&class| usize::try_from(class).ok());
    let alone = labels.len() == 2 && base.len() < 2 && voted.iter().all(|class| *class == voted[0]);
    let only = first.filter(|_| alone);
    if !base.is_empty() && base.len() != labels.len() && (base.len() != 1 || only.is_none()) {
        return Err(Error::model(format!("{} base values for {} classes", base.len(), labels.len())));
    }
    let all_positive = reals_or_tensor(node, "class_weights")?.iter().all(|weight| *weight >= 0.0);
    Ok(Arc::new(TreeEnsembleClassifier {
        forest: Forest::parse(node, "class", labels.len())?,
        labels,
        base,
        post: PostTransform::parse(node)?,
        only,
        all_positive,
    }))
}

impl TreeEnsembleClassifier {
    /// The class of a row, and its scores.
    fn classified(&self, row: &[f64]) -> (usize, Vec<f64>) {
        let classes = self.labels.len();
        let votes = self.forest.scores(row, classes, Aggregate::Sum);
        let base = |class: usize| self.base.get(class).copied().unwrap_or(0.0);
        if let Some(only) = self.only {
            let score = votes[only].unwrap_or(0.0) + base(0);
            // Of the score as it is given out: 0.1 and 0.4 in float32 are 0.5 there.
            let class = usize::from(score as f32 > if self.all_positive { 0.5 } else { 0.0 });
            let mut scores = match (only, self.all_positive && self.post != PostTransform::Logistic) {
                (1, _) => vec![0.0, score],
                (_, true) => vec![1.0 - score, score],
                (_, false) => vec![-score, score],
            };
            // Shares are left as they are.
            if only == 1 || !matches!(self.post, PostTransform::Softmax | PostTransform::SoftmaxZero) {
                self.post.apply(&mut scores);
            }
            return (class, scores);
        }
        let mut scores: Vec<f64> = (0..classes).map(|k| votes[k].unwrap_or(0.0) + base(k)).collect();
        let class = match scores[..] {
            // An only label is given where its score is positive.
            [score] => usize::from(score <= 0.0),
            _ => best(&scores),
        };
        self.post.apply(&mut scores);
        (class, scores)
    }
}

impl Operator for TreeEnsembleClassifier {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let [count, features] = rows(&inputs.required(0)?.shape)?;
        if features < self.forest.features {
            let most = self.forest.features - 1;
            return Err(
                Error::model(format!("its trees ask for feature {most}, and rows have {features}")).into()
            );
        }
        let scores = Fact::new(DType::F32, [count, self.labels.len()]);
        Ok(vec![Fact::new(self.labels.dtype(), [count]), scores])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [count, features] = rows(x.shape())?;
        let shape = [count, self.labels.len()];
        let mut list: Vec<f64> = allocate(element_count(&shape)?)?;
        let (xs, mut classes) = (x.to_f64s()?, allocate(count)?);
        for row in 0..count {
            let (class, scores) = self.classified(&xs[row * features..][..features]);
            classes.push(class);
            list.extend(scores);
        }
        Ok(vec![self.labels.of(&classes)?, floats(shape, list, mode)?])
    }
}

const CASES: &[Case] = &[
    case(
        trees![
            ("classlabels_int64s", Ints(&[5, 6, 7])),
            ("post_transform", Text("SOFTMAX")),
            ("class_treeids", Ints(&[0, 0, 0, 1, 1, 1])),
            ("class_nodeids", Ints(&[1, 2, 2, 1, 1, 2])),
            ("class_ids", Ints(&[0, 0, 1, 0, 1, 2])),
            ("class_weights", Reals(&[1.0, -2.0, 3.0, 0.25, 4.0, -1.5]))
        ],
        &[Floats(&[7, 2])],
    )
    .at(1)
    .outputs(2)
    .runs("cpu"),
    case(
        trees![
            ("classlabels_int64s", Ints(&[5, 6])),
            ("post_transform", Text("LOGISTIC")),
            ("class_treeids", Ints(&[0, 0, 1, 1])),
            ("class_nodeids", Ints(&[1, 2, 1, 2])),
            ("class_ids", Ints(&[0, 0, 0, 0])),
            ("class_weights", Reals(&[1.0, -2.0, 0.25, 4.0]))
        ],
        &[Floats(&[7, 2])],
    )
    .at(1)
    .outputs(2)
    .runs("cpu"),
    case(
        trees![
            ("classlabels_int64s", Ints(&[5, 6])),
            ("class_treeids", Ints(&[0, 0, 1, 1])),
            ("class_nodeids", Ints(&[1, 2, 1, 2])),
            ("class_ids", Ints(&[1, 1, 1, 1])),
            ("class_weights", Reals(&[0.1, 0.2, 0.25, 0.4]))
        ],
        &[Floats(&[7, 2])],
    )
    .at(3)
    .outputs(2)
    .runs("cpu"),
];
