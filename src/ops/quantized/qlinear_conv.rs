//! [QLinearConv](https://onnx.ai/onnx/operators/onnx__QLinearConv.html), version 10: the convolution of
//! quantised images by quantised weights, quantised.
//!
//! Inputs: x, its scale and zero point, w, its scale and zero point (one, or one for each filter), the
//! result's scale and zero point, and perhaps a bias of int32, in units of x's scale times w's.

use super::accumulate::{self, Along, aligned, check, fits, integer_convolution};
use super::conv_integer::single;
use super::lower;
use super::matmul_integer::bytes;
use super::requantize::{self, Beyond};
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::nn::conv::Conv;
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "QLinearConv", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct QLinearConv {
    pub conv: Conv,
    pub beyond: Beyond,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(8..=9)?;
    Ok(Arc::new(QLinearConv { conv: Conv::attributes(node)?, beyond: Beyond::default() }))
}

impl QLinearConv {
    /// The sums, by panels where there is such a form.
    pub(super) fn sums(&self, inputs: Operands<'_, Tensor>, packed: Option<&Packed>) -> Result<Tensor> {
        let input = |index| inputs.optional(index);
        let (x, w) = ([input(0), input(2)], [input(3), input(5)]);
        let made = accumulate::convolved(&self.conv, x, w, packed)?;
        made.map_or_else(|| integer_convolution(&self.conv, x, w), Ok)
    }

    /// What makes the result of the sums.
    fn spread(&self, inputs: Operands<'_, Tensor>, mut sums: Tensor) -> Result<Spread> {
        // The axis of the filters is the result's second.
        let filters = |list: &Tensor| list.reshape(aligned(list.shape(), sums.rank() - 1, Along::Filters));
        let (x, w, y) = (inputs.required(1)?, filters(inputs.required(4)?)?, inputs.required(6)?);
        let zero = inputs.required(7)?;
        if let Some(bias) = inputs.optional(8) {
            let bias = filters(bias)?;
            sums = Pointwise::of(&table::ADD, 2, &[]).eval(&[&sums, &bias], EvalPrecision::Declared)?;
        }
        let operands = vec![
            (sums, 0),
            (x.reshape(vec![])?, 1),
            (w, 4),
            (y.reshape(vec![])?, 6),
            (zero.reshape(vec![])?, 7),
        ];
        Ok(Spread { expression: requantize::formula(x.dtype(), zero.dtype(), self.beyond), operands })
    }

    pub(super) fn requantized(
        &self,
        inputs: Operands<'_, Tensor>,
        sums: Tensor,
        mode: EvalPrecision,
    ) -> Result<Tensor> {
        let Spread { expression, operands } = self.spread(inputs, sums)?;
        expression.eval(&operands.iter().map(|(tensor, _)| tensor).collect::<Vec<_>>(), mode)
    }
}

