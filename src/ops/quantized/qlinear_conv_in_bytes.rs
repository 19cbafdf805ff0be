//! QLinearConv on the CPU: bytes to bytes over images whose channels lie innermost.

use super::accumulate;
use super::qlinear_conv::QLinearConv;
use super::requantize;
use crate::base::{EvalPrecision, Geometry, Operands};
use crate::cpu_kernels::byte_conv::{ByteImages, Windows};
use crate::cpu_kernels::bytes::tiles;
use crate::cpu_kernels::panels::Packed;
use crate::cpu_kernels::plane::Plane;
use crate::cpu_kernels::{byte_conv, byte_depthwise};
use crate::error::Result;
use crate::ops::nn::conv::sources;
use crate::ops::{ChannelsLast, Engine};
use crate::tensor::{Tensor, element_count, zeros};

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
        let Some(y) = self.in_bytes(&last, inputs, packed, &geometry)? else {
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
        let Some(y) = self.in_bytes(x, inputs, packed, &geometry)? else { return Ok(None) };
        let shape = [n, geometry.output[0], geometry.output[1], w.shape()[0]];
        Ok(Some(vec![y.reshape(shape)?]))
    }

    fn channels_last(&self, weights: Option<&[usize]>) -> ChannelsLast {
        let bytes = weights.is_some_and(|w| {
            w.len() == 4 && (self.conv.is_depthwise(w) || !tiles().is_empty() && self.filters(w).is_some())
        });
        if bytes { ChannelsLast::Asked } else { ChannelsLast::Never }
    }

    fn takes_image(&self, index: usize) -> bool {
        index == 0
    }
}

impl QLinearConv {
    /// The result `[n, pixels, filters]` of an image `[n, …, c]` in place of input 0. `None`: there is no
    /// such form.
    fn in_bytes(
        &self,
        x: &Tensor,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        geometry: &Geometry,
    ) -> Result<Option<Tensor>> {
        let (w, zero) = (inputs.required(3)?, inputs.required(7)?);
        let filters = w.shape().first().copied().unwrap_or(0);
        let Some(requantize) = requantize::in_a_loop(inputs, filters, self.beyond)? else { return Ok(None) };
        let numbers = |index: usize| inputs.optional(index).map(Tensor::to_i64s).transpose();
        let (x_zero, w_zeros) = (numbers(2)?.unwrap_or_default(), numbers(5)?.unwrap_or_default());
        let x_zero = x_zero.first().copied().unwrap_or(0);
        let [images, pixels] = [x.shape().first().copied().unwrap_or(0), geometry.output.iter().product()];
        let shape = [images, pixels, filters];
        let result = || zeros::<u8>(element_count(&shape)?);
        let (mut y, made);
        if self.conv.is_depthwise(w.shape()) {
            let Some(filters) = byte_depthwise::filters(w, &w_zeros, filters)? else { return Ok(None) };
            y = result()?;
            made = byte_depthwise::depthwise(x, x_zero, &filters, geometry, &requantize, &mut y)?;
        } else {
            let Some(sizes) = self.filters(w.shape()) else { return Ok(None) };
            let own = match packed {
                Some(_) => None,
                None => byte_conv::pack(w, sizes, self.conv.groups)?.map(Packed::Windows),
            };
            let Some(Packed::Windows(matrices)) = packed.or(own.as_ref()) else { return Ok(None) };
            let table;
            let windows = match geometry.input.len() {
                2 => Windows::Plane(Plane::of(geometry)),
                _ => {
                    table = sources(geometry)?;
                    Windows::Table(&table)
                }
            };
            let conv = ByteImages {
                images,
                groups: self.conv.groups,
                channels: sizes[1],
                filters: filters / self.conv.groups,
                windows,
                area: [geometry.input.iter().product(), pixels],
            };
            y = result()?;
            made = conv.convolve_to_bytes(x, x_zero, matrices, &w_zeros, &requantize, &mut y)?;
        }
        made.then(|| Tensor::from_byte_vector(zero.dtype(), shape, y)).transpose()
    }

    /// Filters, channels of each, and taps, of weights whose groups have several filters.
    fn filters(&self, w: &[usize]) -> Option<[usize; 3]> {
        let &[filters, channels, ref kernel @ ..] = w else { return None };
        let fits = self.conv.groups > 0 && filters % self.conv.groups == 0 && filters / self.conv.groups > 1;
        let taps = kernel.iter().try_fold(1usize, |all, &size| all.checked_mul(size))?;
        (fits && channels > 0 && taps > 0).then_some([filters, channels, taps])
    }
}
