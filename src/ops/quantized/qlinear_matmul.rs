//! [QLinearMatMul](https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html), versions 10, 21: the product of
//! quantised matrices, quantised.
//!
//! Inputs: a, its scale and zero point, b, its scale and zero point, the result's scale and zero point. Those
//! of a may be one for each row, those of b one for each column. The rewrite of quantised products gives one
//! more, a bias of int32 for each column, in units of a's scale times b's.

use super::accumulate::{self, Along, aligned, check, fits, integer_product, product};
use super::conv_integer::single;
use super::lower;
use super::matmul_integer::{self, packed};
use super::requantize::{self, Beyond};
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "QLinearMatMul", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct QLinearMatMul {
    pub beyond: Beyond,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(8..=8)?;
    Ok(Arc::new(QLinearMatMul { beyond: Beyond::default() }))
}

/// Whether numbers of this type are multiplied.
fn is_factor(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8) || dtype.is_narrow_float() && dtype != DType::F4E2M1
}

impl QLinearMatMul {
    /// The sums: int32, or float32 of 8-bit floats.
    fn sums(inputs: Operands<'_, Tensor>, panels: Option<&Packed>) -> Result<Tensor> {
        let (a, b) = (inputs.required(0)?, inputs.required(3)?);
        let (left, right) = ([Some(a), inputs.optional(2)], [Some(b), inputs.optional(5)]);
        if a.dtype().is_narrow_float() || b.dtype().is_narrow_float() {
            return cast(&product(left, right)?, DType::F32, true);
        }
        matmul_integer::sums(left, right, panels)
    }

    /// What makes the result of the sums.
    fn spread(&self, inputs: Operands<'_, Tensor>, mut sums: Tensor) -> Result<Spread> {
        if let Some(bias) = inputs.optional(8) {
            sums = Pointwise::of(&table::ADD, 2, &[]).eval(&[&sums, bias], EvalPrecision::Declared)?;
        }
        let along = |scale: &Tensor, x: usize, along: Along| {
            scale.reshape(aligned(scale.shape(), inputs.required(x)?.rank(), along))
        };
        let (a, b, y) = (inputs.required(1)?, inputs.required(4)?, inputs.required(6)?);
        let zero = inputs.required(7)?;
        let operands = vec![
            (sums, 0),
            (along(a, 0, Along::Rows)?, 1),
            (along(b, 3, Along::Columns)?, 4),
            (y.reshape(vec![])?, 6),
            (zero.reshape(vec![])?, 7),
        ];
        Ok(Spread { expression: requantize::formula(a.dtype(), zero.dtype(), self.beyond), operands })
    }

    fn requantized(&self, inputs: Operands<'_, Tensor>, sums: Tensor, mode: EvalPrecision) -> Result<Tensor> {
        let Spread { expression, operands } = self.spread(inputs, sums)?;
        expression.eval(&operands.iter().map(|(tensor, _)| tensor).collect::<Vec<_>>(), mode)
    }
}

