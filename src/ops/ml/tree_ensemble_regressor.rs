//! [TreeEnsembleRegressor](https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html), versions
//! 1, 3, 5 of ai.onnx.ml: the older form of TreeEnsemble.

use super::post_transform::PostTransform;
use super::tree_ensemble::TreeEnsemble;
use super::trees::{Aggregate, Forest};
use super::{DOMAIN, reals_or_tensor};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::DType;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "TreeEnsembleRegressor", since: 1, parse, cases: CASES };

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let targets = single::size(node.int("n_targets", 1)?, "attribute 'n_targets'")?;
    let base = reals_or_tensor(node, "base_values")?;
    if !base.is_empty() && base.len() != targets {
        return Err(Error::model(format!("{} base values for {targets} targets", base.len())));
    }
    let kinds = ["SUM", "AVERAGE", "MIN", "MAX"];
    let aggregate = match node.choice("aggregate_function", "SUM", &kinds)?.as_str() {
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        _ => Aggregate::Sum,
    };
    Ok(Arc::new(TreeEnsemble {
        forest: Forest::parse(node, "target", targets)?,
        targets,
        aggregate,
        base,
        post: PostTransform::parse(node)?,
        dtype: Some(DType::F32),
    }))
}

/// Two trees of three nodes each, over two features.
macro_rules! trees {
    ($($more:expr),*) => {
        &[
            ("nodes_treeids", Ints(&[0, 0, 0, 1, 1, 1])),
            ("nodes_nodeids", Ints(&[0, 1, 2, 0, 1, 2])),
            ("nodes_modes", Texts(&["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"])),
            ("nodes_featureids", Ints(&[0, 0, 0, 1, 0, 0])),
            ("nodes_values", Reals(&[0.25, 0.0, 0.0, -0.5, 0.0, 0.0])),
            ("nodes_truenodeids", Ints(&[1, 0, 0, 2, 0, 0])),
            ("nodes_falsenodeids", Ints(&[2, 0, 0, 1, 0, 0])),
            $($more),*
        ]
    };
}
pub(super) use trees;

const CASES: &[Case] = &[
    case(
        trees![
            ("n_targets", Int(1)),
            ("base_values", Reals(&[0.5])),
            ("target_treeids", Ints(&[0, 0, 1, 1])),
            ("target_nodeids", Ints(&[1, 2, 1, 2])),
            ("target_ids", Ints(&[0, 0, 0, 0])),
            ("target_weights", Reals(&[1.0, -2.0, 0.25, 4.0]))
        ],
        &[Floats(&[7, 2])],
    )
    .at(1)
    .runs("cpu"),
    case(
        trees![
            ("n_targets", Int(2)),
            ("aggregate_function", Text("AVERAGE")),
            ("target_treeids", Ints(&[0, 0, 0, 1, 1, 1])),
            ("target_nodeids", Ints(&[1, 2, 2, 1, 1, 2])),
            ("target_ids", Ints(&[0, 0, 1, 0, 1, 1])),
            ("target_weights", Reals(&[1.0, -2.0, 3.0, 0.25, 4.0, -1.5]))
        ],
        &[Floats(&[7, 2])],
    )
    .at(3)
    .runs("cpu"),
];
