//! [SVMClassifier](https://onnx.ai/onnx/operators/onnx_aionnxml_SVMClassifier.html), version 1 of ai.onnx.ml:
//! support vectors of several classes, each pair of which is judged by its own sum of kernels; or a linear
//! score of each class, where there are none. Outputs: a label, and the scores.
//!
//! ONNX's text says little of it: votes, scores and probabilities are those of libsvm ("LIBSVM", Chang and
//! Lin, 2011), as onnxruntime has them.

use super::labels::Labels;
use super::linear_classifier::best;
use super::post_transform::{PostTransform, logistic};
use super::svm::{Kernel, NAME, Vectors};
use super::{floats, integers, reals, rows};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, allocate};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: NAME, name: "SVMClassifier", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct SvmClassifier {
    labels: Labels,
    kernel: Kernel,
    vectors: Vectors,
    /// The first vector of each class, and the end.
    starts: Vec<usize>,
    coefficients: Vec<f64>,
    rho: Vec<f64>,
    /// The logistic functions that make probabilities of a pair's scores, where there are any.
    slopes: Vec<[f64; 2]>,
    post: PostTransform,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let labels = Labels::parse(node, "classlabels_ints", "classlabels_strings")?;
    let classes = labels.len();
    let mut starts = vec![0usize];
    for size in integers(node, "vectors_per_class")?.unwrap_or_default() {
        let last = starts[starts.len() - 1];
        starts.push(last.saturating_add(single::size(size, "attribute 'vectors_per_class'")?));
    }
    let count = starts[starts.len() - 1];
    let vectors = Vectors::new(reals(node, "support_vectors")?, count)?;
    let (coefficients, rho) = (reals(node, "coefficients")?, reals(node, "rho")?);
    let (a, b) = (reals(node, "prob_a")?, reals(node, "prob_b")?);
    let kernel = Kernel::parse(node)?;
    let pairs = classes.saturating_mul(classes - 1) / 2;
    let fits = if count > 0 {
        starts.len() == classes + 1
            && rho.len() == pairs
            && Some(coefficients.len()) == (classes - 1).checked_mul(count)
            && (a.is_empty() || a.len() == pairs)
    } else {
        !rho.is_empty() && coefficients.len() % classes == 0 && a.is_empty()
    };
    if !fits || a.len() != b.len() {
        return Err(Error::model(format!(
            "{} coefficients, {} of 'rho', {} of 'prob_a' for {classes} classes and {count} support vectors",
            coefficients.len(),
            rho.len(),
            a.len()
        )));
    }
    Ok(Arc::new(SvmClassifier {
        kernel: if count > 0 { kernel } else { Kernel::Linear },
        labels,
        vectors,
        starts,
        coefficients,
        rho,
        slopes: a.into_iter().zip(b).map(|(a, b)| [a, b]).collect(),
        post: PostTransform::parse(node)?,
    }))
}

/// The pairs of classes, in the order of their scores.
fn pairs(classes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..classes).flat_map(move |i| (i + 1..classes).map(move |j| (i, j)))
}

/// The probabilities of classes from those of pairs (Wu, Lin and Weng, 2004).
fn coupled(classes: usize, pairwise: &[Vec<f64>]) -> Vec<f64> {
    let mut p = vec![1.0 / classes as f64; classes];
    let mut q = vec![vec![0.0; classes]; classes];
    for (t, j) in (0..classes).flat_map(|t| (0..classes).map(move |j| (t, j))).filter(|(t, j)| t != j) {
        q[t][t] += pairwise[j][t] * pairwise[j][t];
        q[t][j] = -pairwise[j][t] * pairwise[t][j];
    }
    for _ in 0..classes.max(100) {
        let mut qp: Vec<f64> = q.iter().map(|row| row.iter().zip(&p).map(|(q, p)| q * p).sum()).collect();
        let mut pqp: f64 = p.iter().zip(&qp).map(|(p, q)| p * q).sum();
        if qp.iter().all(|x| (x - pqp).abs() < 0.005 / classes as f64) {
            break;
        }
        for t in 0..classes {
            let diff = (pqp - qp[t]) / q[t][t];
            p[t] += diff;
            pqp = (pqp + diff * (diff * q[t][t] + 2.0 * qp[t])) / (1.0 + diff) / (1.0 + diff);
            for j in 0..classes {
                qp[j] = (qp[j] + diff * q[t][j]) / (1.0 + diff);
                p[j] /= 1.0 + diff;
            }
        }
    }
    p
}

impl SvmClassifier {
    fn features(&self) -> usize {
        if self.vectors.count > 0 {
            self.vectors.features()
        } else {
            self.coefficients.len() / self.labels.len()
        }
    }

    /// Scores of a row: one for each class, or for each pair of them.
    fn columns(&self) -> usize {
        let classes = self.labels.len();
        match (self.vectors.count > 0 && self.slopes.is_empty(), classes) {
            (true, 2) => 2,
            (true, _) => classes * (classes - 1) / 2,
            (false, _) => classes,
        }
    }

