//! [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html), versions 1, 11, 22: convolution of any rank, with
//! groups.
//!
//! Inputs: X `[n, c, d…]`, W `[m, c/groups, k…]`, B `[m]` optional; then the epilogue's operands.

use super::{conv_nd, window};
use crate::base::{Bound, EvalPrecision, Fact, Geometry, Infer, Layout, Operands, Unsupported, View, Window};
use crate::cpu_kernels::conv::{ImageConv, convolve, pack, pack_taps};
use crate::cpu_kernels::depthwise::depthwise;
use crate::cpu_kernels::epilogue::PreparedEpilogue;
use crate::cpu_kernels::gemm::{MatrixRef, gemm};
use crate::cpu_kernels::panels::Packed;
use crate::cpu_kernels::{depthwise_last, few_filters};
use crate::error::{Error, Result};
use crate::expression::{Fused, Pointwise};
use crate::kernels::conv_nd::Channels;
use crate::kernels::epilogue::OutputStage;
use crate::kernels::{Lowering, conv, conv_direct, conv_stem, matmul, winograd};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{ChannelsLast, Engine, Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Real, Tensor, element_count, pool, zeros};
use rayon::prelude::*;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Conv", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    pub window: Window,
    pub groups: usize,
    /// Over the result (with its bias) as operand 0; further operands are the node's inputs from 3 on.
    pub epilogue: Pointwise,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=3)?;
    Ok(Arc::new(Conv::attributes(node)?))
}

impl Conv {
    /// The attributes that convolutions share.
    pub fn attributes(node: &NodeView) -> Result<Self> {
        let groups = usize::try_from(node.int("group", 1)?)
            .ok()
            .filter(|&groups| groups > 0)
            .ok_or_else(|| Error::model("attribute 'group' must be positive"))?;
        Ok(Conv { window: window::parse(node)?, groups, epilogue: Pointwise::identity() })
    }
    /// The window over an input of shape `x` by weights of shape `w`. Errors where they don't fit.
    pub fn geometry(&self, x: &[usize], w: &[usize], bias: Option<&[usize]>) -> Result<Geometry> {
        if x.len() < 3 || x.len() != w.len() {
            return Err(Error::model(format!(
                "input of shape {x:?} and weights of shape {w:?}: both need the same rank, 3 or more"
            )));
        }
        if Some(x[1]) != w[1].checked_mul(self.groups) || !w[0].is_multiple_of(self.groups) {
            return Err(Error::model(format!(
                "{} input channels don't fit weights of shape {w:?} in {} groups",
                x[1], self.groups
            )));
        }
        if let Some(bias) = bias.filter(|&bias| bias != [w[0]]) {
            return Err(Error::model(format!("the bias has shape {bias:?}; [{}] is needed", w[0])));
        }
        self.window.geometry(&x[2..], &w[2..])
    }
    /// Terms of each sum, the bias included.
    fn length(&self, w: &[usize]) -> usize {
        w[1..].iter().product::<usize>() + 1
    }
}

impl Operator for Conv {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        inputs.one_type(3)?;
        let (x, w) = (inputs.required(0)?, inputs.required(1)?);
        let geometry =
            self.geometry(&x.shape, &w.shape, inputs.optional(2).map(|bias| bias.shape.as_slice()))?;
        let mut shape = vec![x.shape[0], w.shape[0]];
        shape.extend(geometry.output);
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let result = match x.dtype() {
            DType::F64 => self.compute::<f64>(inputs)?,
            _ => self.compute::<f32>(inputs)?,
        };
        super::epilogue(&self.epilogue, result, inputs.skip(3), mode)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn epilogue(&self) -> Option<&Pointwise> {
        Some(&self.epilogue)
    }

    fn with_epilogue(&self, epilogue: Pointwise) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { epilogue, ..self.clone() }))
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        Bound::Contraction { length: inputs.optional(1).map_or(1, |w| self.length(&w.shape)) }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let terms = inputs.optional(1).map_or(0, |w| self.length(&w.shape) - 1) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * terms)
    }
}

