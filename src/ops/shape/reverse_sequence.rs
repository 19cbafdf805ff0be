//! [ReverseSequence](https://onnx.ai/onnx/operators/onnx__ReverseSequence.html), versions 10, 28: the first
//! elements of each sequence of a batch in reverse, the others as they are.
//!
//! Inputs: data, whose first two axes are time and batch in either order, and each sequence's length.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::gather::{Addressing, gathered};
use crate::kernels::{Lowering, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast};
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

/// The sequences' lengths, none of which is longer than there is time.
fn known_lengths(lengths: &Tensor, time: usize) -> Result<Vec<usize>> {
    let known = |&length: &i64| {
        usize::try_from(length)
            .ok()
            .filter(|&length| length <= time)
            .ok_or_else(|| Error::input(format!("a sequence of {length} elements among {time}")).of_input(1))
    };
    lengths.to_i64s()?.iter().map(known).collect()
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
        let lengths = known_lengths(lengths, time)?;
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

/// Where an element comes from, by its own time (operand 0) and its sequence's length (operand 1): a length
/// that is none leads outside the axis.
fn source() -> Pointwise {
    let mut steps = Pointwise { operands: 2, steps: vec![] };
    let (time, length) = (Arg::Operand(0), Arg::Operand(1));
    let turned = steps.push(&table::LESS, vec![time, length]);
    let last = steps.push(&table::SUB, vec![length, Arg::Const(1.0)]);
    let back = steps.push(&table::SUB, vec![last, time]);
    let from = steps.push(&table::WHERE, vec![turned, back, time]);
    let none = steps.push(&table::LESS, vec![length, Arg::Const(0.0)]);
    steps.push(&table::WHERE, vec![none, length, from]);
    steps
}

impl Lower for ReverseSequence {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (x, lengths) = (at.view(0)?, at.view(1)?);
        let (dtype, index_type) = (at.fact(0)?.dtype, at.fact(1)?.dtype);
        let along = usize::from(self.batch_first);
        let time = x.shape[along];
        if x.count() == 0 {
            return Err(Unsupported::new("sequences without elements"));
        }
        if !matches!(index_type, DType::I32 | DType::I64) {
            return Err(Unsupported::new(format!("lengths of {index_type}")));
        }
        if let Some(lengths) = at.constant(1) {
            known_lengths(lengths, time)?;
        }
        // Of every time and sequence, in the data's order.
        let on_axis = |view: View, axis: usize| {
            let mut placed = View { shape: vec![1; 2], strides: vec![0; 2], ..view.clone() };
            (placed.shape[axis], placed.strides[axis]) = (view.shape[0], view.strides[0]);
            placed
        };
        let steps = Tensor::new([time], (0..time as i64).collect::<Vec<_>>())?;
        let steps = at.table("times", cast(&steps, index_type, true)?)?;
        let operands = [(on_axis(steps, along), index_type), (on_axis(lengths, 1 - along), index_type)];
        let (indices, _) = pointwise::computed(at, &source(), &operands, &x.shape[..2])?;
        let mut data_strides = x.strides.clone();
        data_strides[along] = 0;
        let mut index_strides = vec![0; x.shape.len()];
        index_strides[..2].copy_from_slice(&indices.strides);
        let addressing = Addressing {
            data_strides,
            index_strides,
            tuple_step: 0,
            axis: along,
            axes: vec![(time, x.strides[along])],
        };
        let report = at.report(1, along, vec![time], false);
        let output = at.output(0, Layout::Dense)?;
        gathered(at, (&x, dtype), (&indices, index_type), &addressing, false, report, output)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[4, 3, 2]), Indices(&[3], &[4, 1, 3])]),
    case(&[("batch_axis", Int(0)), ("time_axis", Int(1))], &[I64(&[3, 5]), Indices(&[3], &[2, 5, 1])]).at(10),
    case(&[], &[Bools(&[5, 1]), Indices(&[1], &[0])]),
    case(&[], &[Floats(&[3, 2, 1, 5]), Known(&[3, 2])]),
];
