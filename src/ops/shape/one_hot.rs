//! [OneHot](https://onnx.ai/onnx/operators/onnx__OneHot.html), versions 9, 11: each index as a row that is
//! "on" there alone.
//!
//! Inputs: indices, depth (one number), values `[off, on]`. Indices count from the end where negative; one
//! outside [−depth, depth) gives a row that is off everywhere.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, index};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "OneHot", since: 9, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct OneHot {
    axis: i64,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    Ok(Arc::new(OneHot { axis: node.int("axis", -1)? }))
}

/// The depth may be of any number type.
fn depth_of(tensor: &Tensor) -> Result<usize> {
    match *tensor.to_f64s()? {
        [depth] if (0.0..=i32::MAX as f64).contains(&depth) => Ok(depth as usize),
        ref other => Err(Error::input(format!(
            "the depth of a OneHot is {:?}, not one size",
            &other[..other.len().min(4)]
        ))),
    }
}

impl OneHot {
    fn shape(&self, indices: &[usize], depth: usize) -> Result<(usize, Vec<usize>)> {
        let axis = index::axis(self.axis, indices.len() + 1)?;
        let mut shape = indices.to_vec();
        shape.insert(axis, depth);
        Ok((axis, shape))
    }
}

impl Operator for OneHot {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let depth = inputs.required(1)?.value.as_ref().ok_or(Infer::NeedsValue(1))?;
        let (_, shape) = self.shape(&inputs.required(0)?.shape, depth_of(depth)?)?;
        Ok(vec![Fact::new(inputs.required(2)?.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (indices, values) = (inputs.required(0)?, inputs.required(2)?);
        let depth = depth_of(inputs.required(1)?)?;
        let (axis, shape) = self.shape(indices.shape(), depth)?;
        if values.len() != 2 {
            return Err(Error::input(format!("the values of a OneHot are {}, not [off, on]", values.len())));
        }
        let list = indices.to_f64s()?;
        let inner: usize = indices.shape()[axis..].iter().product();
        let picked = values.pick(shape, |at| {
            let (outer, rest) = (at / (depth * inner), at % (depth * inner));
            // Indices that are no integers are cast to int64 before use: truncated.
            let hot = list[outer * inner + rest % inner].trunc();
            let hot = if hot < 0.0 { hot + depth as f64 } else { hot };
            Some((hot == (rest / inner) as f64) as usize)
        })?;
        Ok(vec![picked])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

impl Lower for OneHot {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let depth = at
            .constant(1)
            .ok_or_else(|| Unsupported::new("a depth that is not known when the plan is made"))?;
        let (axis, _) = self.shape(&at.fact(0)?.shape, depth_of(depth)?)?;
        let storages = [at.storage(at.fact(2)?.dtype)?, at.storage(at.fact(0)?.dtype)?];
        if at.fact(2)?.count() != 2 {
            return Err(Unsupported::new("values that are not [off, on]"));
        }
        let (indices, values) = (at.input(0, Layout::Dense)?, at.input(2, Layout::Dense)?);
        let output = at.output(0, Layout::Dense)?;
        let sizes = [output.shape[axis], indices.shape[axis..].iter().product()];
        crate::kernels::one_hot::emit(at, storages, &indices, &values, sizes, &output)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Indices(&[2, 3], &[0, 1, -1, 4, -5, 2]), Known(&[4]), Factors(&[0.5, 2.0])]),
    case(&[("axis", Int(0))], &[Indices(&[3], &[1, 0, 2]), Scalar(3.0), Known(&[0, 1])]),
    case(&[("axis", Int(1))], &[I32(&[3, 5]), Known(&[51]), Factors(&[0.0, 1.0])]),
    case(&[], &[Small(DType::U8, &[197]), Known(&[49]), Factors(&[0.0, 1.0])]),
    case(&[], &[Small(DType::U32, &[5]), Known(&[1]), Small(DType::U64, &[2])]),
    case(&[], &[Floats(&[5]), Known(&[3]), Bools(&[2])]),
    case(&[], &[Indices(&[2], &[0, 0]), Known(&[0]), Factors(&[0.0, 1.0])]).runs("view"),
];