impl Lower for Conv {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let (x, w) = (at.fact(0)?.shape.clone(), at.fact(1)?.shape.clone());
        let geometry = self.geometry(&x, &w, None)?;
        let Some(g) = geometry.two() else {
            let channels =
                Channels { images: x[0], input: x[1], output: w[0], groups: self.groups, transposed: false };
            let weights = conv_nd::weights(at, 1)?;
            return conv_nd::lower(at, &geometry, channels, weights, &self.epilogue);
        };
        let sizes = conv::ConvSizes {
            n: x[0],
            in_c: x[1],
            in_h: g.input[0],
            in_w: g.input[1],
            out_c: w[0],
            out_h: g.output[0],
            out_w: g.output[1],
            kernel: [g.kernel[0], g.kernel[1]],
            stride: [g.stride[0], g.stride[1]],
            pad: [g.begin[0], g.begin[1]],
            dilation: [g.dilation[0], g.dilation[1]],
            groups: self.groups,
        };
        let bias = at.optional_input(2, Layout::Dense)?.map(|view| view.buffer);
        let residual =
            if self.epilogue.operands > 1 { Some(at.input(3, Layout::ChannelsLast4)?.buffer) } else { None };
        if at.constant(1).is_some() && conv_stem::supports(&sizes) {
            let stage = OutputStage::new(
                &self.epilogue,
                at.output_fact(0)?.dtype,
                bias,
                residual,
                at.target(0, Layout::ChannelsLast4)?,
            )?;
            return conv_stem::emit(at, storage, &sizes, &stage);
        }
        let input = at.input(0, Layout::ChannelsLast4)?.buffer;
        let stage = OutputStage::new(
            &self.epilogue,
            at.output_fact(0)?.dtype,
            bias,
            residual,
            at.target(0, Layout::ChannelsLast4)?,
        )?;
        let pointwise = g.kernel == [1, 1]
            && g.stride == [1, 1]
            && g.begin == [0, 0]
            && g.end == [0, 0]
            && self.groups == 1;
        if pointwise {
            // A matrix product of [pixels, channels] and the weights' transpose.
            let weights = at.view(1)?;
            let weights = weights.reshaped_or(&[w[0], w[1]], "weights")?.permuted(&[1, 0]);
            let pixels = x[0] * g.output[0] * g.output[1];
            let rows = View {
                buffer: input,
                shape: vec![pixels, x[1]],
                strides: vec![x[1].next_multiple_of(4) as isize, 1],
                offset: 0,
            };
            return matmul::product(at, storage, [rows, weights], &[], [pixels, w[0], w[1]], 1.0, &stage);
        }
        if at.constant(1).is_none() || !conv::supports(&sizes) {
            let four = [w[0], w[1], g.kernel[0], g.kernel[1]];
            let weights = at.view(1)?.reshaped_or(&four, "weights")?;
            let weights = at.in_layout(weights.permuted(&[2, 3, 1, 0]), Layout::Rows4)?.buffer;
            return if conv::supports_rows(&sizes) {
                conv::emit(at, storage, &sizes, input, Some(weights), &stage)
            } else {
                conv_direct::emit(at, storage, &sizes, [input, weights], false, &stage)
            };
        }
        if let Some(tile) = winograd::tile(&sizes, storage, &at.capabilities()) {
            return winograd::emit(at, tile, storage, &sizes, input, &stage);
        }
        conv::emit(at, storage, &sizes, input, None, &stage)
    }
}

