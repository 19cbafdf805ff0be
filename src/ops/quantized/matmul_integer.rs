//! [MatMulInteger](https://onnx.ai/onnx/operators/onnx__MatMulInteger.html), version 10: the product of int8
//! and uint8 matrices less their zero points, in int32.
//!
//! Inputs: A, B, and zero points: one, or one for each row of A and for each column of B.

use super::accumulate::{self, Along, check, integer_product};
use super::lower;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::cpu_kernels::integer::{self, Matrix};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "MatMulInteger", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct MatMulInteger;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=4)?;
    Ok(Arc::new(MatMulInteger))
}

/// Errors for other types than those of 8 bits.
pub fn bytes(fact: &Fact, what: &str) -> Result<()> {
    match fact.dtype {
        DType::U8 | DType::I8 => Ok(()),
        other => Err(Error::model(format!("{what} is {other}; int8 or uint8 is needed"))),
    }
}

impl Operator for MatMulInteger {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        bytes(a, "A")?;
        bytes(b, "B")?;
        check(a, inputs.optional(2), Along::Rows, "A")?;
        check(b, inputs.optional(3), Along::Columns, "B")?;
        Ok(vec![Fact::new(DType::I32, accumulate::product_shape(&a.shape, &b.shape)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let input = |index| inputs.optional(index);
        Ok(vec![integer_product([input(0), input(2)], [input(1), input(3)])?])
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
        Bound::Contraction { length: inputs.optional(0).and_then(|a| a.shape.last().copied()).unwrap_or(1) }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let k = inputs.optional(0).and_then(|a| a.shape.last().copied()).unwrap_or(0) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * k)
    }
}

/// B as one matrix for all rows of A: its sizes `[k, n]`.
pub fn one_matrix(b: &[usize]) -> Option<[usize; 2]> {
    match b {
        [batch @ .., k, n] if batch.iter().all(|&size| size == 1) => Some([*k, *n]),
        _ => None,
    }
}

/// B made ready as it is: the zero points come in with the product.
pub fn packed(b: &Tensor) -> Result<Option<Packed>> {
    let Some([k, n]) = one_matrix(b.shape()) else { return Ok(None) };
    Ok(Matrix::pack(b, 0, [k, n], [n, 1])?.map(|matrix| Packed::Integers(vec![matrix])))
}

/// The product by panels, for one B and zero points that are one number, or one for each column. `None`: it
/// has no such form. The result is row-major.
pub fn by_panels(
    a: [Option<&Tensor>; 2],
    b: [Option<&Tensor>; 2],
    panels: Option<&Packed>,
) -> Result<Option<Vec<i32>>> {
    let [Some(x), Some(y)] = [a[0], b[0]] else { return Ok(None) };
    let Some([k, n]) = one_matrix(y.shape()) else { return Ok(None) };
    if x.rank() < 2 || k == 0 || x.is_empty() || n == 0 || a[1].is_some_and(|zero| zero.len() != 1) {
        return Ok(None);
    }
    let zeros = |zero: Option<&Tensor>| zero.map(Tensor::to_i64s).transpose();
    let (a_zero, b_zeros) = (zeros(a[1])?, zeros(b[1])?.unwrap_or_default());
    let a_zero = a_zero.and_then(|list| list.first().copied()).unwrap_or(0);
    let own = if panels.is_none() { packed(y)? } else { None };
    let Some(Packed::Integers(list)) = panels.or(own.as_ref()) else { return Ok(None) };
    list.first().map_or(Ok(None), |matrix| integer::multiply(x, a_zero, matrix, &b_zeros))
}

/// The product in int32: by panels where there is such a form.
pub fn sums(a: [Option<&Tensor>; 2], b: [Option<&Tensor>; 2], panels: Option<&Packed>) -> Result<Tensor> {
    match (by_panels(a, b, panels)?, a[0], b[0]) {
        (Some(sums), Some(x), Some(y)) => Tensor::new(accumulate::product_shape(x.shape(), y.shape())?, sums),
        _ => integer_product(a, b),
    }
}

impl Lower for MatMulInteger {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let sums = lower::product(at, [0, 2], [1, 3])?;
        at.alias(0, sums);
        Ok(())
    }
}

impl Engine for MatMulInteger {
    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        inputs.optional(1).map_or(Ok(None), packed)
    }

    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        panels: Option<&Packed>,
        _wanted: usize,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let zeros = [inputs.optional(2), inputs.optional(3)];
        let Some(sums) = by_panels([Some(a), zeros[0]], [Some(b), zeros[1]], panels)? else {
            return Ok(None);
        };
        let shape = accumulate::product_shape(a.shape(), b.shape())?;
        Ok(Some(vec![Tensor::new(shape, sums)?]))
    }
}

const CASES: &[Case] = &[
    case(&[], &[Wide(DType::U8, &[4, 3]), Wide(DType::U8, &[3, 2])]),
    case(
        &[],
        &[
            Wide(DType::U8, &[4, 3]),
            Typed(DType::I8, &[3, 2], &[1.0, -128.0, 3.0, 127.0, 5.0, 6.0]),
            Typed(DType::U8, &[], &[12.0]),
            Typed(DType::I8, &[], &[-3.0]),
        ],
    ),
    case(
        &[],
        &[
            Wide(DType::I8, &[2, 5, 7]),
            Wide(DType::I8, &[7, 3]),
            Absent,
            Typed(DType::I8, &[3], &[1.0, -2.0, 9.0]),
        ],
    ),
    case(&[], &[Wide(DType::U8, &[2, 3]), Wide(DType::U8, &[3, 4]), Typed(DType::U8, &[2], &[1.0, 200.0])]),
    case(&[], &[Wide(DType::U8, &[2, 3, 5]), Wide(DType::I8, &[2, 5, 3])]),
    // More terms than float32 sums exactly.
    case(&[], &[Wide(DType::U8, &[3, 1031]), Wide(DType::I8, &[1031, 37]), Typed(DType::U8, &[], &[255.0])]),
];