    /// A pair's score, and the votes for classes.
    fn judged(&self, row: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let classes = self.labels.len();
        let kernels = self.vectors.kernels(self.kernel, row);
        let mut votes = vec![0.0; classes];
        let mut scores = vec![];
        for (pair, (i, j)) in pairs(classes).enumerate() {
            let part = |line: usize, class: usize| -> f64 {
                let range = self.starts[class]..self.starts[class + 1];
                let weights = &self.coefficients[line * self.vectors.count..][..self.vectors.count];
                weights[range.clone()].iter().zip(&kernels[range]).map(|(w, k)| w * k).sum()
            };
            let score = self.rho[pair] + part(j - 1, i) + part(i, j);
            votes[if score > 0.0 { i } else { j }] += 1.0;
            scores.push(score);
        }
        (scores, votes)
    }

    /// The class of a row, and its scores.
    fn classified(&self, row: &[f64]) -> (usize, Vec<f64>) {
        let classes = self.labels.len();
        if self.vectors.count == 0 {
            let scores: Vec<f64> = (0..classes)
                .map(|class| {
                    self.rho[0] + self.kernel.of(row, &self.coefficients[class * row.len()..][..row.len()])
                })
                .collect();
            return (best(&scores), scores);
        }
        let (scores, votes) = self.judged(row);
        if self.slopes.is_empty() {
            let scores = match scores[..] {
                [score] => vec![-score, score],
                _ => scores,
            };
            return (best(&votes), scores);
        }
        let mut pairwise = vec![vec![0.0; classes]; classes];
        for ((i, j), (score, [a, b])) in pairs(classes).zip(scores.iter().zip(&self.slopes)) {
            let share = (1.0 - logistic(score * a + b)).clamp(1e-7, 1.0 - 1e-7);
            (pairwise[i][j], pairwise[j][i]) = (share, 1.0 - share);
        }
        (best(&votes), coupled(classes, &pairwise))
    }
}

impl Operator for SvmClassifier {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let [count, features] = rows(&inputs.required(0)?.shape)?;
        if features != self.features() {
            return Err(
                Error::model(format!("rows of {features} features; {} are known", self.features())).into()
            );
        }
        let scores = Fact::new(DType::F32, [count, self.columns()]);
        Ok(vec![Fact::new(self.labels.dtype(), [count]), scores])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [count, features] = rows(x.shape())?;
        let shape = [count, self.columns()];
        let mut list: Vec<f64> = allocate(crate::tensor::element_count(&shape)?)?;
        let (xs, mut classes) = (x.to_f64s()?, allocate(count)?);
        for row in 0..count {
            let (class, mut scores) = self.classified(&xs[row * features..][..features]);
            self.post.apply(&mut scores);
            classes.push(class);
            list.extend(scores);
        }
        Ok(vec![self.labels.of(&classes)?, floats(shape, list, mode)?])
    }
}

const CASES: &[Case] = &[
    case(
        &[
            ("kernel_type", Text("RBF")),
            ("kernel_params", Reals(&[0.4, 0.0, 3.0])),
            ("support_vectors", Reals(&[0.5, -1.0, 2.0, 0.1, 0.3, -0.7, -1.2, 0.8])),
            ("vectors_per_class", Ints(&[1, 2, 1])),
            ("coefficients", Reals(&[0.5, -1.5, 0.7, 0.4, 1.0, -0.6, -0.3, 0.2])),
            ("rho", Reals(&[0.3, -0.2, 0.1])),
            ("classlabels_ints", Ints(&[7, 8, 9])),
        ],
        &[Floats(&[5, 2])],
    )
    .at(1)
    .outputs(2)
    .runs("cpu"),
    case(
        &[
            ("kernel_type", Text("RBF")),
            ("kernel_params", Reals(&[0.4, 0.0, 3.0])),
            ("support_vectors", Reals(&[0.5, -1.0, 2.0, 0.1, 0.3, -0.7, -1.2, 0.8])),
            ("vectors_per_class", Ints(&[1, 2, 1])),
            ("coefficients", Reals(&[0.5, -1.5, 0.7, 0.4, 1.0, -0.6, -0.3, 0.2])),
            ("rho", Reals(&[0.3, -0.2, 0.1])),
            ("prob_a", Reals(&[-1.2, -0.8, -1.0])),
            ("prob_b", Reals(&[0.1, 0.0, -0.1])),
            ("classlabels_ints", Ints(&[7, 8, 9])),
        ],
        &[Floats(&[5, 2])],
    )
    .at(1)
    .outputs(2)
    .runs("cpu"),
    case(
        &[
            ("coefficients", Reals(&[0.5, -1.5, 0.7, 0.4, 1.0, -0.6])),
            // Of one entry onnxruntime makes the labels 0 and 1.
            ("rho", Reals(&[0.3, 0.3, 0.3])),
            ("classlabels_ints", Ints(&[7, 8, 9])),
        ],
        &[Floats(&[5, 2])],
    )
    .at(1)
    .outputs(2)
    .runs("cpu"),
];