impl Engine for Conv {
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (x, w, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        if x.dtype() != DType::F32 || x.rank() != 4 {
            return Ok(None);
        }
        let plain = Self { epilogue: Pointwise::identity(), ..self.clone() };
        let result = super::through_channels_last(&plain, Operands::new(&[Some(x), Some(w), bias]), mode)?;
        result.map(|result| super::epilogue(&self.epilogue, result, inputs.skip(3), mode)).transpose()
    }

    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        match inputs.optional(1) {
            Some(w) if w.dtype() == DType::F32 && w.rank() == 4 => self.packed(w).map(Some),
            _ => Ok(None),
        }
    }

    fn run_channels_last(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (x, w, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let (DType::F32, &[n, height, width, c]) = (x.dtype(), x.shape()) else { return Ok(None) };
        let sizes = self.sizes([n, height, width, c], w.shape(), bias.map(Tensor::shape))?;
        let shape = [n, sizes.geometry.output[0], sizes.geometry.output[1], sizes.out_channels];
        let mut result = pool::unset(element_count(&shape)?)?;
        let Some(ready) = PreparedEpilogue::of(&self.epilogue, inputs.skip(3), result.len())? else {
            return Ok(None);
        };
        let own = if packed.is_none() { Some(self.packed(w)?) } else { None };
        let bias = bias.map(|bias| bias.as_slice::<f32>()).transpose()?;
        match packed.or(own.as_ref()) {
            Some(Packed::Panels(panels)) => {
                convolve(x.as_slice()?, &sizes, panels, bias, &ready, &mut result)?
            }
            Some(Packed::Taps(taps)) => {
                depthwise_last::depthwise(x.as_slice()?, &sizes, taps, bias, &ready, &mut result)
            }
            Some(Packed::Filters(filters)) => {
                few_filters::convolve(x.as_slice()?, &sizes, filters, bias, &ready, &mut result)?
            }
            Some(Packed::ConvBlock(_) | Packed::Integers(_) | Packed::Windows(_)) | None => return Ok(None),
        }
        Ok(Some(vec![Tensor::floats(shape, result)?]))
    }

    fn channels_last(&self, weights: Option<&[usize]>) -> ChannelsLast {
        // Two filters and more to a channel have no form of their own; a few groups do.
        let served =
            weights.is_some_and(|w| w.len() == 4 && (self.groups == 1 || self.is_depthwise(w) || w[1] >= 4));
        let float = Fused::of(&self.epilogue).is_some() || self.epilogue.is_identity();
        if served && float { ChannelsLast::Asked } else { ChannelsLast::Never }
    }
}

impl Conv {
    /// Whether weights of this shape are a filter for each channel, over two axes.
    pub fn is_depthwise(&self, w: &[usize]) -> bool {
        let &[filters, 1, height, width] = w else { return false };
        filters > 0 && filters == self.groups && height > 0 && width > 0
    }

    /// The sizes of a convolution of images `[n, h, w, c]`.
    pub fn sizes(
        &self,
        [n, height, width, c]: [usize; 4],
        w: &[usize],
        bias: Option<&[usize]>,
    ) -> Result<ImageConv> {
        let geometry = self.geometry(&[n, c, height, width], w, bias)?;
        Ok(ImageConv { images: n, channels: c, out_channels: w[0], groups: self.groups, geometry })
    }

    /// Weights `[m, c / groups, kh, kw]` as the products or the planes of [`crate::cpu_kernels::conv`] read
    /// them.
    fn packed(&self, w: &Tensor) -> Result<Packed> {
        let &[out, channels, height, width] = w.shape() else {
            return Err(Error::internal("weights without two spatial axes"));
        };
        let depthwise = self.groups > 1 && self.groups == out && channels == 1;
        let ws = w.as_slice::<f32>()?;
        Ok(if depthwise {
            Packed::Taps(pack_taps(ws, out))
        } else if few_filters::serves([out, channels, height, width], self.groups) {
            Packed::Filters(few_filters::pack(ws, [out, channels, height, width]))
        } else {
            Packed::Panels(pack(ws, [out, channels, height, width], self.groups)?)
        })
    }

