//! [Hardmax](https://onnx.ai/onnx/operators/onnx__Hardmax.html), versions 1, 11, 13: 1 at the first largest
//! element along an axis, 0 elsewhere. Before version 13 the axis and all behind it were one.

use super::softmax::Softmax;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::Result;
use crate::kernels::{Lowering, arg_reduce, one_hot};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::reduce::order::keys;
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Hardmax", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Hardmax {
    /// The axis as Softmax reads it.
    pub along: Softmax,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let flat = node.version < 13;
    Ok(Arc::new(Hardmax {
        along: Softmax { axis: node.int("axis", if flat { 1 } else { -1 })?, flat, logarithm: false },
    }))
}

impl Operator for Hardmax {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        self.along.split(&x.shape)?;
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (before, length, after) = self.along.split(x.shape())?;
        let keys = keys(x)?;
        let mut result: Vec<f32> = zeros(keys.len())?;
        for outer in 0..before {
            for inner in 0..after {
                let at = |k: usize| (outer * length + k) * after + inner;
                if length > 0 {
                    let best =
                        (1..length).fold(0, |best, k| if keys[at(k)] > keys[at(best)] { k } else { best });
                    result[at(best)] = 1.0;
                }
            }
        }
        Ok(vec![cast(&Tensor::new(x.shape(), result)?, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let _ = inputs;
        Bound::Exact
    }
}

impl Lower for Hardmax {
    /// The index of the largest element, made "on" there.
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (dtype, shape) = (at.fact(0)?.dtype, at.fact(0)?.shape.clone());
        let (before, length, after) = self.along.split(&shape)?;
        let storages = [at.storage(dtype)?, at.storage(DType::I64)?];
        let input = at.input(0, Layout::Dense)?;
        let split = View {
            shape: vec![before, length, after],
            strides: vec![(length * after) as isize, after as isize, 1],
            ..input
        };
        let indices = at.scratch(&Fact::new(DType::I64, [before, after]), Layout::Dense)?;
        let output = at.output(0, Layout::Dense)?;
        if output.count() == 0 {
            return Ok(());
        }
        let values = cast(&Tensor::int64s([0, 1]), dtype, true)?;
        let values = at.table("off and on", values)?;
        arg_reduce::emit_view(at, dtype, &split, 1, (true, false), &indices)?;
        one_hot::emit(at, storages, &indices, &values, [length, after], &output)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 7])]),
    case(&[("axis", Int(1))], &[Floats(&[2, 3, 5])]).at(11),
    case(&[("axis", Int(0))], &[Floats(&[5, 197])]),
    case(&[("axis", Int(1))], &[Floats(&[2, 5, 1])]),
    case(&[], &[Floats(&[1])]),
    case(&[], &[Floats(&[0, 3])]).runs("view"),
];
