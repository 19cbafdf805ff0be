//! [MaxRoiPool](https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html), versions 1, 22: regions of an image
//! brought to one size, each cell the largest element (Girshick, "Fast R-CNN", 2015).
//!
//! Inputs: X `[n, c, h, w]`, regions `[r, 5]` as `[image, x1, y1, x2, y2]`, whose corners are rounded to
//! elements and both belong to the region. A cell without elements is 0.

use super::image_of;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{Tensor, cast, element_count, zeros};
use std::ops::Range;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "MaxRoiPool", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct MaxRoiPool {
    height: usize,
    width: usize,
    scale: f64,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    let [height, width] = node.sizes("pooled_shape")?.unwrap_or_default()[..] else {
        return Err(Error::model("attribute 'pooled_shape' is not [height, width]"));
    };
    Ok(Arc::new(MaxRoiPool { height, width, scale: node.float("spatial_scale", 1.0)? as f64 }))
}

impl MaxRoiPool {
    fn shape(&self, x: &[usize], rois: &[usize]) -> Result<Vec<usize>> {
        match (x, rois) {
            ([_, channels, _, _], [count, 5]) => Ok(vec![*count, *channels, self.height, self.width]),
            _ => Err(Error::model(format!(
                "an input {x:?} and regions {rois:?} are not [n, c, h, w] and [r, 5]"
            ))),
        }
    }

    /// The elements of each of `cells` between two coordinates, on an axis of `size` elements.
    fn cells(&self, from: f64, to: f64, cells: usize, size: usize) -> Vec<Range<usize>> {
        let (first, last) = ((from * self.scale).round(), (to * self.scale).round());
        // In float32, as everyone takes it: a cell's edge may fall on an element's.
        let cell = (last - first + 1.0).max(1.0) as f32 / cells as f32;
        let edge = |at: f32| (at as f64 + first).clamp(0.0, size as f64) as usize;
        (0..cells).map(|k| edge((k as f32 * cell).floor())..edge(((k + 1) as f32 * cell).ceil())).collect()
    }
}

impl Operator for MaxRoiPool {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, rois) = (inputs.required(0)?, inputs.required(1)?);
        Ok(vec![Fact::new(x.dtype, self.shape(&x.shape, &rois.shape)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, rois) = (inputs.required(0)?, inputs.required(1)?);
        let shape = self.shape(x.shape(), rois.shape())?;
        let [batch, channels, height, width] = *x.shape() else { return Err(Error::internal("no image")) };
        let xs = x.to_f64s()?;
        let mut ys: Vec<f64> = zeros(element_count(&shape)?)?;
        let count = self.height * self.width;
        if ys.is_empty() {
            return Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?]);
        }
        for (region, roi) in rois.to_f64s()?.chunks_exact(5).enumerate() {
            let image = image_of(roi[0], batch).map_err(|error| error.of_input(1))?;
            let columns = self.cells(roi[1], roi[3], self.width, width);
            let rows = self.cells(roi[2], roi[4], self.height, height);
            for channel in 0..channels {
                let plane = &xs[(image * channels + channel) * height * width..][..height * width];
                let to = &mut ys[(region * channels + channel) * count..][..count];
                for (at, to) in to.iter_mut().enumerate() {
                    let (rows, columns) = (&rows[at / self.width], &columns[at % self.width]);
                    let seen = rows.clone().flat_map(|y| columns.clone().map(move |x| plane[y * width + x]));
                    *to = seen.reduce(f64::max).unwrap_or(0.0);
                }
            }
        }
        Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(
        &[("pooled_shape", Ints(&[3, 2])), ("spatial_scale", Float(0.5))],
        &[
            Floats(&[2, 3, 7, 6]),
            Values(&[3, 5], &[0.0, 1.0, 2.0, 9.0, 12.0, 1.0, 3.0, 0.0, 4.5, 20.0, 1.0, 5.0, 5.0, 6.0, 7.0]),
        ],
    )
    .runs("cpu"),
    case(
        &[("pooled_shape", Ints(&[2, 2]))],
        &[Floats(&[1, 2, 5, 5]), Values(&[2, 5], &[0.0, -3.0, -2.0, 1.4, 2.6, 0.0, 6.0, 1.0, 9.0, 4.0])],
    )
    .at(1)
    .runs("cpu"),
];
