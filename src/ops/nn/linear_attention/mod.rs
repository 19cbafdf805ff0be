//! [LinearAttention](https://onnx.ai/onnx/operators/onnx__LinearAttention.html), version 27: attention whose
//! keys and values are summed up in a state, row by row, and read from it by queries.
//!
//! Inputs: queries `[b, t, heads · d]`, keys `[b, t, kv_heads · d]`, values `[b, t, kv_heads · dv]`, and
//! optionally the state before `[b, kv_heads, d, dv]`, the logarithm of what of it is kept (`decay`, of each
//! head or each of its rows) and the rate of an update (`beta`, of each head or all). Outputs: what is read
//! `[b, t, heads · dv]`, and the state behind it.

mod lower;
pub mod walk;

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, single};
use crate::tensor::{Tensor, cast};
use std::sync::Arc;
use walk::Given;

pub const DEF: OpDef = OpDef { domain: "", name: "LinearAttention", since: 27, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct LinearAttention {
    heads: usize,
    kv_heads: usize,
    /// 0: 1/√d.
    scale: f32,
    /// The state decays before an update.
    gated: bool,
    /// An update is of what a value lacks of what its key reads.
    delta: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=6)?;
    // How an implementation may split rows.
    node.ignore(&["chunk_size"]);
    let rules = ["linear", "gated", "delta", "gated_delta"];
    let rule = node.choice("update_rule", "gated_delta", &rules)?;
    let count = |name: &str| single::size(node.int(name, 0)?, &format!("attribute '{name}'"));
    let (heads, kv_heads) = (count("q_num_heads")?, count("kv_num_heads")?);
    if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
        return Err(Error::model(format!("{heads} heads of queries share {kv_heads} heads of keys")));
    }
    Ok(Arc::new(LinearAttention {
        heads,
        kv_heads,
        scale: node.float("scale", 0.0)?,
        gated: rule.starts_with("gated"),
        delta: rule.ends_with("delta"),
    }))
}

/// The sizes of one application.
pub struct Sizes {
    pub batch: usize,
    pub rows: usize,
    pub depth: usize,
    pub value_depth: usize,
}

impl LinearAttention {
    /// What a result is multiplied by.
    pub fn factor(&self, depth: usize) -> f64 {
        if self.scale == 0.0 { 1.0 / (depth as f64).sqrt() } else { self.scale as f64 }
    }

    /// The sizes of these inputs, which fit.
    pub fn sizes(&self, shapes: [Option<&[usize]>; 6]) -> Result<Sizes> {
        let wrong = || {
            Error::model(format!(
                "its inputs {shapes:?} don't fit {} heads of queries and {} of keys and values",
                self.heads, self.kv_heads
            ))
        };
        let [Some(&[batch, rows, width]), Some(keys), Some(&[_, _, values]), past, decay, beta] = shapes
        else {
            return Err(wrong());
        };
        let (depth, value_depth) = (width / self.heads, values / self.kv_heads);
        let kv = self.kv_heads;
        let last = |shape: Option<&[usize]>, allowed: [usize; 2]| match shape {
            Some(&[b, t, last]) => [b, t] == [batch, rows] && allowed.contains(&last),
            Some(_) => false,
            None => true,
        };
        let fits = width == depth * self.heads
            && Some(keys) == depth.checked_mul(kv).map(|width| [batch, rows, width]).as_ref().map(|s| &s[..])
            && shapes[2] == Some(&[batch, rows, value_depth * kv][..])
            && past.is_none_or(|past| past == [batch, kv, depth, value_depth])
            && last(decay, [kv, kv * depth])
            && last(beta, [kv, 1]);
        if !fits {
            return Err(wrong());
        }
        for (name, given, wanted) in [("decay", decay, self.gated), ("beta", beta, self.delta)] {
            if given.is_some() != wanted {
                let need = if wanted { "needs" } else { "takes no" };
                return Err(Error::model(format!("this update_rule {need} '{name}'")));
            }
        }
        Ok(Sizes { batch, rows, depth, value_depth })
    }
}

impl Operator for LinearAttention {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let sizes = self.sizes(std::array::from_fn(|index| Some(&inputs.optional(index)?.shape[..])))?;
        let dtype = inputs.required(0)?.dtype;
        let held = inputs.optional(3).map_or(dtype, |past| past.dtype);
        Ok(vec![
            Fact::new(dtype, [sizes.batch, sizes.rows, self.heads.saturating_mul(sizes.value_depth)]),
            Fact::new(held, [sizes.batch, self.kv_heads, sizes.depth, sizes.value_depth]),
        ])
    }

    fn takes_any_type(&self) -> bool {
        true // computed in float64, and rounded once
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let sizes = self.sizes(std::array::from_fn(|index| Some(inputs.optional(index)?.shape())))?;
        let list = |index: usize| inputs.optional(index).map(Tensor::to_f64s).transpose();
        let required = |index: usize| inputs.required(index)?.to_f64s();
        let given = Given {
            queries: required(0)?,
            keys: required(1)?,
            values: required(2)?,
            past: list(3)?,
            decay: list(4)?,
            beta: list(5)?,
        };
        let (ys, states) = self.walk(&sizes, given, self.factor(sizes.depth))?;
        let shape = [sizes.batch, sizes.rows, self.heads.saturating_mul(sizes.value_depth)];
        let kept = [sizes.batch, self.kv_heads, sizes.depth, sizes.value_depth];
        let dtype = inputs.required(0)?.dtype();
        let held = inputs.optional(3).map_or(dtype, Tensor::dtype);
        Ok(vec![cast(&Tensor::new(shape, ys)?, dtype, true)?, cast(&Tensor::new(kept, states)?, held, true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::LinearAttention
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let rows = inputs.optional(0).and_then(|q| q.shape.get(1).copied()).unwrap_or(0) as u64;
        outputs.get(1).map_or(0, |state| (6 * rows).saturating_mul(state.count() as u64))
    }
}

const HEADS: (&str, crate::ops::case::Given) = ("q_num_heads", Int(4));
const SHARED: (&str, crate::ops::case::Given) = ("kv_num_heads", Int(2));
const CASES: &[Case] = &[
    case(
        &[HEADS, SHARED, ("update_rule", Text("linear"))],
        &[Floats(&[2, 5, 12]), Floats(&[2, 5, 6]), Floats(&[2, 5, 10])],
    )
    .at(27)
    .outputs(2),
    case(
        &[HEADS, SHARED, ("update_rule", Text("gated")), ("scale", Float(0.7))],
        &[
            Floats(&[2, 3, 12]),
            Floats(&[2, 3, 6]),
            Floats(&[2, 3, 8]),
            Floats(&[2, 2, 3, 4]),
            Range(&[2, 3, 6], -1.0, 0.0),
        ],
    )
    .at(27)
    .outputs(2),
    case(
        &[HEADS, SHARED, ("update_rule", Text("delta"))],
        &[
            Floats(&[1, 4, 8]),
            Range(&[1, 4, 4], -0.5, 0.5),
            Floats(&[1, 4, 6]),
            Absent,
            Absent,
            Range(&[1, 4, 1], 0.0, 1.0),
        ],
    )
    .at(27)
    .outputs(2),
    case(
        &[HEADS, SHARED],
        &[
            Floats(&[1, 4, 8]),
            Range(&[1, 4, 4], -0.5, 0.5),
            Floats(&[1, 4, 6]),
            Floats(&[1, 2, 2, 3]),
            Range(&[1, 4, 2], -1.0, 0.0),
            Range(&[1, 4, 2], 0.0, 1.0),
        ],
    )
    .at(27)
    .outputs(2),
];
