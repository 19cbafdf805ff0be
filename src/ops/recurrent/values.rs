//! A direction's steps in tensors of its type, plainly: the reference.

use super::sequence::{Sequence, zero};
use super::sizes::Sizes;
use super::steps::Steps;
use super::{Cell, Recurrent};
use crate::base::{EvalPrecision, Operands};
use crate::cpu_kernels::gemm::{MatrixRef, gemm};
use crate::error::Result;
use crate::expression::{Pointwise, table};
use crate::tensor::{DType, Real, Tensor, element_count, zeros};

pub struct Values<'a> {
    sequence: &'a Sequence,
    sizes: Sizes,
    gates: usize,
    direction: usize,
    recurrence: &'a Tensor,
    /// The input's part of each gate, `[steps · batch, hidden]`.
    inputs: Vec<Tensor>,
    peepholes: Vec<Tensor>,
    reset_bias: Tensor,
    mode: EvalPrecision,
}

impl<'a> Values<'a> {
    pub fn of(
        network: &Recurrent,
        given: Operands<'a, Tensor>,
        sequence: &'a Sequence,
        direction: usize,
        mode: EvalPrecision,
    ) -> Result<Self> {
        let (x, w, r) = (given.required(0)?, given.required(1)?, given.required(2)?);
        let sizes = *sequence.sizes();
        let (gates, hidden) = (network.cell.gates(), sizes.hidden);
        let rows = sequence.rows(x, network.reverse[direction])?;
        let vector = |of: &Tensor, at: usize| of.strided([hidden], &[1], at * hidden);
        let after = network.cell == Cell::Gru { linear_before_reset: true };
        let (add, mut inputs) = (Pointwise::of(&table::ADD, 2, &[]), vec![]);
        let mut reset_bias = zero(x.dtype(), &[hidden])?;
        for gate in 0..gates {
            let mut part = product(&rows, w, [direction * gates + gate, hidden])?;
            if let Some(biases) = given.optional(3) {
                let at = direction * 2 * gates + gate;
                let (of_x, of_h) = (vector(biases, at)?, vector(biases, at + gates)?);
                let bias = if after && gate == 2 {
                    reset_bias = of_h;
                    of_x
                } else {
                    add.eval(&[&of_x, &of_h], mode)?
                };
                part = add.eval(&[&part, &bias], mode)?;
            }
            inputs.push(part);
        }
        let peepholes = match given.optional(7) {
            Some(all) => (0..3).map(|gate| vector(all, direction * 3 + gate)).collect::<Result<Vec<_>>>()?,
            None => vec![],
        };
        Ok(Self { sequence, sizes, gates, direction, recurrence: r, inputs, peepholes, reset_bias, mode })
    }
}

impl Steps for Values<'_> {
    type Array = Tensor;

    fn apply(&self, expression: &Pointwise, operands: &[&Tensor]) -> Result<Tensor> {
        expression.eval(operands, self.mode)
    }
    fn input(&self, gate: usize, step: usize) -> Result<Tensor> {
        let Sizes { batch, hidden, .. } = self.sizes;
        self.inputs[gate].strided([batch, hidden], &[hidden, 1], step * batch * hidden)
    }
    fn recurrent(&self, gate: usize, state: &Tensor) -> Result<Tensor> {
        product(state, self.recurrence, [self.direction * self.gates + gate, self.sizes.hidden])
    }
    fn peephole(&self, gate: usize) -> Option<&Tensor> {
        self.peepholes.get(gate)
    }
    fn reset_bias(&self) -> &Tensor {
        &self.reset_bias
    }
    fn advance(&self, step: usize, old: &Tensor, new: Tensor) -> Result<Tensor> {
        self.sequence.advanced(step, old, new)
    }
}

/// Rows times the transpose of block `index` of weights, each `[hidden, k]`.
pub fn product(rows: &Tensor, weights: &Tensor, block: [usize; 2]) -> Result<Tensor> {
    match rows.dtype() {
        DType::F64 => plain::<f64>(rows, weights, block),
        _ => plain::<f32>(rows, weights, block),
    }
}

fn plain<T: Real>(rows: &Tensor, weights: &Tensor, [index, hidden]: [usize; 2]) -> Result<Tensor> {
    let (m, k) = (rows.shape()[0], rows.shape()[1]);
    let mut made: Vec<T> = zeros(element_count(&[m, hidden])?)?;
    let a = MatrixRef { data: rows.as_slice::<T>()?, rows: m, columns: k, row_stride: k, column_stride: 1 };
    let data = &weights.as_slice::<T>()?[index * hidden * k..][..hidden * k];
    let b = MatrixRef { data, rows: k, columns: hidden, row_stride: 1, column_stride: k };
    gemm(a, b, &mut made);
    Tensor::new([m, hidden], made)
}
