//! [GlobalAveragePool](https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html),
//! [GlobalMaxPool](https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html), versions 1, 22: reductions over
//! all spatial axes, kept as 1.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Reduction, Unsupported};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::reduce::reduce::evaluate;
use crate::ops::{ChannelsLast, Engine, Lower, NodeView, OpDef, Operator};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const AVERAGE: OpDef = OpDef {
    domain: "",
    name: "GlobalAveragePool",
    since: 1,
    parse: |node| parse(node, Reduction::Mean),
    cases: CASES,
};
pub const MAX: OpDef = OpDef {
    domain: "",
    name: "GlobalMaxPool",
    since: 1,
    parse: |node| parse(node, Reduction::Max),
    cases: CASES,
};

#[derive(Debug, Clone, PartialEq)]
pub struct GlobalPool {
    pub reduction: Reduction,
}

fn parse(node: &mut NodeView, reduction: Reduction) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(GlobalPool { reduction }))
}

impl Operator for GlobalPool {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if x.rank() < 2 {
            return Err(
                Error::model(format!("needs a tensor of rank 2 or more; found shape {:?}", x.shape)).into()
            );
        }
        let shape: Vec<usize> =
            x.shape.iter().enumerate().map(|(axis, &size)| if axis < 2 { size } else { 1 }).collect();
        Ok(vec![Fact::new(x.dtype, shape)])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        Ok(vec![evaluate(self.reduction, x, &(2..x.rank()).collect::<Vec<_>>(), true)?])
    }
    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }
    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        match self.reduction {
            Reduction::Max => Bound::Exact,
            reduction => Bound::Reduction(reduction),
        }
    }
    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        inputs.optional(0).map_or(0, |x| x.count() as u64)
    }
}

impl Lower for GlobalPool {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let rank = at.fact(0)?.rank();
        crate::kernels::reduce::emit(at, self.reduction, &(2..rank).collect::<Vec<_>>())
    }
}

impl Engine for GlobalPool {
    fn run_channels_last(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let x = inputs.required(0)?;
        Ok(Some(vec![evaluate(
            self.reduction,
            x,
            &(1..x.rank().saturating_sub(1)).collect::<Vec<_>>(),
            true,
        )?]))
    }

    fn channels_last(&self, _weights: Option<&[usize]>) -> ChannelsLast {
        ChannelsLast::Given
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 5, 3, 7])]),
    case(&[], &[Floats(&[1, 4, 6])]),
    case(&[], &[Floats(&[1, 9, 28, 29])]),
];
