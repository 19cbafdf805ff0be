//! [Inverse](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Inverse)
//! of onnxruntime: the inverses of the matrices in the last two axes. A singular matrix has none: NaN.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{Tensor, allocate, cast, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "com.microsoft", name: "Inverse", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Inverse;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Inverse))
}

/// By Gauss and Jordan's elimination, with the largest element of a column as its pivot.
fn inverse(matrix: &mut [f64], n: usize) -> Result<Vec<f64>> {
    let mut result: Vec<f64> = zeros(n * n)?;
    (0..n).for_each(|k| result[k * n + k] = 1.0);
    for column in 0..n {
        let size = |row: &usize| matrix[row * n + column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        let factor = matrix[pivot * n + column];
        if factor == 0.0 {
            result.fill(f64::NAN);
            return Ok(result);
        }
        for list in [&mut *matrix, &mut result[..]] {
            (0..n).filter(|_| pivot != column).for_each(|k| list.swap(pivot * n + k, column * n + k));
            list[column * n..][..n].iter_mut().for_each(|x| *x /= factor);
        }
        for row in (0..n).filter(|&row| row != column) {
            let factor = matrix[row * n + column];
            for list in [&mut *matrix, &mut result[..]] {
                for k in 0..n {
                    list[row * n + k] -= factor * list[column * n + k];
                }
            }
        }
    }
    Ok(result)
}

impl Operator for Inverse {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        match x.shape[..] {
            [.., rows, columns] if rows == columns => Ok(vec![Fact::new(x.dtype, x.shape.clone())]),
            _ => {
                Err(Error::model(format!("a tensor of shape {:?} holds no square matrices", x.shape)).into())
            }
        }
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let n = x.shape().last().copied().unwrap_or(0);
        let (mut xs, mut ys) = (x.to_f64s()?, allocate(x.len())?);
        for matrix in xs.chunks_exact_mut((n * n).max(1)) {
            ys.extend(inverse(matrix, n)?);
        }
        Ok(vec![cast(&Tensor::new(x.shape(), ys)?, x.dtype(), true)?])
    }

    /// In float64 throughout: what the elements are rounded to alone.
    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        let n = inputs.optional(0).and_then(|x| x.shape.last().copied()).unwrap_or(0) as u64;
        inputs.optional(0).map_or(0, |x| (x.count() as u64).saturating_mul(2 * n))
    }
}

const CASES: &[Case] = &[
    case(&[], &[Values(&[2, 2], &[0.0, 2.0, 4.0, 1.0])]).at(1).runs("cpu"),
    case(&[], &[Values(&[2, 2, 2], &[1.0, 0.0, 0.0, 8.0, 0.5, 0.25, 0.0, 2.0])]).at(1).runs("cpu"),
    case(&[], &[Values(&[1, 1], &[-4.0])]).at(1).runs("cpu"),
    case(&[], &[Values(&[3, 3], &[2.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 4.0, 1.0])]).at(1).runs("cpu"),
    case(&[], &[Floats(&[0, 3, 3])]).at(1).runs("cpu"),
];
