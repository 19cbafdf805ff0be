//! [Det](https://onnx.ai/onnx/operators/onnx__Det.html), versions 11, 22: the determinants of the matrices in
//! the last two axes.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Det", since: 11, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Det;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Det))
}

/// By elimination, with the largest element of a column as its pivot.
fn determinant(matrix: &mut [f64], n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let below = column..n;
        let pivot = below
            .clone()
            .max_by(|&a, &b| matrix[a * n + column].abs().total_cmp(&matrix[b * n + column].abs()));
        let pivot = pivot.unwrap_or(column);
        if matrix[pivot * n + column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            below.clone().for_each(|k| matrix.swap(pivot * n + k, column * n + k));
            product = -product;
        }
        product *= matrix[column * n + column];
        for row in column + 1..n {
            let factor = matrix[row * n + column] / matrix[column * n + column];
            below.clone().for_each(|k| matrix[row * n + k] -= factor * matrix[column * n + k]);
        }
    }
    product
}

impl Operator for Det {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        match x.shape[..] {
            [ref outer @ .., rows, columns] if rows == columns => Ok(vec![Fact::new(x.dtype, outer)]),
            _ => {
                Err(Error::model(format!("a tensor of shape {:?} holds no square matrices", x.shape)).into())
            }
        }
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let outer = &x.shape()[..x.rank() - 2];
        let (n, count) = (x.shape()[x.rank() - 1], element_count(outer)?);
        let mut xs = x.to_f64s()?;
        let mut ys: Vec<f64> = allocate(count)?;
        for matrix in 0..count {
            ys.push(determinant(&mut xs[matrix * n * n..][..n * n], n));
        }
        Ok(vec![cast(&Tensor::new(outer, ys)?, x.dtype(), true)?])
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        let n = inputs.optional(0).and_then(|x| x.shape.last().copied()).unwrap_or(0) as u64;
        inputs.optional(0).map_or(0, |x| (x.count() as u64).saturating_mul(2 * n / 3))
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 3])]).runs("cpu"),
    case(&[], &[Floats(&[2, 3, 4, 4])]).at(11).runs("cpu"),
    case(&[], &[Values(&[2, 2, 2], &[0.0, 1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 4.0])]).runs("cpu"),
    case(&[], &[Floats(&[1, 1])]).runs("cpu"),
];
