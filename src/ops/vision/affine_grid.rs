//! [AffineGrid](https://onnx.ai/onnx/operators/onnx__AffineGrid.html), version 20: the locations that affine
//! maps give the elements of an image or a volume, as a GridSample reads them.
//!
//! Inputs: theta `[n, 2, 3]` or `[n, 3, 4]`, and the size `[n, c, h, w]` or `[n, c, d, h, w]`.
//!
//! With `align_corners` an axis of one element lies at −1, where an axis begins. ONNX's function body says
//! that of the depth, for which it guards the division by 0, and would make NaN of a height or a width for
//! want of the guard; onnxruntime gives 1 there and PyTorch 0.

use crate::base::{EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::{Lowering, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread, single};
use crate::tensor::{DType, Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "AffineGrid", since: 20, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct AffineGrid {
    /// −1 and 1 are the centres of the outermost elements; else their outer edges.
    align_corners: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(AffineGrid { align_corners: node.flag("align_corners", false)? }))
}

/// The output's shape `[n, d…, r]`.
fn shape(theta: &[usize], size: &[i64]) -> Result<Vec<usize>> {
    let sizes = size.iter().map(|&size| single::size(size, "a size")).collect::<Result<Vec<_>>>()?;
    let rank = sizes.len().saturating_sub(2);
    if !(2..=3).contains(&rank) || *theta != [sizes[0], rank, rank + 1] {
        return Err(Error::model(format!(
            "theta of shape {theta:?} doesn't fit the size {size:?}: [n, 2, 3] and [n, c, h, w], or [n, 3, 4] \
             and [n, c, d, h, w] are needed"
        )));
    }
    let mut shape = vec![sizes[0]];
    shape.extend(&sizes[2..]);
    shape.push(rank);
    Ok(shape)
}

impl AffineGrid {
    /// The coordinate of an element of an axis.
    fn coordinate(&self, at: usize, size: usize) -> f64 {
        let (at, n) = (at as f64, size as f64);
        match (self.align_corners, size) {
            (true, 1) => -1.0,
            (true, _) => 2.0 * at / (n - 1.0) - 1.0,
            (false, _) => (2.0 * at + 1.0) / n - 1.0,
        }
    }
}

impl Operator for AffineGrid {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let theta = inputs.required(0)?;
        Ok(vec![Fact::new(theta.dtype, shape(&theta.shape, &inputs.ints(1)?)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let theta = inputs.required(0)?;
        let shape = shape(theta.shape(), &inputs.required(1)?.to_i64s()?)?;
        let rank = shape.len() - 2;
        let (sizes, maps) = (&shape[1..=rank], theta.to_f64s()?);
        let places = element_count(sizes)?;
        let mut grid: Vec<f64> = allocate(element_count(&shape)?)?;
        let mut from = vec![0.0; rank];
        for (image, place) in (0..shape[0]).flat_map(|image| (0..places).map(move |place| (image, place))) {
            let mut rest = place;
            // The innermost axis comes first.
            for (from, &size) in from.iter_mut().zip(sizes.iter().rev()) {
                *from = self.coordinate(rest % size, size);
                rest /= size;
            }
            for row in maps[image * rank * (rank + 1)..].chunks_exact(rank + 1).take(rank) {
                grid.push(row.iter().zip(&from).map(|(a, x)| a * x).sum::<f64>() + row[rank]);
            }
        }
        Ok(vec![cast(&Tensor::new(shape, grid)?, theta.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let theta = inputs.required(0)?;
        let shape = shape(theta.shape(), &inputs.required(1)?.to_i64s()?)?;
        let rank = shape.len() - 2;
        let mut wide = vec![1; rank + 2];
        (wide[0], wide[rank + 1]) = (shape[0], rank);
        let column = |at: usize| Ok((theta.pick(&wide[..], |row| Some(row * (rank + 1) + at))?, 0));
        let mut operands = (0..=rank).map(column).collect::<Result<Vec<_>>>()?;
        for from_last in 0..rank {
            operands.push((places(&shape, from_last)?, 1));
        }
        Ok(Some(Spread { expression: self.map(&shape), operands }))
    }
}

/// The places along an axis of the image, counted from its last, in as many dimensions as the output's behind
/// it.
fn places(shape: &[usize], from_last: usize) -> Result<Tensor> {
    let size = shape[shape.len() - 2 - from_last];
    let mut wide = vec![1; from_last + 2];
    wide[0] = size;
    Tensor::new(wide, (0..i32::try_from(size).unwrap_or(i32::MAX)).collect::<Vec<_>>())
}

impl AffineGrid {
    /// An element of the result: operands are the columns of theta, then the places along each axis, the last
    /// first.
    fn map(&self, shape: &[usize]) -> Pointwise {
        let rank = shape.len() - 2;
        let mut steps = Pointwise { operands: 2 * rank + 1, steps: vec![] };
        let mut sum = None;
        for axis in 0..rank {
            let size = shape[rank - axis];
            let place = steps.push_cast(Arg::Operand(rank + 1 + axis), DType::F32);
            let mut at = steps.push(&table::MUL, vec![place, Arg::Const(2.0)]);
            if !self.align_corners {
                at = steps.push(&table::ADD, vec![at, Arg::Const(1.0)]);
            }
            let whole = if self.align_corners { size.saturating_sub(1).max(1) } else { size };
            at = steps.push(&table::DIV, vec![at, Arg::Const(whole as f64)]);
            at = steps.push(&table::SUB, vec![at, Arg::Const(1.0)]);
            let term = steps.push(&table::MUL, vec![Arg::Operand(axis), at]);
            sum = Some(sum.map_or(term, |sum| steps.push(&table::ADD, vec![sum, term])));
        }
        if let Some(sum) = sum {
            steps.push(&table::ADD, vec![sum, Arg::Operand(rank)]);
        }
        steps
    }
}

impl Lower for AffineGrid {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        at.float_storage(0)?;
        let (theta, fact) = (at.view(0)?, at.output_fact(0)?.clone());
        let rank = fact.shape.len() - 2;
        let mut operands = vec![];
        for column in 0..=rank {
            let mut view = View { shape: vec![1; rank + 2], strides: vec![0; rank + 2], ..theta.clone() };
            (view.shape[0], view.strides[0]) = (theta.shape[0], theta.strides[0]);
            (view.shape[rank + 1], view.strides[rank + 1]) = (theta.shape[1], theta.strides[1]);
            view.offset = view.offset.wrapping_add_signed(column as isize * theta.strides[2]);
            operands.push((view, fact.dtype));
        }
        for from_last in 0..rank {
            operands.push((at.table("places", places(&fact.shape, from_last)?)?, DType::I32));
        }
        pointwise::emit_output(at, &self.map(&fact.shape), &operands, 0, Layout::Dense)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 2, 3]), Known(&[2, 3, 4, 5])]),
    case(&[("align_corners", Int(1))], &[Floats(&[1, 2, 3]), Known(&[1, 1, 5, 3])]),
    case(&[], &[Floats(&[2, 3, 4]), Known(&[2, 3, 2, 4, 5])]),
    case(&[("align_corners", Int(1))], &[Floats(&[1, 3, 4]), Known(&[1, 1, 3, 2, 4])]),
    case(&[], &[Floats(&[3, 2, 3]), Known(&[3, 1, 1, 1])]),
    case(&[("align_corners", Int(1))], &[Floats(&[2, 2, 3]), Known(&[2, 1, 1, 4])]),
    case(&[("align_corners", Int(1))], &[Floats(&[1, 3, 4]), Known(&[1, 2, 1, 3, 2])]),
    case(&[], &[Floats(&[0, 2, 3]), Known(&[0, 1, 2, 2])]).runs("view"),
];
