//! [RoiAlign](https://onnx.ai/onnx/operators/onnx__RoiAlign.html), versions 10, 16, 22: regions of an image
//! brought to one size, each cell from interpolated samples (He, Gkioxari, Dollár and Girshick, 2017).
//!
//! Inputs: X `[n, c, h, w]`, regions `[r, 4]` as `[x1, y1, x2, y2]`, and the image of each. A sample is
//! interpolated from the four elements around it, and 0 more than one element outside. As onnxruntime and
//! ONNX's reference have it, mode "max" takes the largest of the four weighted elements of all samples.

use super::image_of;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::{Lowering, roi_align};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Located, Lower, NodeView, OpDef, Operator, single};
use crate::tensor::{Tensor, cast, element_count, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "RoiAlign", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct RoiAlign {
    /// Elements are centred at halves: coordinates are shifted by −0.5.
    half_pixel: bool,
    maximum: bool,
    height: usize,
    width: usize,
    /// Samples of a cell along an axis; 0: one for each element that the cell spans.
    sampling: usize,
    scale: f64,
}

/// More samples along an axis would take for ever.
const MOST_SAMPLES: i64 = 1 << 10;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    let half_pixel = node.version >= 16
        && node.choice(
            "coordinate_transformation_mode",
            "half_pixel",
            &["half_pixel", "output_half_pixel"],
        )? == "half_pixel";
    let sampling = node.int("sampling_ratio", 0)?;
    if !(0..=MOST_SAMPLES).contains(&sampling) {
        return Err(Error::unsupported(format!("attribute 'sampling_ratio' is {sampling}"))
            .remedy(format!("supported: 0 to {MOST_SAMPLES}")));
    }
    Ok(Arc::new(RoiAlign {
        half_pixel,
        maximum: node.choice("mode", "avg", &["avg", "max"])? == "max",
        height: single::size(node.int("output_height", 1)?, "attribute 'output_height'")?,
        width: single::size(node.int("output_width", 1)?, "attribute 'output_width'")?,
        sampling: sampling as usize,
        scale: node.float("spatial_scale", 1.0)? as f64,
    }))
}

/// A cell along an axis.
#[derive(Debug, Clone)]
struct Samples {
    /// How many there are, those outside included.
    count: f64,
    /// (lower element, upper element, the upper one's share) of each that isn't outside.
    inside: Vec<(usize, usize, f64)>,
}

impl RoiAlign {
    fn shape(&self, x: &[usize], rois: &[usize], images: &[usize]) -> Result<Vec<usize>> {
        match (x, rois, images) {
            ([_, channels, _, _], [count, 4], [of]) if count == of => {
                Ok(vec![*count, *channels, self.height, self.width])
            }
            _ => Err(Error::model(format!(
                "an input {x:?}, regions {rois:?} and images {images:?} are not [n, c, h, w], [r, 4] and [r]"
            ))),
        }
    }

    /// The samples of each of `cells` between two coordinates, on an axis of `size` elements.
    fn samples(&self, from: f64, to: f64, cells: usize, size: usize) -> Vec<Samples> {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let start = from * self.scale - offset;
        let length = to * self.scale - offset - start;
        // Without the shift, malformed regions are one element.
        let length = if self.half_pixel { length } else { length.max(1.0) };
        let cell = length / cells as f64;
        let count = if self.sampling > 0 { self.sampling as f64 } else { cell.ceil().max(0.0) };
        let (step, n) = (cell / count, size as f64);
        let of = |k: usize| {
            let base = start + k as f64 * cell;
            // A region far larger than the image has samples without end outside.
            let near = |x: f64| ((x - base) / step - 0.5).clamp(0.0, count);
            let (first, last) = if self.sampling > 0 {
                (0, self.sampling)
            } else {
                (near(-2.0).floor() as usize, near(n + 1.0).ceil() as usize)
            };
            let sample = |k: usize| {
                let x = base + (k as f64 + 0.5) * step;
                if !(-1.0..=n).contains(&x) || size == 0 {
                    return None;
                }
                let x = x.max(0.0);
                let low = x as usize;
                Some(if low + 1 >= size { (size - 1, size - 1, 0.0) } else { (low, low + 1, x - low as f64) })
            };
            Samples { count, inside: (first..last).filter_map(sample).collect() }
        };
        (0..cells).map(of).collect()
    }

