//! [AffineGrid](https://onnx.ai/onnx/operators/onnx__AffineGrid.html), version 20: the locations that affine
//! maps give the elements of an image or a volume, as a GridSample reads them.
//!
//! Inputs: theta `[n, 2, 3]` or `[n, 3, 4]`, and the size `[n, c, h, w]` or `[n, c, d, h, w]`.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{Tensor, allocate, cast, element_count};
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
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 2, 3]), Known(&[2, 3, 4, 5])]).runs("cpu"),
    case(&[("align_corners", Int(1))], &[Floats(&[1, 2, 3]), Known(&[1, 1, 5, 3])]).runs("cpu"),
    case(&[], &[Floats(&[2, 3, 4]), Known(&[2, 3, 2, 4, 5])]).runs("cpu"),
    case(&[("align_corners", Int(1))], &[Floats(&[1, 3, 4]), Known(&[1, 1, 3, 2, 4])]).runs("cpu"),
];