    /// One image and one group at a time: the windows become columns, the product is a GEMM.
    fn compute<T: Real>(&self, inputs: Operands<'_, Tensor>) -> Result<Tensor> {
        let (x, w) = (inputs.required(0)?, inputs.required(1)?);
        let bias = inputs.optional(2);
        let geometry = self.geometry(x.shape(), w.shape(), bias.map(Tensor::shape))?;
        let (images, channels, out_c) = (x.shape()[0], x.shape()[1] / self.groups, w.shape()[0]);
        let mut shape = vec![images, out_c];
        shape.extend(&geometry.output);
        let in_area: usize = geometry.input.iter().product();
        let out_area: usize = geometry.output.iter().product();
        let taps: usize = geometry.kernel.iter().product();
        let (xs, ws) = (x.as_slice::<T>()?, w.as_slice::<T>()?);
        let mut result: Vec<T> = zeros(element_count(&shape)?)?;
        if let Some(two) = geometry.two().filter(|_| channels == 1 && self.groups > 1) {
            depthwise(xs, ws, &two, [self.groups, out_c / self.groups], &mut result);
            return with_bias(shape, result, bias, out_c, out_area);
        }
        let direct = taps == 1
            && geometry.output == geometry.input
            && geometry.stride.iter().all(|&stride| stride == 1)
            && geometry.begin.iter().all(|&pad| pad == 0);
        let mut columns: Vec<T> =
            if direct { vec![] } else { zeros(element_count(&[channels, taps, out_area])?)? };
        let sources = if direct { vec![] } else { sources(&geometry)? };
        let group_c = out_c / self.groups;
        for image in 0..images {
            for group in 0..self.groups {
                let input = &xs[(image * self.groups + group) * channels * in_area..][..channels * in_area];
                if !direct {
                    columns.par_chunks_exact_mut(out_area.max(1)).enumerate().for_each(|(row, to)| {
                        let (channel, tap) = (row / taps, row % taps);
                        let plane = &input[channel * in_area..][..in_area];
                        for (to, &from) in to.iter_mut().zip(&sources[tap * out_area..][..out_area]) {
                            *to = if from == usize::MAX { T::default() } else { plane[from] };
                        }
                    });
                }
                let k = channels * taps;
                let a = MatrixRef {
                    data: &ws[group * group_c * k..][..group_c * k],
                    rows: group_c,
                    columns: k,
                    row_stride: k,
                    column_stride: 1,
                };
                let b = MatrixRef {
                    data: if direct { input } else { &columns },
                    rows: k,
                    columns: out_area,
                    row_stride: out_area,
                    column_stride: 1,
                };
                gemm(
                    a,
                    b,
                    &mut result[(image * self.groups + group) * group_c * out_area..][..group_c * out_area],
                );
            }
        }
        with_bias(shape, result, bias, out_c, out_area)
    }
}

/// The result as a tensor, each channel's plane with its bias added.
fn with_bias<T: Real>(
    shape: Vec<usize>,
    mut result: Vec<T>,
    bias: Option<&Tensor>,
    out_c: usize,
    out_area: usize,
) -> Result<Tensor> {
    if let Some(bias) = bias {
        let bias = bias.as_slice::<T>()?;
        for (index, plane) in result.chunks_exact_mut(out_area.max(1)).enumerate() {
            plane.iter_mut().for_each(|value| *value += bias[index % out_c]);
        }
    }
    Tensor::new(shape, result)
}

/// For each tap and output position the input position of a plane, or `usize::MAX` in the padding.
pub fn sources(geometry: &Geometry) -> Result<Vec<usize>> {
    let taps: usize = geometry.kernel.iter().product();
    let area: usize = geometry.output.iter().product();
    let mut all = crate::tensor::allocate(element_count(&[taps, area])?)?;
    for tap in 0..taps {
        for out in 0..area {
            let (mut tap, mut out, mut at, mut scale) = (tap, out, Some(0), 1);
            for axis in (0..geometry.input.len()).rev() {
                let here = geometry.source(axis, out % geometry.output[axis], tap % geometry.kernel[axis]);
                at = at.zip(here).map(|(at, here)| at + here * scale);
                scale *= geometry.input[axis];
                (tap, out) = (tap / geometry.kernel[axis], out / geometry.output[axis]);
            }
            all.push(at.unwrap_or(usize::MAX));
        }
    }
    Ok(all)
}

