//! [EyeLike](https://onnx.ai/onnx/operators/onnx__EyeLike.html), versions 9, 22: ones on a diagonal of a
//! matrix of the input's shape, zeros elsewhere. The input's elements don't matter: a plan computes it.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "EyeLike", since: 9, parse, cases: CASES };

/// Elements up to which the matrix is computed while shapes are.
const PLANNED: usize = 1 << 18;

#[derive(Debug, Clone, PartialEq)]
pub struct EyeLike {
    /// The input's type where it isn't given.
    dtype: Option<DType>,
    /// The diagonal: 0 the main one, positive above it.
    k: i64,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let known = |number: i64| {
        i32::try_from(number)
            .ok()
            .and_then(DType::from_onnx)
            .ok_or_else(|| Error::unsupported(format!("element type {number}")))
    };
    Ok(Arc::new(EyeLike { dtype: node.optional_int("dtype")?.map(known).transpose()?, k: node.int("k", 0)? }))
}

impl EyeLike {
    fn matrix(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let [_, columns] = *shape else {
            return Err(Error::model(format!("a tensor of rank {} is no matrix", shape.len())));
        };
        element_count(shape)?;
        let bits = Tensor::new([2], vec![0f32, 1.0])?;
        cast(&bits, dtype, true)?
            .pick(shape, |at| Some(((at % columns) as i64 - (at / columns) as i64 == self.k) as usize))
    }
}

impl Operator for EyeLike {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let dtype = self.dtype.unwrap_or(x.dtype);
        if x.rank() != 2 {
            return Err(Error::model(format!("a tensor of rank {} is no matrix", x.rank())).into());
        }
        Ok(vec![if x.count() <= PLANNED {
            Fact::of(&self.matrix(&x.shape, dtype)?)
        } else {
            Fact::new(dtype, x.shape.clone())
        }])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        Ok(vec![self.matrix(x.shape(), self.dtype.map_or(x.dtype(), |dtype| mode.of(dtype)))?])
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

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for EyeLike {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let elements = at.output_fact(0)?.count();
        Err(Unsupported::new(format!(
            "an identity matrix of {elements} elements, more than a plan computes ({PLANNED})"
        )))
    }
}

const CASES: &[Case] = &[
    case(&[("k", Int(1))], &[Floats(&[3, 5])]).runs("plan"),
    case(&[("dtype", Int(7)), ("k", Int(-1))], &[I32(&[5, 3])]).runs("plan"),
    case(&[("dtype", Int(1))], &[I64(&[1, 1])]).runs("plan"),
    case(&[], &[Bools(&[0, 3])]).runs("plan"),
];
