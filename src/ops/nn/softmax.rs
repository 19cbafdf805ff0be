//! [Softmax](https://onnx.ai/onnx/operators/onnx__Softmax.html) and
//! [LogSoftmax](https://onnx.ai/onnx/operators/onnx__LogSoftmax.html), versions 1, 11, 13.
//!
//! Before version 13 the axis and all behind it were one: `flat` says so.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::cpu_kernels::rows;
use crate::error::Result;
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{DType, Real, Tensor, pool, zeros};
use std::sync::Arc;

pub const SOFTMAX: OpDef =
    OpDef { domain: "", name: "Softmax", since: 1, parse: |node| parse(node, false), cases: CASES };
pub const LOG_SOFTMAX: OpDef =
    OpDef { domain: "", name: "LogSoftmax", since: 1, parse: |node| parse(node, true), cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    pub axis: i64,
    pub flat: bool,
    pub logarithm: bool,
}

fn parse(node: &mut NodeView, logarithm: bool) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let flat = node.version < 13;
    Ok(Arc::new(Softmax { axis: node.int("axis", if flat { 1 } else { -1 })?, flat, logarithm }))
}

impl Softmax {
    /// (elements before the axis, on it, behind it)
    pub(crate) fn split(&self, shape: &[usize]) -> Result<(usize, usize, usize)> {
        if shape.is_empty() || self.flat && self.axis == shape.len() as i64 {
            return Ok((shape.iter().product(), 1, 1));
        }
        let at = axis(self.axis, shape.len())?;
        let before = shape[..at].iter().product();
        let after = shape[at + 1..].iter().product();
        Ok(if self.flat { (before, shape[at] * after, 1) } else { (before, shape[at], after) })
    }
    fn compute<T: Real>(&self, input: &Tensor) -> Result<Tensor> {
        let (before, length, after) = self.split(input.shape())?;
        let xs = input.as_slice::<T>()?;
        let mut result: Vec<T> = zeros(xs.len())?;
        for outer in 0..before {
            for inner in 0..after {
                let at = |k: usize| (outer * length + k) * after + inner;
                let high = (0..length).map(|k| xs[at(k)].f64()).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..length).map(|k| (xs[at(k)].f64() - high).exp()).sum();
                for k in 0..length {
                    let x = xs[at(k)].f64() - high;
                    result[at(k)] = T::of(if self.logarithm { x - sum.ln() } else { x.exp() / sum });
                }
            }
        }
        Tensor::new(input.shape(), result)
    }
}

impl Operator for Softmax {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        self.split(&x.shape)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (_, length, after) = self.split(x.shape())?;
        if x.dtype() == DType::F32 && after == 1 && !self.logarithm {
            let xs = x.as_slice::<f32>()?;
            let mut ys = pool::unset(xs.len())?;
            rows::softmax(xs, &mut ys, length);
            return Ok(vec![Tensor::floats(x.shape(), ys)?]);
        }
        Ok(vec![if x.dtype() == DType::F64 { self.compute::<f64>(x)? } else { self.compute::<f32>(x)? }])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let split = inputs.optional(0).and_then(|x| self.split(&x.shape).ok());
        let (before, length, after) = split.unwrap_or((0, 1, 1));
        Bound::Softmax { before, length, after, logarithm: self.logarithm }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| 5 * out.count() as u64)
    }
}

impl Lower for Softmax {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let shape = at.fact(0)?.shape.clone();
        let (before, length, after) = self.split(&shape)?;
        if shape.is_empty() {
            return Err(Unsupported::new("softmax of a scalar"));
        }
        let resolved = axis(self.axis, shape.len());
        if self.flat && resolved.as_ref().is_ok_and(|&at| shape[at + 1..].iter().product::<usize>() != 1)
            || resolved.is_err()
        {
            // Rows of everything behind the axis.
            let view = at.input(0, Layout::Dense)?;
            let rows = view
                .reshaped(&[before, length * after])
                .ok_or_else(|| Unsupported::new("an empty softmax"))?;
            return crate::kernels::softmax::emit_rows(at, rows, &shape, self.logarithm);
        }
        crate::kernels::softmax::emit(at, resolved?, self.logarithm)
    }
}

pub const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 197])]),
    case(&[("axis", Int(1))], &[Floats(&[2, 5, 3, 4])]),
    case(&[("axis", Int(0))], &[Floats(&[5, 6])]),
    case(&[], &[Floats(&[1])]),
    case(&[], &[Range(&[2, 8], 50.0, 90.0)]),
    case(&[("axis", Int(1))], &[Floats(&[2, 3, 5])]).at(11),
    // Lines that a reduction group keeps, and some that are too long for it.
    case(&[], &[Floats(&[70, 96])]),
    case(&[], &[Floats(&[2, 5002])]),
    case(&[], &[Floats(&[1, 20001])]),
    case(&[("axis", Int(0))], &[Floats(&[300, 6])]),
    case(&[("axis", Int(0))], &[Floats(&[2100, 6])]),
];
