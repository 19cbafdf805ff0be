//! [Transpose](https://onnx.ai/onnx/operators/onnx__Transpose.html), versions 1, 13, 21, 23: axes in another
//! order.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Reads};
use crate::tensor::Tensor;
use crate::tensor::index::{axes, strides};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Transpose", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Transpose {
    /// `None` reverses the axes.
    pub perm: Option<Vec<i64>>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Transpose { perm: node.ints("perm")? }))
}

impl Transpose {
    pub fn order(&self, rank: usize) -> Result<Vec<usize>> {
        match &self.perm {
            None => Ok((0..rank).rev().collect()),
            Some(perm) if perm.len() == rank => axes(perm, rank),
            Some(perm) => {
                Err(Error::model(format!("perm {perm:?} doesn't order the axes of a tensor of rank {rank}")))
            }
        }
    }
}

impl Operator for Transpose {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let shape: Vec<usize> = self.order(x.rank())?.iter().map(|&axis| x.shape[axis]).collect();
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (order, own) = (self.order(x.rank())?, strides(x.shape()));
        let shape: Vec<usize> = order.iter().map(|&axis| x.shape()[axis]).collect();
        let steps: Vec<usize> = order.iter().map(|&axis| own[axis]).collect();
        // Where only axes of one element move, the elements stay.
        let kept = |order: &[usize]| order.iter().copied().filter(|&axis| x.shape()[axis] != 1).is_sorted();
        Ok(vec![if kept(&order) { x.reshape(shape)? } else { x.strided(shape, &steps, 0)? }])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn permutes(&self, rank: usize) -> Option<Vec<usize>> {
        self.order(rank).ok()
    }

    fn reads(&self) -> Reads {
        Reads::View
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Transpose {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let view = at.view(0)?;
        let order = self.order(view.shape.len())?;
        at.alias(0, view.permuted(&order));
        Ok(())
    }
}

pub const CASES: &[Case] = &[
    case(&[("perm", Ints(&[0, 2, 1]))], &[Floats(&[2, 3, 5])]).runs("view"),
    case(&[], &[I64(&[3, 4])]).runs("view"),
    // Axes long enough for tiles.
    case(&[("perm", Ints(&[0, 2, 1]))], &[Floats(&[2, 40, 37])]).runs("view"),
    case(&[], &[I64(&[36, 33, 20])]).runs("view"),
];