impl Operator for QLinearConv {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, w, zero) = (inputs.required(0)?, inputs.required(3)?, inputs.required(7)?);
        bytes(x, "x")?;
        bytes(w, "w")?;
        bytes(zero, "the result")?;
        check(x, inputs.optional(2), Along::Filters, "x")?;
        check(w, inputs.optional(5), Along::Filters, "w")?;
        let scales = [inputs.required(1)?, inputs.required(4)?, inputs.required(6)?];
        requantize::check_scales(scales)?;
        for (fact, what) in [
            (inputs.optional(2), "x's zero point"),
            (Some(scales[0]), "x's scale"),
            (Some(scales[2]), "the result's scale"),
            (Some(zero), "the result's zero point"),
        ] {
            single(fact, what)?;
        }
        let shape = accumulate::shape(&self.conv, &x.shape, &w.shape)?;
        fits(&w.shape, &scales[1].shape, Along::Filters, "w")?;
        if scales[1].rank() > 1 {
            return Err(Error::model(format!(
                "w's scales have shape {:?}: a list is needed",
                scales[1].shape
            ))
            .into());
        }
        if let Some(bias) = inputs.optional(8)
            && (bias.dtype != DType::I32 || bias.shape != [w.shape[0]])
        {
            return Err(Error::model(format!(
                "the bias is {} of shape {:?}; int32 of [{}] is needed",
                bias.dtype, bias.shape, w.shape[0]
            ))
            .into());
        }
        Ok(vec![Fact::new(zero.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let input = |index| inputs.optional(index);
        let sums = integer_convolution(&self.conv, [input(0), input(2)], [input(3), input(5)])?;
        Ok(vec![self.requantized(inputs, sums, mode)?])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn by_value(&self, index: usize) -> bool {
        matches!(index, 1 | 4 | 6)
    }

    fn sums_apart(&self, inputs: Operands<'_, Tensor>, apart: &dyn Fn(usize) -> f64) -> Result<f64> {
        let terms =
            inputs.required(3)?.shape().iter().skip(1).fold(1usize, |all, &size| all.saturating_mul(size));
        accumulate::sums_apart(inputs, terms, apart)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        self.spread(inputs, self.sums(inputs, None)?).map(Some)
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let terms = inputs.optional(3).map_or(0, |w| w.shape.iter().skip(1).product::<usize>()) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * terms)
    }
}

impl Lower for QLinearConv {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let bias = at.has_input(8).then_some(8);
        let sums = lower::convolution(at, &self.conv, [0, 2], [3, 5], bias)?;
        // The axis of the filters is the result's second.
        let filters = aligned(&at.fact(4)?.shape, sums.shape.len() - 1, Along::Filters);
        lower::requantized(at, sums, [1, 4, 6], &[vec![], filters, vec![]], 7)
    }
}

const CASES: &[Case] = &[
    case(
        &[("pads", Ints(&[1, 1, 1, 1]))],
        &[
            Wide(DType::U8, &[1, 2, 5, 7]),
            Scalar(0.02),
            Typed(DType::U8, &[], &[120.0]),
            Wide(DType::U8, &[3, 2, 3, 3]),
            Scalar(0.03),
            Typed(DType::U8, &[], &[99.0]),
            Scalar(0.3),
            Typed(DType::U8, &[], &[118.0]),
        ],
    ),
    case(
        &[("group", Int(2)), ("strides", Ints(&[2, 2]))],
        &[
            Wide(DType::U8, &[2, 4, 6, 7]),
            Scalar(0.02),
            Typed(DType::U8, &[], &[120.0]),
            Wide(DType::I8, &[4, 2, 3, 2]),
            Factors(&[0.03, 0.01, 0.02, 0.05]),
            Typed(DType::I8, &[4], &[0.0, 0.0, 0.0, 0.0]),
            Scalar(0.3),
            Typed(DType::U8, &[], &[118.0]),
            Typed(DType::I32, &[4], &[100.0, -5000.0, 3.0, 77.0]),
        ],
    ),
    // One filter a channel.
    case(
        &[("group", Int(41)), ("pads", Ints(&[1, 1, 1, 1]))],
        &[
            Wide(DType::U8, &[2, 41, 5, 4]),
            Scalar(0.02),
            Typed(DType::U8, &[], &[120.0]),
            Wide(DType::I8, &[41, 1, 3, 3]),
            Scalar(0.03),
            Typed(DType::I8, &[], &[-3.0]),
            Scalar(0.1),
            Typed(DType::U8, &[], &[118.0]),
        ],
    ),
    case(
        &[
            ("group", Int(3)),
            ("strides", Ints(&[2, 1])),
            ("dilations", Ints(&[1, 2])),
            ("pads", Ints(&[0, 3, 2, 1])),
        ],
        &[
            Wide(DType::I8, &[1, 3, 7, 6]),
            Scalar(0.02),
            Typed(DType::I8, &[], &[-20.0]),
            Wide(DType::I8, &[3, 1, 2, 3]),
            Factors(&[0.03, 0.01, 0.02]),
            Typed(DType::I8, &[3], &[0.0, 0.0, 0.0]),
            Scalar(0.2),
            Typed(DType::I8, &[], &[11.0]),
            Typed(DType::I32, &[3], &[100.0, -5000.0, 3.0]),
        ],
    ),
];
