//! [MatMulIntegerToFloat](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulIntegerToFloat):
//! `(a − a_zero) · (b − b_zero) · (a_scale · b_scale) + bias` of int8 and uint8 matrices, in float32: what
//! quantisers write as MatMulInteger, Cast, Mul and Add. [`crate::passes`] makes it of these for the CPU; a
//! model's own is read as these.
//!
//! Inputs: a, its scale and zero point, b, its scale and zero point, the bias. Those of a are one number, those
//! of b one or one for each column, the bias is one for each column.

use super::accumulate::{self, Along, aligned, check, integer_product};
use super::matmul_integer::{self, bytes, one_matrix, packed};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::cpu_kernels::bytes::Scaled;
use crate::cpu_kernels::integer;
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::ops::{Engine, Operator, Spread};
use crate::tensor::{DType, Tensor, element_count, pool};

#[derive(Debug, Clone, PartialEq)]
pub struct MatMulIntegerToFloat;

/// Over operands the sums, the scales, which are of this type, the bias: rounded as the four nodes round.
fn formula(scale: DType, bias: bool) -> Pointwise {
    let mut e = Pointwise { operands: if bias { 4 } else { 3 }, steps: vec![] };
    let sum = e.push_cast(Arg::Operand(0), scale);
    let scale = e.push(&table::MUL, vec![Arg::Operand(1), Arg::Operand(2)]);
    let product = e.push(&table::MUL, vec![sum, scale]);
    if bias {
        e.push(&table::ADD, vec![product, Arg::Operand(3)]);
    }
    e
}

impl MatMulIntegerToFloat {
    fn spread(inputs: Operands<'_, Tensor>, sums: Tensor) -> Result<Spread> {
        let along = |scale: &Tensor, x: usize, along: Along| {
            scale.reshape(aligned(scale.shape(), inputs.required(x)?.rank(), along))
        };
        let mut operands = vec![
            (sums, 0),
            (along(inputs.required(1)?, 0, Along::Rows)?, 1),
            (along(inputs.required(4)?, 3, Along::Columns)?, 4),
        ];
        operands.extend(inputs.optional(6).map(|bias| (bias.clone(), 6)));
        let scale = inputs.required(1)?.dtype();
        Ok(Spread { expression: formula(scale, operands.len() > 3), operands })
    }
}

/// a and b, each with its zero point.
fn factors<'a>(inputs: Operands<'a, Tensor>) -> [[Option<&'a Tensor>; 2]; 2] {
    let input = |index| inputs.optional(index);
    [[input(0), input(2)], [input(3), input(5)]]
}

impl Operator for MatMulIntegerToFloat {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (a, b) = (inputs.required(0)?, inputs.required(3)?);
        bytes(a, "A")?;
        bytes(b, "B")?;
        check(a, inputs.optional(2), Along::Rows, "A")?;
        check(b, inputs.optional(5), Along::Columns, "B")?;
        let scale = inputs.required(1)?.dtype;
        // float64 is the oracle's.
        if !matches!(scale, DType::F32 | DType::F64) || inputs.required(4)?.dtype != scale {
            return Err(Error::model(format!("{scale} is not a type of these scales")).into());
        }
        accumulate::fits(&a.shape, &inputs.required(1)?.shape, Along::Rows, "A")?;
        accumulate::fits(&b.shape, &inputs.required(4)?.shape, Along::Columns, "B")?;
        Ok(vec![Fact::new(scale, accumulate::product_shape(&a.shape, &b.shape)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let [a, b] = factors(inputs);
        let Spread { expression, operands } = Self::spread(inputs, integer_product(a, b)?)?;
        Ok(vec![expression.eval(&operands.iter().map(|(tensor, _)| tensor).collect::<Vec<_>>(), mode)?])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn sums_apart(&self, inputs: Operands<'_, Tensor>, apart: &dyn Fn(usize) -> f64) -> Result<f64> {
        let terms = inputs.required(0)?.shape().last().copied().unwrap_or(1);
        accumulate::sums_apart(inputs, terms, apart)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let [a, b] = factors(inputs);
        Self::spread(inputs, matmul_integer::sums(a, b, None)?).map(Some)
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let k = inputs.optional(0).and_then(|a| a.shape.last().copied()).unwrap_or(0) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * k)
    }
}

impl Engine for MatMulIntegerToFloat {
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
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (a, b) = (inputs.required(0)?, inputs.required(3)?);
        let (Some(Packed::Integers(list)), Some([k, n])) = (panels, one_matrix(b.shape())) else {
            return Ok(None);
        };
        let one = |index| inputs.optional(index).is_none_or(|tensor| tensor.len() == 1);
        let along = |index: usize| inputs.optional(index).is_none_or(|tensor| tensor.len() == n);
        let floats = inputs.required(1)?.dtype() == DType::F32;
        let plain = floats && one(1) && one(2) && (one(4) || along(4)) && along(6);
        let (Some(matrix), true) = (list.first(), plain && k > 0 && n > 0 && a.rank() > 1) else {
            return Ok(None);
        };
        let numbers = |index: usize| inputs.optional(index).map(Tensor::to_i64s).transpose();
        let (a_zero, b_zeros) = (numbers(2)?.and_then(|list| list.first().copied()), numbers(5)?);
        let scales = [inputs.required(1)?.as_slice::<f32>()?, inputs.required(4)?.as_slice::<f32>()?];
        let bias = inputs.optional(6).map(Tensor::as_slice::<f32>).transpose()?;
        let Some(scaled) = Scaled::new(n, scales, bias)? else { return Ok(None) };
        let made = accumulate::product_shape(a.shape(), b.shape())?;
        let mut to = pool::unset(element_count(&made)?)?;
        let zeros = (a_zero.unwrap_or(0), &b_zeros.unwrap_or_default()[..]);
        if !integer::multiply_to_floats(a, matrix, zeros, &scaled, &mut to)? {
            return Ok(None);
        }
        Ok(Some(vec![Tensor::floats(made, to)?]))
    }
}
