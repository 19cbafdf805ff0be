//! [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html), versions 1, 6, 7, 9,
//! 14, 15: by running statistics, or in training mode by those of the batch ([`BatchTraining`]).
//!
//! Inputs: X `[n, c, …]`, scale, bias, mean and variance `[c]`. Where a version before 9 isn't `spatial`,
//! these are `[c, …]`, for each element of an image.

use super::batch_training::BatchTraining;
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::pointwise::Elementwise;
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "BatchNormalization", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormalization {
    pub epsilon: f32,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(5..=5)?;
    node.ignore(&["consumed_inputs", "is_test"]);
    let (epsilon, momentum) = (node.float("epsilon", 1e-5)?, node.float("momentum", 0.9)?);
    if node.flag("training_mode", false)? {
        return Ok(Arc::new(BatchTraining { epsilon, momentum }));
    }
    if node.version < 14 && node.output_count > 1 {
        return Err(Error::unsupported("statistics as outputs, in training mode as before version 14")
            .remedy("export the model for inference"));
    }
    let plain = BatchNormalization { epsilon };
    if node.version < 9 && node.int("spatial", 1)? == 0 {
        // Statistics of each element of an image: they broadcast as they are.
        return Ok(Arc::new(Elementwise { expression: plain.formula() }));
    }
    node.ignore(&["spatial"]);
    Ok(Arc::new(plain))
}

/// Errors where scale, bias or statistics aren't one for each channel.
pub fn check(inputs: Operands<'_, Fact>) -> Result<()> {
    let c = inputs.required(0)?.shape.get(1).copied().unwrap_or(1);
    for index in 1..5 {
        let shape = &inputs.required(index)?.shape;
        if *shape != [c] {
            return Err(Error::model(format!("input {index} has shape {shape:?}; [{c}] is needed")));
        }
    }
    Ok(())
}

impl BatchNormalization {
    /// (x − mean) / √(variance + ε) · scale + bias over operands x, scale, bias, mean, variance.
    pub(crate) fn formula(&self) -> Pointwise {
        let mut e = Pointwise { operands: 5, steps: vec![] };
        let centred = e.push(&table::SUB, vec![Arg::Operand(0), Arg::Operand(3)]);
        let shifted = e.push(&table::ADD, vec![Arg::Operand(4), Arg::Const(self.epsilon as f64)]);
        let deviation = e.push(&table::SQRT, vec![shifted]);
        let normal = e.push(&table::DIV, vec![centred, deviation]);
        let scaled = e.push(&table::MUL, vec![normal, Arg::Operand(1)]);
        e.push(&table::ADD, vec![scaled, Arg::Operand(2)]);
        e
    }
}

impl BatchNormalization {
    /// The inputs as the formula's operands, in X's type, statistics along X's channels.
    fn operands(&self, inputs: Operands<'_, Tensor>) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let mut operands = vec![x.clone()];
        for index in 1..5 {
            let vector = crate::tensor::cast(inputs.required(index)?, x.dtype(), true)?;
            operands.push(vector.reshape(channel_shape(vector.len(), x.rank()))?);
        }
        Ok(operands)
    }
}

/// `[c]` against `[n, c, …]`: one entry for each axis behind the channels.
fn channel_shape(c: usize, rank: usize) -> Vec<usize> {
    std::iter::once(c).chain(std::iter::repeat_n(1, rank.saturating_sub(2))).collect()
}

impl Operator for BatchNormalization {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        check(inputs)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let operands = self.operands(inputs)?;
        Ok(vec![self.formula().eval(&operands.iter().collect::<Vec<_>>(), mode)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let operands = self.operands(inputs)?.into_iter().enumerate().map(|(index, tensor)| (tensor, index));
        Ok(Some(Spread { expression: self.formula(), operands: operands.collect() }))
    }
}

impl Lower for BatchNormalization {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let x = at.view(0)?;
        let mut views = vec![x.clone()];
        for index in 1..5 {
            let vector = at.view(index)?;
            let shape = channel_shape(vector.count(), x.shape.len());
            views.push(vector.reshaped_or(&shape, "statistics")?);
        }
        crate::kernels::pointwise::emit_views(&self.formula(), at, &views)
    }
}

pub const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 4, 5]), Weights(&[3]), Weights(&[3]), Weights(&[3]), Range(&[3], 0.5, 2.0)]),
    case(
        &[("epsilon", Float(1e-2))],
        &[Floats(&[2, 6]), Weights(&[6]), Weights(&[6]), Weights(&[6]), Range(&[6], 0.5, 2.0)],
    ),
    case(
        &[("training_mode", Int(1)), ("momentum", Float(0.75))],
        &[Floats(&[2, 3, 4, 5]), Weights(&[3]), Weights(&[3]), Weights(&[3]), Range(&[3], 0.5, 2.0)],
    )
    .outputs(3)
    .runs("cpu"),
    case(
        &[("spatial", Int(0))],
        &[Floats(&[2, 3, 4]), Weights(&[3, 4]), Weights(&[3, 4]), Weights(&[3, 4]), Range(&[3, 4], 0.5, 2.0)],
    )
    .at(7),
];