    /// A cell of a plane `width` elements wide.
    fn pooled(&self, rows: &Samples, columns: &Samples, plane: &[f64], width: usize) -> f64 {
        let corners = rows.inside.iter().flat_map(|&(y0, y1, down)| {
            columns.inside.iter().map(move |&(x0, x1, right)| {
                [
                    (1.0 - down) * (1.0 - right) * plane[y0 * width + x0],
                    (1.0 - down) * right * plane[y0 * width + x1],
                    down * (1.0 - right) * plane[y1 * width + x0],
                    down * right * plane[y1 * width + x1],
                ]
            })
        });
        let (all, inside) = (rows.count * columns.count, rows.inside.len() * columns.inside.len());
        if self.maximum {
            // What lies outside is 0.
            let least = if inside > 0 && inside as f64 >= all { f64::NEG_INFINITY } else { 0.0 };
            return corners.flatten().fold(least, f64::max);
        }
        corners.map(|corners| corners.iter().sum::<f64>()).sum::<f64>() / all.max(1.0)
    }
}

impl RoiAlign {
    /// The locations of a region between a and b are off by `unit`·(|a| + |b| + 2). Weights along an axis change
    /// by at most twice that; where a sample may be another side of the image's edge, or a cell have one sample
    /// more, the result may be that of other samples.
    fn off(&self, x: &Tensor, rois: &Tensor, images: &Tensor, unit: f64) -> Result<Located> {
        let shape = self.shape(x.shape(), rois.shape(), images.shape())?;
        let [batch, channels, height, width] = *x.shape() else { return Err(Error::internal("no image")) };
        let (xs, images, mut off) = (x.to_f64s()?, images.to_f64s()?, vec![]);
        let (cells, area) = (self.height * self.width, height * width);
        // Whether the line has other samples, touches an element, and how far its locations are off.
        let line = |from: f64, to: f64, count: usize, size: usize| -> Vec<(bool, bool, f64)> {
            let (a, b) = (from * self.scale, to * self.scale);
            let delta = unit * (a.abs() + b.abs() + 2.0);
            if !delta.is_finite() {
                return vec![(false, false, 0.0); count];
            }
            let length = if self.half_pixel { b - a } else { (b - a).max(1.0) };
            let cell = length / count as f64;
            // Where every step is a number of float32, float32 makes no error.
            let held = |x: f64| f64::from(x as f32) == x;
            let step = cell / if self.sampling > 0 { self.sampling as f64 } else { cell.ceil().max(1.0) };
            let start = a - if self.half_pixel { 0.5 } else { 0.0 };
            let exact = unit < 1e-4 && [a, b, start, length, cell, step].into_iter().all(held);
            let near = |x: f64, to: f64| !exact && (x - to).abs() <= delta;
            let recounted = self.sampling == 0 && near(cell, cell.round());
            let number = if self.sampling > 0 { self.sampling as f64 } else { cell.ceil().max(0.0) };
            let of = |k: usize| {
                let sample = |s: f64| start + k as f64 * cell + (s + 0.5) * cell / number;
                let place = |x: f64| ((x - start - k as f64 * cell) * number / cell - 0.5).clamp(0.0, number);
                let inside = (place(-2.0).floor() as u64, place(size as f64 + 1.0).ceil() as u64);
                let all = (inside.0..inside.1).map(|s| sample(s as f64));
                let (mut edge, mut touches) = (recounted, recounted);
                for x in all {
                    edge |= near(x, -1.0) || near(x, size as f64);
                    touches |= near(x, x.round());
                }
                (edge, touches, if exact { 0.0 } else { delta })
            };
            (0..count).map(of).collect()
        };
        for (region, roi) in rois.to_f64s()?.chunks_exact(4).enumerate() {
            let image = image_of(images[region], batch).map_err(|error| error.of_input(2))?;
            let columns = line(roi[0], roi[2], self.width, width);
            let rows = line(roi[1], roi[3], self.height, height);
            for channel in 0..channels {
                let plane = xs.get((image * channels + channel) * area..).unwrap_or_default();
                let plane = plane.get(..area).unwrap_or_default();
                let finite = plane.iter().filter(|x| x.is_finite());
                let largest = finite.fold(0.0, |most: f64, x| most.max(x.abs()));
                let whole = plane.iter().all(|x| x.is_finite());
                for at in 0..cells {
                    let (row, column) = (&rows[at / self.width], &columns[at % self.width]);
                    let (edge, touches) = (row.0 || column.0, row.1 || column.1);
                    let change: f64 = if edge { 2.0 } else { 2.0 * (row.2 + column.2) };
                    let open = (edge || touches || change >= 1.0) && !whole;
                    off.push(if open { f64::INFINITY } else { change.min(2.0) * largest });
                }
            }
        }
        off.resize(element_count(&shape)?, 0.0);
        // Of each sample four elements; a cell has no more than two samples for each element that there is.
        let samples = match self.sampling {
            0 => 4usize.saturating_mul(height + 3).saturating_mul(width + 3),
            count => count.saturating_mul(count),
        };
        Ok(Located { off, weight: 1.0, terms: samples.saturating_mul(4) })
    }
}

