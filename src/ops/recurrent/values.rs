//! A direction's steps in tensors of its type.

use super::sequence::{Sequence, zero};
use super::sizes::Sizes;
use super::steps::{Equations, Steps};
use super::{Cell, Recurrent};
use crate::base::{EvalPrecision, Operands};
use crate::cpu_kernels::gemm::{MatrixRef, gemm};
use crate::cpu_kernels::panels::Panels;
use crate::cpu_kernels::product::{Epilogue, Rows, product_on};
use crate::error::Result;
use crate::expression::{Fused, Pointwise, table};
use crate::tensor::{DType, Real, Tensor, element_count, pool, zeros};

/// Products of a step below this are left to one thread: cutting them takes longer.
const SERIAL: usize = 1 << 18;

pub struct Values<'a> {
    sequence: &'a Sequence,
    sizes: Sizes,
    gates: usize,
    direction: usize,
    recurrence: &'a Tensor,
    panels: Option<&'a [Panels]>,
    /// The input's part of each gate, `[steps · batch, hidden]`.
    inputs: Vec<Tensor>,
    peepholes: Vec<Tensor>,
    reset_bias: Tensor,
    /// The equations, made ready for float32: a step is so small that this would take longer than it does.
    ready: Vec<(Pointwise, Fused)>,
    mode: EvalPrecision,
}

impl<'a> Values<'a> {
    pub fn of(
        network: &Recurrent,
        given: Operands<'a, Tensor>,
        sequence: &'a Sequence,
        direction: usize,
        panels: Option<&'a [Panels]>,
        equations: &Equations,
        mode: EvalPrecision,
    ) -> Result<Self> {
        let (x, w, r) = (given.required(0)?, given.required(1)?, given.required(2)?);
        let sizes = *sequence.sizes();
        let (gates, hidden) = (network.cell.gates(), sizes.hidden);
        let panels = panels.and_then(|all| all.get(direction * 2 * gates..(direction + 1) * 2 * gates));
        let rows = sequence.rows(x, network.reverse[direction])?;
        let vector = |of: &Tensor, at: usize| of.strided([hidden], &[1], at * hidden);
        let after = network.cell == Cell::Gru { linear_before_reset: true };
        let (add, mut inputs) = (Pointwise::of(&table::ADD, 2, &[]), vec![]);
        let mut reset_bias = zero(x.dtype(), &[hidden])?;
        for gate in 0..gates {
            let own = panels.map(|panels| &panels[gate]);
            let mut part = product(&rows, w, [direction * gates + gate, hidden], own)?;
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
        let ready = equations.expressions().into_iter();
        let ready = ready.filter_map(|e| Fused::of(&e).map(|fused| (e, fused))).collect();
        Ok(Self {
            sequence,
            sizes,
            gates,
            direction,
            recurrence: r,
            panels,
            inputs,
            peepholes,
            reset_bias,
            ready,
            mode,
        })
    }
}

impl Steps for Values<'_> {
    type Array = Tensor;

    fn apply(&self, expression: &Pointwise, operands: &[&Tensor]) -> Result<Tensor> {
        let of_floats = |operand: &&Tensor| operand.dtype() == DType::F32;
        let ready = self.ready.iter().find(|(of, _)| of == expression);
        let Some((_, fused)) = ready.filter(|_| operands.iter().all(of_floats)) else {
            return expression.eval(operands, self.mode);
        };
        let slices = operands.iter().map(|operand| operand.as_slice::<f32>()).collect::<Result<Vec<_>>>()?;
        let Sizes { batch, hidden, .. } = self.sizes;
        let mut made = pool::unset(element_count(&[batch, hidden])?)?;
        let mut row: Vec<&[f32]> = Vec::with_capacity(slices.len());
        for (at, to) in made.chunks_exact_mut(hidden.max(1)).enumerate() {
            row.clear();
            // What the whole batch shares is one row.
            row.extend(slices.iter().map(|list| list.get(at * hidden..(at + 1) * hidden).unwrap_or(list)));
            fused.run(&row, to);
        }
        Tensor::floats([batch, hidden], made)
    }
    fn input(&self, gate: usize, step: usize) -> Result<Tensor> {
        let Sizes { batch, hidden, .. } = self.sizes;
        self.inputs[gate].strided([batch, hidden], &[hidden, 1], step * batch * hidden)
    }
    fn recurrent(&self, gate: usize, state: &Tensor) -> Result<Tensor> {
        let own = self.panels.map(|panels| &panels[self.gates + gate]);
        product(state, self.recurrence, [self.direction * self.gates + gate, self.sizes.hidden], own)
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

/// Rows times the transpose of block `index` of weights, each `[hidden, k]`, through panels where there are
/// any.
pub fn product(
    rows: &Tensor,
    weights: &Tensor,
    [index, hidden]: [usize; 2],
    panels: Option<&Panels>,
) -> Result<Tensor> {
    match (rows.dtype(), panels) {
        (DType::F32, Some(panels)) => {
            let (m, n, k) = (rows.shape()[0], panels.n, panels.k);
            let mut made = pool::unset(element_count(&[m, n])?)?;
            let small = m.saturating_mul(n).saturating_mul(k) < SERIAL;
            let threads = if small { 1 } else { rayon::current_num_threads() };
            let from = Rows::Dense { data: rows.as_slice()?, stride: k };
            product_on(threads, from, m, panels, &Epilogue::default(), &mut made, n)?;
            Tensor::floats([m, n], made)
        }
        (DType::F64, _) => plain::<f64>(rows, weights, [index, hidden]),
        _ => plain::<f32>(rows, weights, [index, hidden]),
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
