//! [DeformConv](https://onnx.ai/onnx/operators/onnx__DeformConv.html), versions 19, 22: a convolution whose
//! taps are moved by offsets and weighted by a mask (Dai et al., 2017; Zhu et al., 2019).
//!
//! Inputs: X `[n, c, d…]`, W `[out, c / group, k…]`, offsets `[n, groups · taps · axes, o…]`, and optionally
//! B `[out]` and the mask `[n, groups · taps, o…]`. Between elements a tap is interpolated, linearly; outside
//! it is 0.

use crate::base::{
    AutoPad, Bound, EvalPrecision, Fact, Geometry, Infer, Layout, Operands, Terms, Unsupported, Window,
};
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::kernels::{Lowering, deform_columns, matmul, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, single};
use crate::tensor::index::strides;
use crate::tensor::{Tensor, cast, element_count, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "DeformConv", since: 19, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct DeformConv {
    window: Window,
    group: usize,
    /// Groups of channels that share offsets.
    offset_group: usize,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=5)?;
    let count = |name: &str| {
        let count = single::size(node.int(name, 1)?, &format!("attribute '{name}'"))?;
        if count > 0 { Ok(count) } else { Err(Error::model(format!("attribute '{name}' is 0"))) }
    };
    Ok(Arc::new(DeformConv {
        window: Window { auto_pad: AutoPad::NotSet, ..crate::ops::nn::window::parse(node)? },
        group: count("group")?,
        offset_group: count("offset_group")?,
    }))
}

/// The sizes of one application.
struct Sizes {
    geometry: Geometry,
    images: usize,
    channels: usize,
    outputs: usize,
    taps: usize,
    /// Output locations.
    places: usize,
}

impl DeformConv {
    fn sizes(&self, shapes: [Option<&[usize]>; 5]) -> Result<Sizes> {
        let [Some(x), Some(w), Some(offset), bias, mask] = shapes else {
            return Err(Error::model("an input, weights or offsets are missing"));
        };
        let wrong = |what: &str, found: &[usize]| {
            Error::model(format!("{what} of shape {found:?} don't fit an input {x:?} and weights {w:?}"))
        };
        if x.len() < 3 || w.len() != x.len() {
            return Err(wrong("weights", w));
        }
        let (channels, outputs) = (x[1], w[0]);
        let fits = Some(channels) == w[1].checked_mul(self.group)
            && outputs % self.group == 0
            && channels % self.offset_group == 0;
        if !fits {
            return Err(Error::model(format!(
                "{channels} channels and weights {w:?} don't make {} groups, or {} of offsets",
                self.group, self.offset_group
            )));
        }
        let geometry = self.window.geometry(&x[2..], &w[2..])?;
        let taps = element_count(&w[2..])?;
        let rows = element_count(&[self.offset_group, taps, geometry.input.len()])?;
        let of = |rows: usize| [&[x[0], rows], &geometry.output[..]].concat();
        if offset != of(rows) {
            return Err(wrong("offsets", offset));
        }
        if let Some(mask) = mask.filter(|mask| *mask != of(self.offset_group * taps)) {
            return Err(wrong("masks", mask));
        }
        if let Some(bias) = bias.filter(|bias| *bias != [outputs]) {
            return Err(wrong("biases", bias));
        }
        let places = element_count(&geometry.output)?;
        Ok(Sizes { geometry, images: x[0], channels, outputs, taps, places })
    }

    fn shape(sizes: &Sizes) -> Vec<usize> {
        [&[sizes.images, sizes.outputs], &sizes.geometry.output[..]].concat()
    }
}

/// The elements of a plane around a location, and their weights; those outside are left out.
fn around(location: &[f64], sizes: &[usize], steps: &[usize]) -> Vec<(usize, f64)> {
    let mut all = vec![(0, 1.0)];
    for ((&x, &size), &step) in location.iter().zip(sizes).zip(steps) {
        let (floor, t) = (x.floor(), x - x.floor());
        let taps = [(floor, 1.0 - t), (floor + 1.0, t)];
        let taps: Vec<(usize, f64)> = taps
            .into_iter()
            .filter(|tap| tap.0 >= 0.0 && tap.0 < size as f64)
            .map(|(at, weight)| (at as usize * step, weight))
            .collect();
        all = all
            .iter()
            .flat_map(|&(at, weight)| taps.iter().map(move |tap| (at + tap.0, weight * tap.1)))
            .collect();
    }
    all
}

