//! [InstanceNormalization](https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html), versions 1, 6,
//! 22, and [GroupNormalization](https://onnx.ai/onnx/operators/onnx__GroupNormalization.html), versions 18,
//! 21: over each channel, or each of `num_groups` groups of channels, of each instance.
//!
//! Inputs: X `[n, c, d…]`, scale and bias `[c]`; GroupNormalization of version 18 has one entry for each
//! group.

use super::layer_normalization::normalize_runs;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported, View};
use crate::cpu_kernels::rows;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::normalize::{self, Normalization};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast, pool};
use std::sync::Arc;

pub const INSTANCE: OpDef = OpDef {
    domain: "",
    name: "InstanceNormalization",
    since: 1,
    parse: parse_instance,
    cases: INSTANCE_CASES,
};
pub const GROUP: OpDef =
    OpDef { domain: "", name: "GroupNormalization", since: 18, parse: parse_group, cases: GROUP_CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct InstanceNormalization {
    pub epsilon: f32,
    /// `None`: each channel by itself.
    pub groups: Option<usize>,
    /// Whether scale and bias have one entry for each group, not each channel.
    pub scale_by_group: bool,
}

fn parse_instance(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    node.ignore(&["consumed_inputs"]);
    Ok(Arc::new(InstanceNormalization {
        epsilon: node.float("epsilon", 1e-5)?,
        groups: None,
        scale_by_group: false,
    }))
}

fn parse_group(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    // Results hardly depend on the type of the sums, which is float32 or better here.
    node.ignore(&["stash_type"]);
    let groups = usize::try_from(node.int("num_groups", 0)?).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or_else(|| Error::model("attribute 'num_groups' must be positive"))?;
    Ok(Arc::new(InstanceNormalization {
        epsilon: node.float("epsilon", 1e-5)?,
        groups: Some(groups),
        scale_by_group: node.version < 21,
    }))
}

impl InstanceNormalization {
    /// Groups of channels, and entries of scale and bias.
    fn groups(&self, x: &[usize], scale: &[usize], bias: &[usize]) -> Result<(usize, usize)> {
        let [_, channels, ..] = *x else {
            return Err(Error::model(format!("needs a tensor of rank 2 or more; found shape {x:?}")));
        };
        let groups = self.groups.unwrap_or(channels.max(1));
        if !channels.is_multiple_of(groups) {
            return Err(Error::model(format!("{channels} channels can't be divided into {groups} groups")));
        }
        let entries = if self.scale_by_group { groups } else { channels };
        if scale != [entries] || bias != [entries] {
            return Err(Error::model(format!(
                "scale and bias have shapes {scale:?} and {bias:?}; [{entries}] is needed"
            )));
        }
        Ok((groups, entries))
    }
    fn how(&self) -> Normalization {
        Normalization { centred: true, epsilon: self.epsilon }
    }
}

impl Operator for InstanceNormalization {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        self.groups(&x.shape, &inputs.required(1)?.shape, &inputs.required(2)?.shape)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, scale, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let (groups, entries) = self.groups(x.shape(), scale.shape(), bias.shape())?;
        let (scale, bias) = (scale.to_f64s()?, bias.to_f64s()?);
        let area: usize = x.shape()[2..].iter().product();
        let length = x.shape()[1] / groups * area;
        // Elements of a run that share an entry of scale and bias, and entries that a run has.
        let (shared, own) = (length / (entries / groups).max(1), entries / groups);
        let entry = |part: usize| part / own % groups * own + part % own;
        if x.dtype() == DType::F32 && shared > 0 && length.is_multiple_of(shared) {
            let mut ys = pool::unset(x.len())?;
            let how = self.how();
            rows::normalize_runs(
                x.as_slice()?,
                &mut ys,
                [length, shared],
                how.centred,
                how.epsilon as f64,
                |part| (scale[entry(part)], bias[entry(part)]),
            );
            return Ok(vec![Tensor::floats(x.shape(), ys)?]);
        }
        let mut ys = x.to_f64s()?;
        normalize_runs(&mut ys, length, self.how(), |run, k| {
            let entry = run % groups * own + k / shared.max(1);
            (scale[entry], bias[entry])
        });
        Ok(vec![cast(&Tensor::new(x.shape(), ys)?, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let length = inputs.optional(0).map_or(1, |x| {
            x.shape.iter().skip(1).product::<usize>()
                / self.groups.unwrap_or(x.shape.get(1).copied().unwrap_or(1)).max(1)
        });
        Bound::Normalization { length, centred: true, epsilon: self.epsilon }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| 8 * out.count() as u64)
    }
}

impl Lower for InstanceNormalization {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let channels = at.fact(0)?.shape.get(1).copied().unwrap_or(0);
        let groups = self.groups.unwrap_or(channels);
        let by_group = self.scale_by_group;
        let mut vector = |index: usize| -> Result<View, Unsupported> {
            let view = at.view(index)?;
            if !by_group {
                return Ok(view);
            }
            let column = view
                .reshaped(&[groups, 1])
                .ok_or_else(|| Unsupported::new("a normalization of no elements"))?;
            Ok(column.broadcast(&[groups, channels / groups]))
        };
        let (scale, bias) = (vector(1)?, vector(2)?);
        match self.groups {
            None => normalize::instance(at, self.how(), scale, Some(bias)),
            Some(groups) => normalize::group(at, self.how(), groups, scale, Some(bias)),
        }
    }
}

const INSTANCE_CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 5, 3, 7]), Weights(&[5]), Weights(&[5])]),
    case(&[("epsilon", Float(0.01))], &[Floats(&[1, 4, 131]), Weights(&[4]), Floats(&[4])]),
    case(&[], &[Floats(&[1, 3, 1, 1]), Weights(&[3]), Weights(&[3])]).at(6),
    case(&[], &[Floats(&[1, 3, 2, 3, 4]), Weights(&[3]), Weights(&[3])]),
    case(&[], &[Floats(&[1, 7, 20, 21]), Weights(&[7]), Weights(&[7])]),
    case(&[], &[Floats(&[1, 8, 66, 66]), Weights(&[8]), Weights(&[8])]),
];
const GROUP_CASES: &[Case] = &[
    case(&[("num_groups", Int(2))], &[Floats(&[2, 8, 3, 5]), Weights(&[8]), Weights(&[8])]),
    case(&[("num_groups", Int(3))], &[Floats(&[2, 9, 3, 5]), Weights(&[9]), Weights(&[9])]),
    case(
        &[("num_groups", Int(2)), ("epsilon", Float(0.01))],
        &[Floats(&[2, 6, 4]), Weights(&[2]), Weights(&[2])],
    )
    .at(18),
    case(&[("num_groups", Int(1))], &[Floats(&[3, 5]), Weights(&[5]), Floats(&[5])]),
    case(&[("num_groups", Int(4))], &[Floats(&[1, 4, 2, 3]), Weights(&[4]), Weights(&[4])]),
    case(&[("num_groups", Int(4))], &[Floats(&[2, 16, 30, 31]), Weights(&[16]), Weights(&[16])]),
    case(&[("num_groups", Int(2))], &[Floats(&[1, 6, 30, 31]), Weights(&[6]), Weights(&[6])]),
];