impl Operator for RoiAlign {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, rois, images) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        Ok(vec![Fact::new(x.dtype, self.shape(&x.shape, &rois.shape, &images.shape)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, rois, images) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let shape = self.shape(x.shape(), rois.shape(), images.shape())?;
        let [batch, channels, height, width] = *x.shape() else { return Err(Error::internal("no image")) };
        let (xs, images) = (x.to_f64s()?, images.to_f64s()?);
        let mut ys: Vec<f64> = zeros(element_count(&shape)?)?;
        let cells = self.height * self.width;
        if ys.is_empty() {
            return Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?]);
        }
        for (region, roi) in rois.to_f64s()?.chunks_exact(4).enumerate() {
            let image = image_of(images[region], batch).map_err(|error| error.of_input(2))?;
            let columns = self.samples(roi[0], roi[2], self.width, width);
            let rows = self.samples(roi[1], roi[3], self.height, height);
            for channel in 0..channels {
                let plane = &xs[(image * channels + channel) * height * width..][..height * width];
                let to = &mut ys[(region * channels + channel) * cells..][..cells];
                for (at, to) in to.iter_mut().enumerate() {
                    *to = self.pooled(&rows[at / self.width], &columns[at % self.width], plane, width);
                }
            }
        }
        Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Located
    }

    fn located(&self, inputs: Operands<'_, Tensor>, unit: f64) -> Result<Option<Located>> {
        let (x, rois) = (inputs.required(0)?, inputs.required(1)?);
        let images = inputs.required(2)?;
        self.off(x, rois, images, 2.0 * unit).map(Some)
    }
}

impl Lower for RoiAlign {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let batch = at.fact(0)?.shape.first().copied().unwrap_or(0);
        if let Some(images) = at.constant(2) {
            for image in images.to_f64s()? {
                image_of(image, batch)?;
            }
        }
        let cells = roi_align::Cells {
            maximum: self.maximum,
            sampling: self.sampling,
            scale: self.scale as f32,
            half_pixel: self.half_pixel,
        };
        roi_align::emit(at, cells)
    }
}

const CASES: &[Case] = &[
    case(
        &[
            ("output_height", Int(3)),
            ("output_width", Int(4)),
            ("sampling_ratio", Int(2)),
            ("spatial_scale", Float(0.5)),
        ],
        &[
            Floats(&[2, 3, 7, 6]),
            Values(&[3, 4], &[1.0, 2.0, 9.0, 12.0, -3.0, 0.0, 4.5, 20.0, 5.0, 5.0, 6.0, 7.0]),
            Known(&[0, 1, 1]),
        ],
    ),
    case(
        &[("output_height", Int(2)), ("output_width", Int(2))],
        &[
            Floats(&[1, 2, 9, 8]),
            Values(&[2, 4], &[0.5, 1.25, 7.0, 8.5, 3.0, 3.0, 3.5, 3.25]),
            Known(&[0, 0]),
        ],
    )
    .at(10),
    case(
        &[
            ("output_height", Int(2)),
            ("output_width", Int(3)),
            ("mode", Text("max")),
            ("coordinate_transformation_mode", Text("output_half_pixel")),
        ],
        &[
            Floats(&[1, 2, 9, 8]),
            Values(&[2, 4], &[0.5, 1.25, 7.0, 8.5, -4.0, -4.0, 30.0, 12.0]),
            Known(&[0, 0]),
        ],
    )
    .at(16),
    case(
        &[("output_height", Int(2)), ("output_width", Int(2)), ("sampling_ratio", Int(1))],
        &[
            Floats(&[3, 5, 4, 3]),
            Values(&[3, 4], &[0.0, 0.0, 2.5, 3.5, 1.0, 1.0, 9.0, 9.0, 2.0, 2.0, 1.0, 1.0]),
            Indices(&[3], &[2, 0, 1]),
        ],
    ),
];