impl Operator for QLinearMatMul {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (a, b, zero) = (inputs.required(0)?, inputs.required(3)?, inputs.required(7)?);
        for (fact, what) in [(a, "a"), (b, "b"), (zero, "the result")] {
            if !is_factor(fact.dtype) {
                return Err(Error::model(format!("{what} is {}: int8 or uint8 is needed", fact.dtype)).into());
            }
        }
        check(a, inputs.optional(2), Along::Rows, "a")?;
        check(b, inputs.optional(5), Along::Columns, "b")?;
        let scales = [inputs.required(1)?, inputs.required(4)?, inputs.required(6)?];
        requantize::check_scales(scales)?;
        fits(&a.shape, &scales[0].shape, Along::Rows, "a")?;
        fits(&b.shape, &scales[1].shape, Along::Columns, "b")?;
        single(Some(scales[2]), "the result's scale")?;
        single(Some(zero), "the result's zero point")?;
        let shape = accumulate::product_shape(&a.shape, &b.shape)?;
        if let Some(bias) = inputs.optional(8)
            && (bias.dtype != DType::I32 || bias.rank() != 1 || shape.last() != bias.shape.first())
        {
            return Err(
                Error::internal(format!("a bias of {} with shape {:?}", bias.dtype, bias.shape)).into()
            );
        }
        Ok(vec![Fact::new(zero.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (a, b) = (inputs.required(0)?, inputs.required(3)?);
        let (left, right) = ([Some(a), inputs.optional(2)], [Some(b), inputs.optional(5)]);
        let sums = if a.dtype().is_narrow_float() || b.dtype().is_narrow_float() {
            cast(&product(left, right)?, DType::F32, true)?
        } else {
            integer_product(left, right)?
        };
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
        let terms = inputs.required(0)?.shape().last().copied().unwrap_or(1);
        accumulate::sums_apart(inputs, terms, apart)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        self.spread(inputs, Self::sums(inputs, None)?).map(Some)
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let k = inputs.optional(0).and_then(|a| a.shape.last().copied()).unwrap_or(0) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * k)
    }
}

impl Lower for QLinearMatMul {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        if at.has_input(8) {
            return Err(Unsupported::new("a bias, which only the rewrite for the CPU gives"));
        }
        let sums = lower::product(at, [0, 2], [3, 5])?;
        let (a, b) = (at.fact(0)?.rank(), at.fact(3)?.rank());
        let shapes = [
            aligned(&at.fact(1)?.shape, a, Along::Rows),
            aligned(&at.fact(4)?.shape, b, Along::Columns),
            vec![],
        ];
        lower::requantized(at, sums, [1, 4, 6], &shapes, 7)
    }
}

impl Engine for QLinearMatMul {
    fn weights(&self) -> &'static [usize] {
        &[3]
    }

    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        inputs.optional(3).map_or(Ok(None), packed)
    }

    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        panels: Option<&Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let sums = Self::sums(inputs, panels)?;
        let columns = sums.shape().last().copied().unwrap_or(0);
        let looped = match sums.dtype() {
            DType::I32 if sums.rank() > 1 && columns > 0 => {
                requantize::in_a_loop(inputs, columns, self.beyond)?
            }
            _ => None,
        };
        let y = match looped {
            Some(requantize) => {
                let bytes = requantize.rows(sums.as_slice()?)?;
                Tensor::from_byte_vector(inputs.required(7)?.dtype(), sums.shape(), bytes)?
            }
            None => self.requantized(inputs, sums, mode)?,
        };
        Ok(Some(vec![y]))
    }
}

const CASES: &[Case] = &[
    case(
        &[],
        &[
            Wide(DType::U8, &[3, 5]),
            Scalar(0.02),
            Typed(DType::U8, &[], &[120.0]),
            Wide(DType::U8, &[5, 4]),
            Scalar(0.03),
            Typed(DType::U8, &[], &[99.0]),
            Scalar(0.1),
            Typed(DType::U8, &[], &[118.0]),
        ],
    )
    .at(10),
    case(
        &[],
        &[
            Wide(DType::I8, &[2, 3, 5]),
            Scalar(0.02),
            Typed(DType::I8, &[], &[-20.0]),
            Wide(DType::I8, &[2, 5, 4]),
            Scalar(0.03),
            Typed(DType::I8, &[], &[9.0]),
            Scalar(0.1),
            Typed(DType::I8, &[], &[-18.0]),
        ],
    ),
    case(
        &[],
        &[
            Wide(DType::U8, &[3, 37]),
            Scalar(0.02),
            Typed(DType::U8, &[], &[120.0]),
            Wide(DType::I8, &[37, 3]),
            Factors(&[0.03, 0.01, 0.2]),
            Typed(DType::I8, &[3], &[0.0, 2.0, -7.0]),
            Scalar(0.7),
            Typed(DType::U8, &[], &[118.0]),
        ],
    ),
];
