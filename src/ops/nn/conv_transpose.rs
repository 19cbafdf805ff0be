//! [ConvTranspose](https://onnx.ai/onnx/operators/onnx__ConvTranspose.html), versions 1, 11, 22: the gradient
//! of a convolution.
//!
//! Inputs: X `[n, c, d…]`, W `[c, m/groups, k…]`, B `[m]` optional; then the epilogue's operands. Element `i`
//! of X and tap `t` add to element `i·stride + t·dilation − begin` of the result.

use super::{conv_nd, window};
use crate::base::{
    AutoPad, Bound, EvalPrecision, Fact, Geometry, Infer, Layout, Operands, Unsupported, Window,
};
use crate::cpu_kernels::gemm::{MatrixRef, gemm};
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::kernels::conv_nd::Channels;
use crate::kernels::epilogue::OutputStage;
use crate::kernels::{Lowering, Packing, conv, conv_transpose};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Real, Tensor, element_count, zeros};
use crate::threads::chunks;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "ConvTranspose", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct ConvTranspose {
    pub window: Window,
    pub groups: usize,
    /// Added at the end of each spatial axis.
    pub output_padding: Option<Vec<usize>>,
    /// The spatial sizes of the result, from which the padding follows.
    pub output_shape: Option<Vec<usize>>,
    /// Over the result (with its bias) as operand 0; further operands are the node's inputs from 3 on.
    pub epilogue: Pointwise,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=3)?;
    let groups = usize::try_from(node.int("group", 1)?)
        .ok()
        .filter(|&groups| groups > 0)
        .ok_or_else(|| Error::model("attribute 'group' must be positive"))?;
    Ok(Arc::new(ConvTranspose {
        window: window::parse(node)?,
        groups,
        output_padding: node.sizes("output_padding")?.filter(|list| !list.is_empty()),
        output_shape: node.sizes("output_shape")?.filter(|list| !list.is_empty()),
        epilogue: Pointwise::identity(),
    }))
}

/// A list of one entry for each of `rank` axes, or the default.
fn full(list: &Option<Vec<usize>>, name: &str, rank: usize, default: usize) -> Result<Vec<usize>> {
    match list {
        None => Ok(vec![default; rank]),
        Some(list) if list.len() == rank => Ok(list.clone()),
        Some(list) => {
            Err(Error::model(format!("attribute '{name}' has {} entries; {rank} are needed", list.len())))
        }
    }
}

