//! [QLinearConv](https://onnx.ai/onnx/operators/onnx__QLinearConv.html), version 10: the convolution of
//! quantised images by quantised weights, quantised.
//!
//! Inputs: x, its scale and zero point, w, its scale and zero point (one, or one for each filter), the
//! result's scale and zero point, and perhaps a bias of int32, in units of x's scale times w's.

use super::accumulate::{self, Along, aligned, check, fits, integer_convolution};
use super::conv_integer::single;
use super::lower;
use super::matmul_integer::bytes;
use super::requantize::{self, Beyond};
use crate::base::{EvalPrecision, Fact, Geometry, Infer, Operands, Unsupported};
use crate::cpu_kernels::byte_conv;
use crate::cpu_kernels::bytes::tiles;
use crate::cpu_kernels::integer::Images;
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::nn::conv::{Conv, sources};
use crate::ops::{ChannelsLast, Engine, Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::{DType, Tensor, element_count, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "QLinearConv", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct QLinearConv {
    pub conv: Conv,
    pub beyond: Beyond,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(8..=9)?;
    Ok(Arc::new(QLinearConv { conv: Conv::attributes(node)?, beyond: Beyond::default() }))
}

impl QLinearConv {
    /// The sums, by panels where there is such a form.
    fn sums(&self, inputs: Operands<'_, Tensor>, packed: Option<&Packed>) -> Result<Tensor> {
        let input = |index| inputs.optional(index);
        let (x, w) = ([input(0), input(2)], [input(3), input(5)]);
        let made = accumulate::convolved(&self.conv, x, w, packed)?;
        made.map_or_else(|| integer_convolution(&self.conv, x, w), Ok)
    }

    /// What makes the result of the sums.
    fn spread(&self, inputs: Operands<'_, Tensor>, mut sums: Tensor) -> Result<Spread> {
        // The axis of the filters is the result's second.
        let filters = |list: &Tensor| list.reshape(aligned(list.shape(), sums.rank() - 1, Along::Filters));
        let (x, w, y) = (inputs.required(1)?, filters(inputs.required(4)?)?, inputs.required(6)?);
        let zero = inputs.required(7)?;
        if let Some(bias) = inputs.optional(8) {
            let bias = filters(bias)?;
            sums = Pointwise::of(&table::ADD, 2, &[]).eval(&[&sums, &bias], EvalPrecision::Declared)?;
        }
        let operands = vec![
            (sums, 0),
            (x.reshape(vec![])?, 1),
            (w, 4),
            (y.reshape(vec![])?, 6),
            (zero.reshape(vec![])?, 7),
        ];
        Ok(Spread { expression: requantize::formula(x.dtype(), zero.dtype(), self.beyond), operands })
    }

    fn requantized(&self, inputs: Operands<'_, Tensor>, sums: Tensor, mode: EvalPrecision) -> Result<Tensor> {
        let Spread { expression, operands } = self.spread(inputs, sums)?;
        expression.eval(&operands.iter().map(|(tensor, _)| tensor).collect::<Vec<_>>(), mode)
    }
}

impl Operator for QLinearConv {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, w, zero) = (inputs.required(0)?, inputs.required(3)?, inputs.required(7)?);
        bytes(x, "x")?;
        bytes(w, "w")?;
        bytes(zero, "the result")?;
        check(x, inputs.optional(2), Along::Filters, "x")?;
        check(w, inputs.optional(5), Along::Filters, "w")?;
        let scales = [inputs.required(1)?, inputs.required(4)?, inputs.required(6)?];
        requantize::check_scales(scales)?;
        for (fact, what) in [
            (inputs.optional(2), "x's zero point"),
            (Some(scales[0]), "x's scale"),
            (Some(scales[2]), "the result's scale"),
            (Some(zero), "the result's zero point"),
        ] {
            single(fact, what)?;
        }
        let shape = accumulate::shape(&self.conv, &x.shape, &w.shape)?;
        fits(&w.shape, &scales[1].shape, Along::Filters, "w")?;
        if scales[1].rank() > 1 {
            return Err(Error::model(format!(
                "w's scales have shape {:?}: a list is needed",
                scales[1].shape
            ))
            .into());
        }
        if let Some(bias) = inputs.optional(8)
            && (bias.dtype != DType::I32 || bias.shape != [w.shape[0]])
        {
            return Err(Error::model(format!(
                "the bias is {} of shape {:?}; int32 of [{}] is needed",
                bias.dtype, bias.shape, w.shape[0]
            ))
            .into());
        }
        Ok(vec![Fact::new(zero.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let input = |index| inputs.optional(index);
        let sums = integer_convolution(&self.conv, [input(0), input(2)], [input(3), input(5)])?;
        Ok(vec![self.requantized(inputs, sums, mode)?])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn by_value(&self, index: usize) -> bool {
        matches!(index, 1 | 4 | 6)
    }

    fn sums_apart(&self, inputs: Operands<'_, Tensor>, apart: &dyn Fn(usize) -> f64) -> Result<f64> {
        let terms =
            inputs.required(3)?.shape().iter().skip(1).fold(1usize, |all, &size| all.saturating_mul(size));
        accumulate::sums_apart(inputs, terms, apart)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        self.spread(inputs, self.sums(inputs, None)?).map(Some)
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let terms = inputs.optional(3).map_or(0, |w| w.shape.iter().skip(1).product::<usize>()) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * terms)
    }
}

impl Lower for QLinearConv {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let bias = at.has_input(8).then_some(8);
        let sums = lower::convolution(at, &self.conv, [0, 2], [3, 5], bias)?;
        // The axis of the filters is the result's second.
        let filters = aligned(&at.fact(4)?.shape, sums.shape.len() - 1, Along::Filters);
        lower::requantized(at, sums, [1, 4, 6], &[vec![], filters, vec![]], 7)
    }
}

impl Engine for QLinearConv {
    fn weights(&self) -> &'static [usize] {
        &[3]
    }

    /// Images are convolved with their channels innermost, where the machine multiplies bytes.
    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        let Some(w) = inputs.optional(3) else { return Ok(None) };
        if let Some(sizes) = self.filters(w.shape())
            && let Some(matrices) = byte_conv::pack(w, sizes, self.conv.groups)?
        {
            return Ok(Some(Packed::Windows(matrices)));
        }
        accumulate::packed_filters(&self.conv, w)
    }

    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (x, w) = (inputs.required(0)?, inputs.required(3)?);
        let geometry = self.conv.geometry(x.shape(), w.shape(), None)?;
        let (&[n, c, ..], area) = (x.shape(), geometry.input.iter().product::<usize>()) else {
            return Ok(None);
        };
        let last = x.strided(vec![n, area, c], &[c * area, 1, area], 0)?;
        let Some(y) = self.by_windows(&last, inputs, packed, &geometry)? else {
            return Ok(Some(vec![self.requantized(inputs, self.sums(inputs, packed)?, mode)?]));
        };
        let (filters, pixels) = (w.shape()[0], geometry.output.iter().product::<usize>());
        let first = y.strided(vec![n, filters, pixels], &[filters * pixels, 1, filters], 0)?;
        let shape: Vec<usize> = [n, filters].into_iter().chain(geometry.output).collect();
        Ok(Some(vec![first.reshape(shape)?]))
    }

    fn run_channels_last(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (x, w) = (inputs.required(0)?, inputs.required(3)?);
        let &[n, height, width, c] = x.shape() else { return Ok(None) };
        let geometry = self.conv.geometry(&[n, c, height, width], w.shape(), None)?;
        let Some(y) = self.by_windows(x, inputs, packed, &geometry)? else { return Ok(None) };
        let shape = [n, geometry.output[0], geometry.output[1], w.shape()[0]];
        Ok(Some(vec![y.reshape(shape)?]))
    }

    fn channels_last(&self, weights: Option<&[usize]>) -> ChannelsLast {
        let bytes = !tiles().is_empty() && weights.is_some_and(|w| w.len() == 4 && self.filters(w).is_some());
        if bytes { ChannelsLast::Asked } else { ChannelsLast::Never }
    }

    fn takes_image(&self, index: usize) -> bool {
        index == 0
    }
}

