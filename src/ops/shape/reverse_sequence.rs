//! [ReverseSequence](https://onnx.ai/onnx/operators/onnx__ReverseSequence.html), versions 10, 28: the first
//! elements of each sequence of a batch in reverse, the others as they are.
//!
//! Inputs: data, whose first two axes are time and batch in either order, and each sequence's length.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "ReverseSequence", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct ReverseSequence {
    /// Axis 0 is the batch and axis 1 time; else the other way round.
    batch_first: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    match (node.int("batch_axis", 1)?, node.int("time_axis", 0)?) {
        (1, 0) => Ok(Arc::new(ReverseSequence { batch_first: false })),
        (0, 1) => Ok(Arc::new(ReverseSequence { batch_first: true })),
        (batch, time) => Err(Error::model(format!(
            "'batch_axis' is {batch} and 'time_axis' {time}; one must be 0, the other 1"
        ))),
    }
}

impl Operator for ReverseSequence {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, lengths) = (inputs.required(0)?, inputs.required(1)?);
        let batch = x.shape.get(usize::from(!self.batch_first));
        if x.rank() < 2 || batch.is_none_or(|&batch| lengths.shape != [batch]) {
            return Err(Error::model(format!(
                "lengths of shape {:?} don't fit data of shape {:?}",
                lengths.shape, x.shape
            ))
            .into());
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, lengths) = (inputs.required(0)?, inputs.required(1)?);
        let (first, second) = (x.shape()[0], x.shape()[1]);
        let time = if self.batch_first { second } else { first };
        let known = |&length: &i64| {
            usize::try_from(length).ok().filter(|&length| length <= time).ok_or_else(|| {
                Error::input(format!("a sequence of {length} elements among {time}")).of_input(1)
            })
        };
        let lengths = lengths.to_i64s()?.iter().map(known).collect::<Result<Vec<_>>>()?;
        let inner: usize = if x.is_empty() { 1 } else { x.shape()[2..].iter().product() };
        let source = |at: usize| {
            let (row, column) = (at / inner / second, at / inner % second);
            let (batch, time) = if self.batch_first { (row, column) } else { (column, row) };
            let time = if time < lengths[batch] { lengths[batch] - 1 - time } else { time };
            let (row, column) = if self.batch_first { (batch, time) } else { (time, batch) };
            Some((row * second + column) * inner + at % inner)
        };
        Ok(vec![x.pick(x.shape(), source)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[4, 3, 2]), Indices(&[3], &[4, 1, 3])]).runs("cpu"),
    case(&[("batch_axis", Int(0)), ("time_axis", Int(1))], &[I64(&[3, 5]), Indices(&[3], &[2, 5, 1])])
        .at(10)
        .runs("cpu"),
];
