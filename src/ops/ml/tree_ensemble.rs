//! [TreeEnsemble](https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html), version 5 of ai.onnx.ml:
//! what the leaves of decision trees that a row comes to sum up to, or their mean or an extreme.

use super::post_transform::PostTransform;
use super::trees::{Aggregate, Forest, Test, TreeNode, Vote, feature};
use super::{DOMAIN, integers, rows};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "TreeEnsemble", since: 5, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct TreeEnsemble {
    pub(super) forest: Forest,
    pub(super) targets: usize,
    pub(super) aggregate: Aggregate,
    /// Added to each target: none, one for all, or one for each.
    pub(super) base: Vec<f64>,
    pub(super) post: PostTransform,
    /// The output's type; `None`: the input's.
    pub(super) dtype: Option<DType>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    node.ignore(&["nodes_hitrates"]);
    let ints = |name: &str| Ok(integers(node, name)?.unwrap_or_default());
    let reals =
        |name: &str| -> Result<Vec<f64>> { node.tensor(name)?.map_or(Ok(vec![]), |list| list.to_f64s()) };
    let targets = single::size(node.int("n_targets", 1)?, "attribute 'n_targets'")?;
    let (values, modes, weights) = (reals("nodes_splits")?, reals("nodes_modes")?, reals("leaf_weights")?);
    let (features, missing) = (ints("nodes_featureids")?, ints("nodes_missing_value_tracks_true")?);
    let ways = [ints("nodes_truenodeids")?, ints("nodes_falsenodeids")?];
    let ends = [ints("nodes_trueleafs")?, ints("nodes_falseleafs")?];
    let (leaves, roots, count) = (ints("leaf_targetids")?, ints("tree_roots")?, modes.len());
    let lengths = [values.len(), features.len(), ways[0].len(), ways[1].len(), ends[0].len(), ends[1].len()];
    let other = lengths.iter().any(|&length| length != count)
        || !missing.is_empty() && missing.len() != count
        || leaves.len() != weights.len();
    if other {
        return Err(Error::model(format!(
            "its lists of {count} tree nodes are of other lengths: {lengths:?}"
        )));
    }
    // The members that each node of that kind asks for, one after the other, each with NaN behind it.
    let members = reals("membership_values")?;
    let mut sets = members.split(|member| member.is_nan());
    let index = |number: i64| {
        usize::try_from(number).map_err(|_| Error::model(format!("a tree's index is {number}")))
    };
    // Leaves come behind the branches.
    let way = |side: usize, at: usize| -> Result<usize> {
        let to = index(ways[side][at])?;
        let (first, most) = if ends[side][at] != 0 { (count, leaves.len()) } else { (0, count) };
        if to < most {
            Ok(first + to)
        } else {
            Err(Error::model(format!("tree node {at} leads to {to} of {most}")))
        }
    };
    let mut nodes = Vec::with_capacity(count + leaves.len());
    for at in 0..count {
        let test = match modes[at] {
            0.0 => Test::AtMost,
            1.0 => Test::Below,
            2.0 => Test::AtLeast,
            3.0 => Test::Above,
            4.0 => Test::Equal,
            5.0 => Test::Other,
            6.0 => Test::Member(sets.next().unwrap_or_default().to_vec()),
            other => return Err(Error::unsupported(format!("a tree node of mode {other}"))),
        };
        nodes.push(TreeNode::Branch {
            feature: feature(features[at])?,
            test,
            value: values[at],
            missing_is_true: missing.get(at).is_some_and(|&missing| missing != 0),
            yes: way(0, at)?,
            no: way(1, at)?,
        });
    }
    for (&target, &weight) in leaves.iter().zip(&weights) {
        nodes.push(TreeNode::Leaf(vec![Vote { target: index(target)?, weight }]));
    }
    let aggregate = match node.int("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => {
            return Err(Error::unsupported(format!("attribute 'aggregate_function' is {other}"))
                .remedy("supported: 0 to 3"));
        }
    };
    let roots = roots.into_iter().map(index).collect::<Result<Vec<_>>>()?;
    let post = PostTransform::parse_number(node)?;
    let forest = Forest::new(nodes, roots, targets)?;
    Ok(Arc::new(TreeEnsemble { forest, targets, aggregate, base: vec![], post, dtype: None }))
}

impl Operator for TreeEnsemble {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let [count, features] = rows(&x.shape)?;
        if features < self.forest.features {
            let most = self.forest.features - 1;
            return Err(
                Error::model(format!("its trees ask for feature {most}, and rows have {features}")).into()
            );
        }
        Ok(vec![Fact::new(self.dtype.unwrap_or(x.dtype), [count, self.targets])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [count, features] = rows(x.shape())?;
        let (xs, shape) = (x.to_f64s()?, [count, self.targets]);
        let mut list: Vec<f64> = allocate(element_count(&shape)?)?;
        for row in 0..if self.targets == 0 { 0 } else { count } {
            let row = &xs[row * features..][..features];
            let scores = self.forest.scores(row, self.targets, self.aggregate);
            let based = scores.iter().enumerate().map(|(target, score)| {
                let base = if self.base.len() == 1 { self.base.first() } else { self.base.get(target) };
                score.unwrap_or(0.0) + base.copied().unwrap_or(0.0)
            });
            let mut scores: Vec<f64> = based.collect();
            self.post.apply(&mut scores);
            list.extend(scores);
        }
        let dtype = self.dtype.map_or(x.dtype(), |dtype| mode.of(dtype));
        Ok(vec![cast(&Tensor::new(shape, list)?, dtype, true)?])
    }
}

const CASES: &[Case] = &[case(
    &[
        ("n_targets", Int(2)),
        ("tree_roots", Ints(&[0, 2])),
        ("nodes_splits", Numbers(&[0.5, -0.25, 1.0])),
        ("nodes_modes", Bytes(&[0, 2, 1])),
        ("nodes_featureids", Ints(&[0, 2, 1])),
        ("nodes_truenodeids", Ints(&[1, 0, 2])),
        ("nodes_falsenodeids", Ints(&[3, 1, 4])),
        ("nodes_trueleafs", Ints(&[0, 1, 1])),
        ("nodes_falseleafs", Ints(&[1, 1, 1])),
        ("leaf_targetids", Ints(&[0, 1, 0, 1, 1])),
        ("leaf_weights", Numbers(&[5.0, 12.0, -12.0, 1.5, 0.5])),
    ],
    &[Floats(&[7, 3])],
)
.at(5)
.runs("cpu")];