impl QLinearConv {
    /// The result `[n, pixels, filters]` of an image `[n, …, c]` in place of input 0. `None`: there is no
    /// such form.
    fn by_windows(
        &self,
        x: &Tensor,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        geometry: &Geometry,
    ) -> Result<Option<Tensor>> {
        let (w, zero) = (inputs.required(3)?, inputs.required(7)?);
        let Some(filters) = self.filters(w.shape()) else { return Ok(None) };
        let own = match packed {
            Some(_) => None,
            None => byte_conv::pack(w, filters, self.conv.groups)?.map(Packed::Windows),
        };
        let Some(Packed::Windows(matrices)) = packed.or(own.as_ref()) else { return Ok(None) };
        let Some(requantize) = requantize::in_a_loop(inputs, filters[0], self.beyond)? else {
            return Ok(None);
        };
        let numbers = |index: usize| inputs.optional(index).map(Tensor::to_i64s).transpose();
        let (x_zero, w_zeros) = (numbers(2)?.unwrap_or_default(), numbers(5)?.unwrap_or_default());
        let conv = Images {
            images: x.shape().first().copied().unwrap_or(0),
            groups: self.conv.groups,
            channels: filters[1],
            filters: filters[0] / self.conv.groups,
            sources: &sources(geometry)?,
            area: [geometry.input.iter().product(), geometry.output.iter().product()],
        };
        let shape = [conv.images, conv.area[1], filters[0]];
        let mut y: Vec<u8> = zeros(element_count(&shape)?)?;
        let x_zero = x_zero.first().copied().unwrap_or(0);
        match conv.convolve_to_bytes(x, x_zero, matrices, &w_zeros, &requantize, &mut y)? {
            true => Tensor::from_byte_vector(zero.dtype(), shape, y).map(Some),
            false => Ok(None),
        }
    }

