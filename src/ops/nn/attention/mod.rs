//! [Attention](https://onnx.ai/onnx/operators/onnx__Attention.html), versions 23, 24 and 25: softmax(scale ·
//! Q·Kᵀ + mask) · V for each head.
//!
//! Inputs: Q `[batch, heads, queries, d]`, K `[batch, kv_heads, keys, d]`, V `[batch, kv_heads, keys, dv]`,
//! or all three as `[batch, rows, heads · d]`; then, each possibly absent, a mask that broadcasts to `[batch,
//! heads, queries, keys]` (bool: what takes part; float: added), past keys and values, which come before K
//! and V, and the number of valid keys of each batch. Outputs: Y, the keys and values with the past ones, and
//! the scores.
//!
//! [`crate::passes`] also makes this operator of what exporters write out: three fields of the struct are for
//! it alone.

mod cases;
mod few;
mod float32;
mod lower;
pub(crate) mod reference;
mod scores;
mod sizes;

pub use sizes::{AttentionSizes, Reach};

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator, Reads};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Attention", since: 23, parse, cases: cases::CASES };

/// The inputs' places in the list.
pub const MASK: usize = 3;
pub const PAST: usize = 4;
pub const LENGTHS: usize = 6;

/// Which scores the fourth output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    Products,
    Capped,
    Masked,
    Weights,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Heads of Q and of K and V, where these are 3-D.
    pub heads: Option<[usize; 2]>,
    /// `None`: 1/√d.
    pub scale: Option<f32>,
    /// Scores s become cap · tanh(s / cap); 0 leaves them.
    pub softcap: f32,
    pub causal: bool,
    /// How many keys before and behind its own a query sees.
    pub window: [Option<usize>; 2],
    pub scores: Scores,
    /// The type of the softmax, where it isn't Q's.
    pub precision: Option<DType>,
    /// For fused nodes: K is `[batch, kv_heads, d, keys]`.
    pub transposed_keys: bool,
    /// For fused nodes: which axis of `[batch, heads, queries, dv]` each axis of a 4-D Y is.
    pub order: [usize; 4],
    /// Whether a query that sees no key gets zeros, as ONNX says; else NaN, as a plain Softmax gives.
    pub zero_unseen: bool,
}

impl Attention {
    /// The operator without any attribute.
    pub fn plain() -> Self {
        Self {
            heads: None,
            scale: None,
            softcap: 0.0,
            causal: false,
            window: [None, None],
            scores: Scores::Products,
            precision: None,
            transposed_keys: false,
            order: [0, 1, 2, 3],
            zero_unseen: true,
        }
    }
    /// The factor of the products.
    pub fn factor(&self, depth: usize) -> f64 {
        self.scale.map_or(1.0 / (depth as f64).sqrt(), f64::from)
    }
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=7)?;
    let heads = |name| -> Result<Option<usize>> {
        let count = node.optional_int(name)?;
        count
            .map(|count| {
                usize::try_from(count)
                    .ok()
                    .filter(|&count| count > 0)
                    .ok_or_else(|| Error::model(format!("attribute '{name}' is {count}")))
            })
            .transpose()
    };
    let heads = match (heads("q_num_heads")?, heads("kv_num_heads")?) {
        (Some(q), Some(kv)) => Some([q, kv]),
        (None, None) => None,
        _ => return Err(Error::model("of 'q_num_heads' and 'kv_num_heads' only one is given")),
    };
    let scores = match node.int("qk_matmul_output_mode", 0)? {
        0 => Scores::Products,
        1 => Scores::Capped,
        2 => Scores::Masked,
        3 => Scores::Weights,
        other => return Err(Error::model(format!("attribute 'qk_matmul_output_mode' is {other}"))),
    };
    let precision = match node.optional_int("softmax_precision")? {
        None | Some(0) => None,
        Some(number) => Some(
            i32::try_from(number)
                .ok()
                .and_then(DType::from_onnx)
                .filter(|dtype| dtype.is_float())
                .ok_or_else(|| Error::model("attribute 'softmax_precision' is no float type"))?,
        ),
    };
    let window = |name| -> Result<Option<usize>> {
        match node.int(name, -1)? {
            -1 => Ok(None),
            size => usize::try_from(size)
                .map(Some)
                .map_err(|_| Error::model(format!("attribute '{name}' is {size}"))),
        }
    };
    Ok(Arc::new(Attention {
        heads,
        scale: node.optional_float("scale")?,
        softcap: node.float("softcap", 0.0)?,
        causal: node.flag("is_causal", false)?,
        window: [window("left_window_size")?, window("right_window_size")?],
        scores,
        precision,
        ..Attention::plain()
    }))
}

impl Operator for Attention {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        inputs.one_type(3)?;
        let sizes = AttentionSizes::of(self, inputs)?;
        let dtype = inputs.required(0)?.dtype;
        if !dtype.is_float() {
            return Err(Error::model(format!("attention of {dtype}")).into());
        }
        let (b, kv) = (sizes.batch, sizes.kv_heads);
        Ok(vec![
            Fact::new(dtype, sizes.result(self)),
            Fact::new(dtype, [b, kv, sizes.keys, sizes.depth]),
            Fact::new(dtype, [b, kv, sizes.keys, sizes.value_depth]),
            Fact::new(dtype, [b, sizes.heads, sizes.queries, sizes.keys]),
        ])
    }

    /// Types are handled here: bfloat16 is rounded between steps.
    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let dtype = inputs.required(0)?.dtype();
        if matches!(dtype, DType::F32 | DType::F64)
            && inputs
                .optional(MASK)
                .is_none_or(|mask| matches!(mask.dtype(), DType::Bool | DType::F32 | DType::F64))
        {
            if dtype == DType::F64 {
                return reference::attention::<f64>(self, inputs, dtype);
            }
            return reference::attention::<f32>(self, inputs, dtype);
        }
        let wide = |index: usize| {
            inputs
                .optional(index)
                .map(|tensor| {
                    if tensor.dtype().is_float() {
                        cast(tensor, DType::F32, true)
                    } else {
                        Ok(tensor.clone())
                    }
                })
                .transpose()
        };
        let held = (0..=LENGTHS).map(wide).collect::<Result<Vec<_>>>()?;
        let refs: Vec<Option<&Tensor>> = held.iter().map(Option::as_ref).collect();
        reference::attention::<f32>(self, Operands::new(&refs), dtype)?
            .iter()
            .map(|tensor| cast(tensor, dtype, true))
            .collect()
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn reads(&self) -> Reads {
        Reads::Strided
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Attention
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        let Ok(sizes) = AttentionSizes::of(self, inputs) else { return 0 };
        let pairs = [sizes.batch, sizes.heads, sizes.queries, sizes.keys]
            .into_iter()
            .fold(1u64, |all, size| all.saturating_mul(size as u64));
        pairs.saturating_mul(
            2 * (sizes.depth as u64).saturating_add(sizes.value_depth as u64).saturating_add(5),
        )
    }
}

impl Lower for Attention {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        lower::lower(at, self)
    }
}

impl Engine for Attention {
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let Some(y) = float32::attention(self, inputs)? else { return Ok(None) };
        if wanted == 1 {
            return Ok(Some(vec![y]));
        }
        // Y is the same whether the other outputs are asked for or not.
        let mut results = self.eval(inputs, mode)?;
        if let Some(first) = results.first_mut() {
            *first = y;
        }
        Ok(Some(results))
    }
}