impl ConvTranspose {
    fn geometry(&self, x: &[usize], w: &[usize], bias: Option<&[usize]>) -> Result<Geometry> {
        if x.len() < 3 || x.len() != w.len() {
            return Err(Error::model(format!(
                "input of shape {x:?} and weights of shape {w:?}: both need the same rank, 3 or more"
            )));
        }
        let out_c = w[1].checked_mul(self.groups).ok_or_else(|| Error::model("too many output channels"))?;
        if x[1] != w[0] || !x[1].is_multiple_of(self.groups) {
            return Err(Error::model(format!(
                "{} input channels don't fit weights of shape {w:?} in {} groups",
                x[1], self.groups
            )));
        }
        if let Some(bias) = bias.filter(|&bias| bias != [out_c]) {
            return Err(Error::model(format!("the bias has shape {bias:?}; [{out_c}] is needed")));
        }
        let (input, kernel, rank) = (&x[2..], &w[2..], x.len() - 2);
        if self.window.kernel.as_ref().is_some_and(|own| own != kernel) || kernel.contains(&0) {
            return Err(Error::model(format!(
                "the kernel {kernel:?} doesn't fit kernel_shape {:?}",
                self.window.kernel
            )));
        }
        let pads = full(&self.window.pads, "pads", 2 * rank, 0)?;
        let extra = full(&self.output_padding, "output_padding", rank, 0)?;
        // Early exporters wrote the batch and the channels too.
        let wanted = match &self.output_shape {
            Some(list) if list.len() == rank + 2 => Some(&list[2..]),
            Some(list) if list.len() == rank => Some(&list[..]),
            Some(list) => {
                return Err(Error::model(format!(
                    "attribute 'output_shape' has {} entries; {rank} are needed",
                    list.len()
                )));
            }
            None => None,
        };
        let mut geometry = Geometry {
            input: input.to_vec(),
            output: vec![],
            kernel: kernel.to_vec(),
            stride: full(&self.window.strides, "strides", rank, 1)?,
            dilation: full(&self.window.dilations, "dilations", rank, 1)?,
            begin: pads[..rank].to_vec(),
            end: pads[rank..].to_vec(),
        };
        let same = matches!(self.window.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
        for axis in 0..rank {
            let overflow = || Error::model(format!("the result's size overflows on spatial axis {axis}"));
            let step = geometry.stride[axis];
            let span = (kernel[axis] - 1)
                .checked_mul(geometry.dilation[axis])
                .and_then(|reach| reach.checked_add(1))
                .ok_or_else(overflow)?;
            let reach = input[axis]
                .saturating_sub(1)
                .checked_mul(step)
                .and_then(|sum| sum.checked_add(span)?.checked_add(extra[axis]))
                .ok_or_else(overflow)?;
            let fixed = match wanted {
                Some(list) => Some(list[axis]),
                None if same => Some(input[axis].checked_mul(step).ok_or_else(overflow)?),
                None => None,
            };
            if let Some(size) = fixed {
                let total = reach.saturating_sub(size);
                let small = total / 2;
                let upper = self.window.auto_pad == AutoPad::SameUpper;
                (geometry.begin[axis], geometry.end[axis]) =
                    if upper { (small, total - small) } else { (total - small, small) };
                geometry.output.push(size);
                continue;
            }
            if self.window.auto_pad == AutoPad::Valid {
                (geometry.begin[axis], geometry.end[axis]) = (0, 0);
            }
            let pads = geometry.begin[axis].saturating_add(geometry.end[axis]);
            let size = reach.checked_sub(pads).ok_or_else(|| {
                Error::model(format!("the pads {pads} are larger than the result on spatial axis {axis}"))
            })?;
            geometry.output.push(size);
        }
        Ok(geometry)
    }
    /// Terms of each sum at most, the bias included.
    fn length(&self, w: &[usize]) -> usize {
        (w.iter().product::<usize>() / w.get(1).copied().unwrap_or(1).max(1) / self.groups).saturating_add(1)
    }
}

impl Operator for ConvTranspose {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        inputs.one_type(3)?;
        let (x, w) = (inputs.required(0)?, inputs.required(1)?);
        let geometry =
            self.geometry(&x.shape, &w.shape, inputs.optional(2).map(|bias| bias.shape.as_slice()))?;
        let mut shape = vec![x.shape[0], w.shape[1] * self.groups];
        shape.extend(geometry.output);
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let result = match inputs.required(0)?.dtype() {
            DType::F64 => self.compute::<f64>(inputs)?,
            _ => self.compute::<f32>(inputs)?,
        };
        super::epilogue(&self.epilogue, result, inputs.skip(3), mode)
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

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        let taps = inputs.optional(1).map_or(0, |w| w.shape[1..].iter().product::<usize>()) as u64;
        inputs.optional(0).map_or(0, |x| 2 * x.count() as u64 * taps)
    }
}

impl Lower for ConvTranspose {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let (x, w) = (at.fact(0)?.shape.clone(), at.fact(1)?.shape.clone());
        let geometry = self.geometry(&x, &w, None)?;
        let Some(g) = geometry.two() else {
            return self.lower_nd(at, &geometry, [x[0], x[1], w[1]]);
        };
        let sizes = conv::ConvSizes {
            n: x[0],
            in_c: x[1],
            in_h: g.input[0],
            in_w: g.input[1],
            out_c: w[1] * self.groups,
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
        let input = at.input(0, Layout::ChannelsLast4)?.buffer;
        let stage = OutputStage::new(
            &self.epilogue,
            at.output_fact(0)?.dtype,
            bias,
            residual,
            at.target(0, Layout::ChannelsLast4)?,
        )?;
        conv_transpose::emit(at, storage, &sizes, input, &stage)
    }
}

