//! [TopK](https://onnx.ai/onnx/operators/onnx__TopK.html), versions 1, 10, 11, 24: the k largest (or
//! smallest) elements along an axis, in order, and their int64 indices. Of equal elements the one of the
//! lower index comes first.
//!
//! Inputs: X, and k since version 10 (an attribute before).

use super::order::keys;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{DType, Tensor, allocate, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "TopK", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    pub axis: i64,
    pub largest: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    if let Some(k) = node.optional_int("k")? {
        node.set_constant(1, Tensor::int64s([k]));
    }
    node.expect_inputs(2..=2)?;
    // Unsorted results may come in any order: sorted is one.
    node.ignore(&["sorted"]);
    Ok(Arc::new(TopK { axis: node.int("axis", -1)?, largest: node.flag("largest", true)? }))
}

impl TopK {
    /// The axis and the results' shape.
    fn shape(&self, x: &[usize], k: &[i64]) -> Result<(usize, Vec<usize>)> {
        let at = axis(self.axis, x.len())?;
        let wanted = match *k {
            [k] => usize::try_from(k).ok().filter(|&k| k <= x[at]),
            _ => None,
        };
        let wanted = wanted
            .ok_or_else(|| Error::input(format!("k is {k:?}; one number from 0 to {} is needed", x[at])))?;
        let mut shape = x.to_vec();
        shape[at] = wanted;
        Ok((at, shape))
    }
}

impl Operator for TopK {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let (_, shape) = self.shape(&x.shape, &inputs.ints(1)?)?;
        Ok(vec![Fact::new(x.dtype, shape.clone()), Fact::new(DType::I64, shape)])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (at, shape) = self.shape(x.shape(), &inputs.required(1)?.to_i64s()?)?;
        let (length, after) = (x.shape()[at], x.shape()[at + 1..].iter().product::<usize>());
        let count = element_count(&shape)?;
        let keys = keys(x)?;
        let mut sources = allocate(count)?;
        sources.resize(count, 0usize);
        let mut indices: Vec<i64> = allocate(count)?;
        indices.resize(count, 0);
        for outer in 0..x.shape()[..at].iter().product() {
            for inner in 0..after {
                let from = |k: usize| (outer * length + k) * after + inner;
                let mut order: Vec<usize> = (0..length).collect();
                // Stable, so that equal elements keep their order.
                order.sort_by(|&a, &b| {
                    if self.largest {
                        keys[from(b)].cmp(&keys[from(a)])
                    } else {
                        keys[from(a)].cmp(&keys[from(b)])
                    }
                });
                for (rank, &k) in order.iter().take(shape[at]).enumerate() {
                    let to = (outer * shape[at] + rank) * after + inner;
                    (sources[to], indices[to]) = (from(k), k as i64);
                }
            }
        }
        Ok(vec![x.pick(shape.clone(), |index| Some(sources[index]))?, Tensor::new(shape, indices)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let axis = inputs.optional(0).and_then(|x| axis(self.axis, x.rank()).ok()).unwrap_or(0);
        Bound::Choice { axis, positions: 1 }
    }
}

impl Lower for TopK {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let wanted = at.ints(1)?;
        let (axis, shape) = self.shape(&at.fact(0)?.shape, &wanted)?;
        crate::kernels::top_k::emit(at, axis, shape[axis], self.largest)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 9]), Known(&[4])]).outputs(2),
    case(&[("axis", Int(0)), ("largest", Int(0))], &[I64(&[7, 3]), Known(&[7])]).outputs(2),
    case(&[("axis", Int(1)), ("k", Int(2))], &[Floats(&[2, 5, 3])]).at(1).outputs(2),
    case(&[], &[I32(&[2, 197]), Known(&[101])]).outputs(2),
    case(&[("largest", Int(0))], &[Small(DType::U8, &[197]), Known(&[5])]).outputs(2),
    case(&[], &[Wide(DType::U64, &[1, 5]), Known(&[1])]).outputs(2),
    case(&[("axis", Int(1))], &[Wide(DType::U32, &[3, 5, 1]), Known(&[3])]).outputs(2),
    case(&[], &[Floats(&[3, 5]), Known(&[0])]).outputs(2).runs("view"),
];