impl Operator for DeformConv {
    /// Where a tap lies is no value that it is made of.
    fn by_value(&self, index: usize) -> bool {
        index == 2
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let sizes = self.sizes(std::array::from_fn(|index| Some(&inputs.optional(index)?.shape[..])))?;
        let dtype = inputs.required(0)?.dtype;
        if let Some(other) = inputs.present().map(|fact| fact.dtype).find(|&other| other != dtype) {
            return Err(Error::model(format!("has inputs of {dtype} and of {other}; all are of one type"))
                .remedy("put a Cast before the node")
                .into());
        }
        Ok(vec![Fact::new(dtype, Self::shape(&sizes))])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let sizes = self.sizes(std::array::from_fn(|index| Some(inputs.optional(index)?.shape())))?;
        let Sizes { geometry, images, channels, outputs, taps, places } = &sizes;
        let (xs, ws, offsets) =
            (x.to_f64s()?, inputs.required(1)?.to_f64s()?, inputs.required(2)?.to_f64s()?);
        let list = |index: usize| inputs.optional(index).map(Tensor::to_f64s).transpose();
        let (bias, mask) = (list(3)?, list(4)?);
        let (rank, steps) = (geometry.input.len(), strides(&geometry.input));
        let area: usize = geometry.input.iter().product();
        let (inside, outside) = (channels / self.group, outputs / self.group);
        let shape = Self::shape(&sizes);
        let mut ys: Vec<f64> = zeros(element_count(&shape)?)?;
        // What each channel's taps read at one location.
        let mut column: Vec<f64> = zeros(element_count(&[*channels, *taps])?)?;
        let mut location = vec![0.0; rank];
        for (image, place) in (0..*images).flat_map(|image| (0..*places).map(move |place| (image, place))) {
            for tap in 0..self.offset_group * taps {
                let group = tap / taps;
                let (mut rest, mut out) = (tap % taps, place);
                for axis in (0..rank).rev() {
                    let at = out % geometry.output[axis] * geometry.stride[axis]
                        + rest % geometry.kernel[axis] * geometry.dilation[axis];
                    (rest, out) = (rest / geometry.kernel[axis], out / geometry.output[axis]);
                    let row = (image * self.offset_group * taps + tap) * rank + axis;
                    location[axis] = at as f64 - geometry.begin[axis] as f64 + offsets[row * places + place];
                }
                let row = image * self.offset_group * taps + tap;
                let weight = mask.as_ref().map_or(1.0, |mask| mask[row * places + place]);
                let sources = around(&location, &geometry.input, &steps);
                let shared = channels / self.offset_group;
                for channel in group * shared..(group + 1) * shared {
                    let plane = &xs[(image * channels + channel) * area..][..area];
                    let read: f64 = sources.iter().map(|&(at, weight)| plane[at] * weight).sum();
                    column[channel * taps + tap % taps] = read * weight;
                }
            }
            for output in 0..*outputs {
                let group = output / outside.max(1);
                let weights = &ws[output * inside * taps..][..inside * taps];
                let read = &column[group * inside * taps..][..inside * taps];
                let sum: f64 = weights.iter().zip(read).map(|(w, x)| w * x).sum();
                ys[(image * outputs + output) * places + place] =
                    sum + bias.as_ref().map_or(0.0, |bias| bias[output]);
            }
        }
        Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?])
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let terms = inputs.optional(1).map_or(1, |w| w.count() / w.shape.first().map_or(1, |&n| n.max(1)));
        Bound::Sum { length: terms.max(1), terms: Terms::Elements }
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let terms = inputs.optional(1).map_or(1, |w| w.count() / w.shape.first().map_or(1, |&n| n.max(1)));
        outputs.first().map_or(0, |out| (2 * terms as u64).saturating_mul(out.count() as u64))
    }
}

impl Lower for DeformConv {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let s = {
            let shape = |index: usize| at.fact(index).ok().map(|fact| &fact.shape[..]);
            self.sizes(std::array::from_fn(shape))?
        };
        // Where a tap lies keeps its precision.
        if at.is_narrowed(at.fact(2)?.dtype)? {
            return Err(Unsupported::new("offsets of float32 that are held as float16"));
        }
        let made = at.output_fact(0)?.clone();
        let (inside, outside) = (s.channels / self.group, s.outputs / self.group);
        let (rows, terms) = (s.images.saturating_mul(s.places), inside.saturating_mul(s.taps));
        if made.count() == 0 || terms == 0 {
            return Err(Unsupported::new("a convolution of nothing"));
        }
        let dense = |at: &mut dyn Lowering, index| at.input(index, Layout::Dense).map(|view| view.buffer);
        let operands = [dense(at, 0)?, dense(at, 2)?];
        let mask = at.optional_input(4, Layout::Dense)?.map(|view| view.buffer);
        let columns = at.scratch(&Fact::new(made.dtype, vec![rows, self.group, terms]), Layout::Rows4)?;
        let channels = deform_columns::Channels {
            images: s.images,
            count: s.channels,
            groups: self.group,
            offset_groups: self.offset_group,
        };
        deform_columns::emit(at, storage, &s.geometry, channels, operands, mask, columns.buffer)?;

        let weights = at.view(1)?;
        let weights = at.reshaped(weights, &[self.group, outside, terms], "weights")?.permuted(&[0, 2, 1]);
        let factors = [columns.permuted(&[1, 0, 2]), weights];
        let sums = matmul::computed(at, made.dtype, factors, &[self.group], [rows, outside, terms])?;

        let split = [self.group, s.images, s.places, outside];
        let view = sums.reshaped_or(&split, "sums")?.permuted(&[1, 0, 3, 2]);
        let view = at.in_layout(view, Layout::Dense)?.reshaped_or(&made.shape, "sums")?;
        if !at.has_input(3) {
            at.alias(0, view);
            return Ok(());
        }
        let mut along = vec![1; made.shape.len() - 1];
        along[0] = s.outputs;
        let bias = at.view(3)?;
        let operands = [(view, made.dtype), (at.reshaped(bias, &along, "a bias")?, made.dtype)];
        pointwise::emit_output(at, &Pointwise::of(&table::ADD, 2, &[]), &operands, 0, Layout::Dense)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[1, 2, 5, 4]), Floats(&[3, 2, 2, 2]), Floats(&[1, 8, 4, 3])]),
    case(
        &[("pads", Ints(&[1, 1, 1, 1])), ("strides", Ints(&[2, 1])), ("group", Int(2))],
        &[
            Floats(&[2, 4, 6, 5]),
            Floats(&[2, 2, 3, 3]),
            Floats(&[2, 18, 3, 5]),
            Floats(&[2]),
            Range(&[2, 9, 3, 5], 0.0, 1.0),
        ],
    ),
    case(
        &[("offset_group", Int(2)), ("dilations", Ints(&[2, 1])), ("kernel_shape", Ints(&[2, 2]))],
        &[Floats(&[1, 4, 6, 5]), Floats(&[2, 4, 2, 2]), Floats(&[1, 16, 4, 4])],
    )
    .at(19),
];