impl ConvTranspose {
    /// Over three axes and more, of images of so many channels, and so many output channels of a group.
    fn lower_nd(
        &self,
        at: &mut dyn Lowering,
        geometry: &Geometry,
        [images, input, out_group]: [usize; 3],
    ) -> Result<(), Unsupported> {
        let output = out_group.saturating_mul(self.groups);
        let channels = Channels { images, input, output, groups: self.groups, transposed: true };
        // [groups, input channels of a group, its output channels, taps] to [taps, input channels, all output
        // channels].
        let taps: usize = geometry.kernel.iter().product();
        let in_group = input.checked_div(self.groups).unwrap_or(0);
        let weights = if at.constant(1).is_some() {
            let args = vec![self.groups, in_group, out_group, taps];
            let shape = vec![taps, in_group, output.next_multiple_of(4)];
            at.packed(1, Packing { name: "conv_transpose_nd", args, shape, pack: channels_last })?
        } else {
            let weights = at.view(1)?;
            let weights = at.reshaped(weights, &[self.groups, in_group, out_group, taps], "weights")?;
            let weights = at.in_layout(weights.permuted(&[3, 1, 0, 2]), Layout::Dense)?;
            let weights = weights.reshaped_or(&[taps, in_group, output], "weights")?;
            at.in_layout(weights, Layout::Rows4)?.buffer
        };
        conv_nd::lower(at, geometry, channels, weights, &self.epilogue)
    }