    /// Filters, channels of each, and taps, of weights whose groups have several filters.
    fn filters(&self, w: &[usize]) -> Option<[usize; 3]> {
        let &[filters, channels, ref kernel @ ..] = w else { return None };
        let fits = self.conv.groups > 0 && filters % self.conv.groups == 0 && filters / self.conv.groups > 1;
        let taps = kernel.iter().try_fold(1usize, |all, &size| all.checked_mul(size))?;
        (fits && channels > 0 && taps > 0).then_some([filters, channels, taps])
    }
}

const CASES: &[Case] = &[
    case(
        &[("pads", Ints(&[1, 1, 1, 1]))],
        &[
            Wide(DType::U8, &[1, 2, 5, 7]),
            Scalar(0.02),
            Typed(DType::U8, &[], &[120.0]),
            Wide(DType::U8, &[3, 2, 3, 3]),
            Scalar(0.03),
            Typed(DType::U8, &[], &[99.0]),
            Scalar(0.3),
            Typed(DType::U8, &[], &[118.0]),
        ],
    ),
    case(
        &[("group", Int(2)), ("strides", Ints(&[2, 2]))],
        &[
            Wide(DType::U8, &[2, 4, 6, 7]),
            Scalar(0.02),
            Typed(DType::U8, &[], &[120.0]),
            Wide(DType::I8, &[4, 2, 3, 2]),
            Factors(&[0.03, 0.01, 0.02, 0.05]),
            Typed(DType::I8, &[4], &[0.0, 0.0, 0.0, 0.0]),
            Scalar(0.3),
            Typed(DType::U8, &[], &[118.0]),
            Typed(DType::I32, &[4], &[100.0, -5000.0, 3.0, 77.0]),
        ],
    ),
];