pub const CASES: &[Case] = &[
    case(&[], &[Floats(&[1, 3, 5, 7]), Weights(&[5, 3, 3, 3])]),
    case(
        &[("pads", Ints(&[1, 1, 1, 1])), ("strides", Ints(&[2, 2]))],
        &[Floats(&[2, 5, 9, 6]), Weights(&[6, 5, 3, 3]), Weights(&[6])],
    ),
    case(
        &[("auto_pad", Text("SAME_UPPER"))],
        &[Floats(&[1, 1, 6, 6]), Weights(&[8, 1, 4, 4]), Weights(&[8])],
    ),
    case(
        &[("auto_pad", Text("SAME_LOWER")), ("dilations", Ints(&[2, 1]))],
        &[Floats(&[1, 4, 9, 6]), Weights(&[3, 4, 2, 2])],
    ),
    case(&[], &[Floats(&[2, 7, 3, 5]), Weights(&[9, 7, 1, 1]), Weights(&[9])]),
    case(&[("strides", Ints(&[2, 2]))], &[Floats(&[1, 8, 5, 5]), Weights(&[4, 8, 1, 1])]),
    case(
        &[("group", Int(6)), ("pads", Ints(&[1, 1, 1, 1]))],
        &[Floats(&[1, 6, 7, 9]), Weights(&[6, 1, 3, 3]), Weights(&[6])],
    ),
    case(
        &[("group", Int(2)), ("pads", Ints(&[0, 1, 2, 1]))],
        &[Floats(&[1, 8, 5, 6]), Weights(&[16, 4, 3, 3])],
    ),
    case(
        &[("group", Int(3)), ("pads", Ints(&[1, 1, 1, 1])), ("strides", Ints(&[2, 1]))],
        &[Floats(&[2, 6, 5, 6]), Weights(&[9, 2, 3, 3]), Weights(&[9])],
    ),
    case(
        &[("group", Int(5)), ("dilations", Ints(&[1, 2]))],
        &[Floats(&[1, 5, 4, 7]), Weights(&[10, 1, 3, 3])],
    ),
    case(
        &[("pads", Ints(&[3, 3, 2, 4])), ("strides", Ints(&[2, 2]))],
        &[Floats(&[2, 2, 11, 35]), Weights(&[9, 2, 7, 7]), Weights(&[9])],
    ),
    case(
        &[("pads", Ints(&[1, 1, 1, 1]))],
        &[Floats(&[2, 16, 11, 9]), Weights(&[20, 16, 3, 3]), Weights(&[20])],
    ),
    case(&[("pads", Ints(&[2, 0, 1, 1]))], &[Floats(&[1, 32, 8, 14]), Weights(&[37, 32, 3, 3])]),
    // Winograd's method by its smaller tile: the other's weights would take over 4 MiB.
    case(
        &[("pads", Ints(&[1, 1, 0, 1]))],
        &[Floats(&[1, 208, 10, 9]), Weights(&[144, 208, 3, 3]), Weights(&[144])],
    ),
    case(
        &[("strides", Ints(&[1, 3])), ("dilations", Ints(&[2, 1]))],
        &[Floats(&[2, 1, 8, 40]), Weights(&[35, 1, 3, 5])],
    ),
    case(&[("pads", Ints(&[1, 1, 1, 1]))], &[Floats(&[1, 3, 5, 4]), Floats(&[6, 3, 3, 3]), Floats(&[6])]),
    case(&[], &[Floats(&[1, 5, 4, 3]), Floats(&[3, 5, 1, 1])]),
    case(&[("pads", Ints(&[1, 1, 1, 1]))], &[Floats(&[2, 8, 5, 9]), Floats(&[6, 8, 3, 3]), Floats(&[6])]),
    case(&[("pads", Ints(&[1, 1, 1, 1]))], &[Floats(&[1, 24, 7, 9]), Floats(&[20, 24, 3, 3])]),
    case(
        &[("group", Int(2)), ("pads", Ints(&[0, 1, 2, 1]))],
        &[Floats(&[1, 8, 5, 6]), Floats(&[16, 4, 3, 3])],
    ),
    case(
        &[("group", Int(2)), ("pads", Ints(&[0, 1, 2, 1]))],
        &[Floats(&[1, 8, 5, 6]), Weights(&[64, 4, 3, 3])],
    ),
    case(
        &[("group", Int(6)), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 6, 7, 9]), Floats(&[6, 1, 3, 3]), Floats(&[6])],
    ),
    case(&[("pads", Ints(&[2, 2]))], &[Floats(&[1, 4, 11]), Weights(&[6, 4, 5]), Weights(&[6])]),
    case(&[], &[Floats(&[1, 2, 4, 4, 4]), Weights(&[3, 2, 2, 2, 2])]),
    case(
        &[
            ("pads", Ints(&[1, 0, 1, 0, 2, 1])),
            ("strides", Ints(&[1, 2, 1])),
            ("dilations", Ints(&[2, 1, 1])),
            ("group", Int(2)),
        ],
        &[Floats(&[2, 6, 4, 5, 3]), Weights(&[10, 3, 2, 3, 2]), Weights(&[10])],
    ),
    case(&[], &[Floats(&[1, 3, 3, 2, 4]), Floats(&[5, 3, 1, 2, 3]), Floats(&[5])]),
    case(&[], &[Floats(&[1, 2, 2, 3, 2, 3]), Weights(&[3, 2, 2, 2, 1, 2])]),
];