    /// One image and one group at a time: a GEMM makes every tap's products, which are added where they
    /// belong.
    fn compute<T: Real>(&self, inputs: Operands<'_, Tensor>) -> Result<Tensor> {
        let (x, w, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let geometry = self.geometry(x.shape(), w.shape(), bias.map(Tensor::shape))?;
        let (images, channels, group_c) = (x.shape()[0], x.shape()[1] / self.groups, w.shape()[1]);
        let mut shape = vec![images, group_c * self.groups];
        shape.extend(&geometry.output);
        let in_area: usize = geometry.input.iter().product();
        let out_area: usize = geometry.output.iter().product();
        let taps: usize = geometry.kernel.iter().product();
        let (xs, ws) = (x.as_slice::<T>()?, w.as_slice::<T>()?);
        let mut result: Vec<T> = zeros(element_count(&shape)?)?;
        if out_area == 0 || in_area == 0 {
            return with_bias(shape, result, bias, out_area);
        }
        let rows = element_count(&[group_c, taps])?;
        let mut products: Vec<T> = zeros(element_count(&[rows, in_area])?)?;
        let targets = targets(&geometry)?;
        for image in 0..images {
            for group in 0..self.groups {
                let input = &xs[(image * self.groups + group) * channels * in_area..][..channels * in_area];
                let a = MatrixRef {
                    data: &ws[group * channels * rows..][..channels * rows],
                    rows,
                    columns: channels,
                    row_stride: 1,
                    column_stride: rows,
                };
                let b = MatrixRef {
                    data: input,
                    rows: channels,
                    columns: in_area,
                    row_stride: in_area,
                    column_stride: 1,
                };
                gemm(a, b, &mut products);
                let output =
                    &mut result[(image * self.groups + group) * group_c * out_area..][..group_c * out_area];
                chunks(output, out_area, |channel, plane| {
                    let products = &products[channel * taps * in_area..][..taps * in_area];
                    for (&product, &to) in products.iter().zip(&targets) {
                        if let Some(to) = plane.get_mut(to) {
                            *to += product;
                        }
                    }
                });
            }
        }
        with_bias(shape, result, bias, out_area)
    }
}

fn with_bias<T: Real>(
    shape: Vec<usize>,
    mut result: Vec<T>,
    bias: Option<&Tensor>,
    area: usize,
) -> Result<Tensor> {
    if let Some(bias) = bias {
        let bias = bias.as_slice::<T>()?;
        for (index, plane) in result.chunks_exact_mut(area.max(1)).enumerate() {
            plane.iter_mut().for_each(|value| *value += bias[index % bias.len()]);
        }
    }
    Tensor::new(shape, result)
}

/// Weights `[groups, input channels of a group, output channels of a group, taps]` as `[taps, input channels,
/// all output channels]`, in rows of 4.
fn channels_last(weights: &Tensor, args: &[usize]) -> Result<Tensor> {
    let &[groups, in_group, out_group, taps] = args else {
        return Err(Error::internal("weights without their sizes"));
    };
    let output = groups.saturating_mul(out_group);
    let row = output.next_multiple_of(4);
    weights.pick([taps, in_group, row], |at| {
        let (channel, input, tap) = (at % row, at / row % in_group, at / row / in_group);
        let (group, own) = (channel / out_group, channel % out_group);
        (channel < output).then(|| ((group * in_group + input) * out_group + own) * taps + tap)
    })
}

/// For each tap and input position the output position of a plane, or `usize::MAX` where it is cut off.
fn targets(geometry: &Geometry) -> Result<Vec<usize>> {
    let taps: usize = geometry.kernel.iter().product();
    let area: usize = geometry.input.iter().product();
    let mut all = crate::tensor::allocate(element_count(&[taps, area])?)?;
    for tap in 0..taps {
        // Row by row, an axis after the other; the tap's place along an axis from the last one on.
        let (mut rest, mut places) = (tap, vec![0; geometry.kernel.len()]);
        for (place, &size) in places.iter_mut().zip(&geometry.kernel).rev() {
            (*place, rest) = (rest % size, rest / size);
        }
        let mut level = vec![0usize];
        for (axis, place) in places.into_iter().enumerate() {
            let along = (0..geometry.input[axis]).map(|position| {
                let reach = position * geometry.stride[axis] + place * geometry.dilation[axis];
                reach.checked_sub(geometry.begin[axis]).filter(|&here| here < geometry.output[axis])
            });
            let along: Vec<Option<usize>> = along.collect();
            let next = level.iter().flat_map(|&base| {
                along.iter().map(move |here| match here {
                    Some(here) if base != usize::MAX => base * geometry.output[axis] + here,
                    _ => usize::MAX,
                })
            });
            level = next.collect();
        }
        all.append(&mut level);
    }
    Ok(all)
}

pub const CASES: &[Case] = &[
    case(&[], &[Floats(&[1, 3, 4, 5]), Weights(&[3, 5, 3, 3])]),
    case(
        &[("strides", Ints(&[2, 2])), ("pads", Ints(&[1, 1, 1, 1])), ("output_padding", Ints(&[1, 1]))],
        &[Floats(&[2, 5, 5, 3]), Weights(&[5, 6, 3, 3]), Weights(&[6])],
    ),
    case(
        &[("strides", Ints(&[2, 3])), ("dilations", Ints(&[2, 2]))],
        &[Floats(&[1, 4, 5, 9]), Weights(&[4, 3, 2, 3])],
    ),
    case(
        &[("output_shape", Ints(&[10, 8])), ("strides", Ints(&[3, 2])), ("output_padding", Ints(&[1, 1]))],
        &[Floats(&[1, 1, 3, 3]), Weights(&[1, 2, 3, 3])],
    ),
    case(
        &[("auto_pad", Text("SAME_UPPER")), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 8, 3, 3]), Weights(&[8, 4, 3, 3])],
    ),
    case(
        &[("auto_pad", Text("SAME_LOWER")), ("strides", Ints(&[3, 3]))],
        &[Floats(&[1, 2, 3, 3]), Weights(&[2, 4, 2, 2])],
    ),
    case(
        &[("group", Int(2)), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 8, 5, 6]), Weights(&[8, 4, 3, 3]), Weights(&[8])],
    ),
    case(
        &[("group", Int(3)), ("pads", Ints(&[0, 1, 1, 0]))],
        &[Floats(&[2, 6, 5, 6]), Weights(&[6, 3, 3, 2]), Weights(&[9])],
    ),
    case(&[("strides", Ints(&[4]))], &[Floats(&[1, 4, 7]), Weights(&[4, 6, 4]), Weights(&[6])]),
    case(&[("group", Int(2))], &[Floats(&[1, 4, 7]), Floats(&[4, 4, 3])]),
    case(&[], &[Floats(&[1, 2, 3, 4, 4]), Weights(&[2, 3, 2, 2, 2]), Weights(&[3])]),
    case(
        &[
            ("strides", Ints(&[1, 2, 2])),
            ("pads", Ints(&[1, 0, 1, 0, 1, 0])),
            ("dilations", Ints(&[1, 1, 2])),
            ("group", Int(2)),
        ],
        &[Floats(&[2, 6, 3, 2, 3]), Weights(&[6, 5, 2, 3, 2]), Weights(&[10])],
    ),
];
