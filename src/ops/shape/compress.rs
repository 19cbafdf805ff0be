//! [Compress](https://onnx.ai/onnx/operators/onnx__Compress.html), versions 9, 11, 28: the slices along an
//! axis, or the elements, for which a condition holds.
//!
//! Inputs: data, and the condition of each slice; those behind its end are left out. The output's size
//! depends on the condition.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{Boolean, DType, Tensor};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Compress", since: 9, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Compress {
    /// `None`: of the elements.
    axis: Option<i64>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(Compress { axis: node.optional_int("axis")? }))
}

impl Compress {
    /// The output's shape, and which slices are kept.
    fn plan(&self, x: &[usize], condition: &Tensor) -> Result<(Vec<usize>, Vec<usize>)> {
        let axis = self.axis.map(|at| axis(at, x.len())).transpose()?;
        let size = axis.map_or_else(|| x.iter().fold(1usize, |all, &n| all.saturating_mul(n)), |at| x[at]);
        let truth = condition.as_slice::<Boolean>().map_err(|error| error.of_input(1))?;
        let kept: Vec<usize> = (0..truth.len()).filter(|&at| truth[at].get()).collect();
        if let Some(at) = kept.last().filter(|&&at| at >= size) {
            return Err(Error::input(format!("the condition holds for slice {at} of {size}")).of_input(1));
        }
        let mut shape = if axis.is_some() { x.to_vec() } else { vec![0] };
        shape[axis.unwrap_or(0)] = kept.len();
        Ok((shape, kept))
    }
}

impl Operator for Compress {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, condition) = (inputs.required(0)?, inputs.required(1)?);
        if condition.rank() != 1 || condition.dtype != DType::Bool {
            return Err(Error::model(format!(
                "a condition of {}{:?}; a list of bool is needed",
                condition.dtype, condition.shape
            ))
            .into());
        }
        let (shape, _) = self.plan(&x.shape, condition.value.as_ref().ok_or(Infer::NeedsValue(1))?)?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (shape, kept) = self.plan(x.shape(), inputs.required(1)?)?;
        let Some(at) = self.axis.map(|at| axis(at, x.rank())).transpose()? else {
            return Ok(vec![x.pick(shape, |at| kept.get(at).copied())?]);
        };
        let inner: usize = if x.is_empty() { 1 } else { x.shape()[at + 1..].iter().product() };
        let source = |to: usize| {
            let (outer, slice) = (to / inner / kept.len(), to / inner % kept.len());
            Some((outer * x.shape()[at] + kept[slice]) * inner + to % inner)
        };
        Ok(vec![x.pick(shape, source)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

const CASES: &[Case] = &[
    case(&[("axis", Int(0))], &[Floats(&[5, 2]), Bools(&[4])]).runs("cpu"),
    case(&[("axis", Int(-1))], &[I64(&[2, 3, 5]), Bools(&[5])]).at(11).runs("cpu"),
    case(&[], &[Floats(&[3, 4]), Bools(&[7])]).at(9).runs("cpu"),
    case(&[("axis", Int(1))], &[Small(DType::U8, &[2, 6, 3]), Bools(&[6])]).runs("cpu"),
];
