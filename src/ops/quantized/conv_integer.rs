//! [ConvInteger](https://onnx.ai/onnx/operators/onnx__ConvInteger.html), version 10: the convolution of int8
//! or uint8 images less their zero point by weights less theirs, in int32.
//!
//! Inputs: x `[n, c, d…]`, w `[m, c/groups, k…]`, a zero point of x, and of w one or one for each filter.

use super::accumulate::{self, Along, check, integer_convolution};
use super::lower;
use super::matmul_integer::bytes;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::nn::conv::Conv;
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "ConvInteger", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct ConvInteger {
    pub conv: Conv,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=4)?;
    Ok(Arc::new(ConvInteger { conv: Conv::attributes(node)? }))
}

/// Errors where x has more zero points than one.
pub fn single(zero: Option<&Fact>, what: &str) -> Result<()> {
    match zero.filter(|zero| zero.count() != 1) {
        Some(zero) => Err(Error::model(format!("{what} has shape {:?}; one number is needed", zero.shape))),
        None => Ok(()),
    }
}

impl Operator for ConvInteger {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, w) = (inputs.required(0)?, inputs.required(1)?);
        bytes(x, "x")?;
        bytes(w, "w")?;
        single(inputs.optional(2), "x's zero point")?;
        check(x, inputs.optional(2), Along::Filters, "x")?;
        check(w, inputs.optional(3), Along::Filters, "w")?;
        Ok(vec![Fact::new(DType::I32, accumulate::shape(&self.conv, &x.shape, &w.shape)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let input = |index| inputs.optional(index);
        Ok(vec![integer_convolution(&self.conv, [input(0), input(2)], [input(1), input(3)])?])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        self.conv.error_bound(inputs)
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        self.conv.flops(inputs, outputs)
    }
}

impl Lower for ConvInteger {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let sums = lower::convolution(at, &self.conv, [0, 2], [1, 3], None)?;
        at.alias(0, sums);
        Ok(())
    }
}

impl Engine for ConvInteger {
    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        inputs.optional(1).map_or(Ok(None), |w| accumulate::packed_filters(&self.conv, w))
    }

    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        panels: Option<&Packed>,
        _wanted: usize,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let input = |index| inputs.optional(index);
        let made = accumulate::convolved(&self.conv, [input(0), input(2)], [input(1), input(3)], panels)?;
        Ok(made.map(|sums| vec![sums]))
    }
}

const CASES: &[Case] = &[
    case(
        &[],
        &[Wide(DType::U8, &[1, 2, 5, 5]), Wide(DType::U8, &[3, 2, 3, 3]), Typed(DType::U8, &[], &[7.0])],
    ),
    case(
        &[("pads", Ints(&[1, 1, 1, 1])), ("strides", Ints(&[2, 1])), ("dilations", Ints(&[1, 2]))],
        &[
            Wide(DType::U8, &[2, 3, 7, 9]),
            Wide(DType::I8, &[4, 3, 3, 3]),
            Typed(DType::U8, &[], &[130.0]),
            Typed(DType::I8, &[], &[-3.0]),
        ],
    ),
    case(
        &[("group", Int(3)), ("pads", Ints(&[1, 1, 1, 1]))],
        &[Wide(DType::U8, &[1, 3, 5, 6]), Wide(DType::U8, &[3, 1, 3, 3]), Typed(DType::U8, &[], &[9.0])],
    ),
    case(
        &[("group", Int(2))],
        &[Wide(DType::U8, &[1, 4, 6]), Wide(DType::U8, &[6, 2, 3]), Typed(DType::U8, &[], &[9.0])],
    ),
];
