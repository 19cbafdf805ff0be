//! Convolutions of float32 images whose channels lie innermost, `[n, h, w, c]`: products over gathered rows, or plane by plane where
//! each channel has a filter of its own.
//!
//! A row of the product's left matrix is a pixel's window, `[kh, kw, c]`. With channels innermost its parts are contiguous, so that
//! gathering a row is a few copies; of a 1×1 window there is nothing to gather.

use super::epilogue::Ready;
use super::panels::Panels;
use super::product::{Rows, product};
use crate::error::Result;
use crate::ops::nn::window::Geometry;
use std::ops::Range;

/// A convolution over two axes, its sizes known.
pub struct Sizes {
    pub images: usize,
    pub channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub geometry: Geometry,
}

impl Sizes {
    /// Pixels of all results.
    pub fn pixels(&self) -> usize {
        self.images * self.geometry.output[0] * self.geometry.output[1]
    }
    /// Whether each channel has one filter of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels && self.channels == self.out_channels
    }
}

/// The filters of `[m, c / groups, kh, kw]` as one matrix `[kh · kw · c / groups, m / groups]` for each group.
pub fn pack(weights: &[f32], shape: [usize; 4], groups: usize) -> Result<Vec<Panels>> {
    let [out, channels, h, w] = shape;
    let (columns, taps) = (out / groups, h * w);
    let one = |group: usize| {
        let mut panels = Panels::new(taps * channels, columns)?;
        for column in 0..columns {
            let filter = &weights[(group * columns + column) * channels * taps..][..channels * taps];
            for (channel, plane) in filter.chunks_exact(taps).enumerate() {
                plane.iter().enumerate().for_each(|(tap, &value)| panels.set(tap * channels + channel, column, value));
            }
        }
        Ok(panels)
    };
    (0..groups).map(one).collect()
}

/// The filters of a depthwise convolution `[c, 1, kh, kw]` as `[kh · kw, c]`.
pub fn pack_taps(weights: &[f32], channels: usize) -> Vec<f32> {
    let taps = weights.len() / channels.max(1);
    (0..weights.len()).map(|at| weights[at % channels * taps + at / channels]).collect()
}

/// Convolves `x` `[n, h, w, c]` to `y` `[n, oh, ow, m]`, all of which is written. `panels` has one matrix for each group.
pub fn convolve(x: &[f32], sizes: &Sizes, panels: &[Panels], bias: Option<&[f32]>, ready: &Ready<'_>, y: &mut [f32]) -> Result<()> {
    let (g, all, out) = (&sizes.geometry, sizes.channels, sizes.out_channels);
    let (channels, columns) = (all / sizes.groups, out / sizes.groups);
    let direct = g.kernel == [1, 1] && g.stride == [1, 1] && g.output == g.input && g.begin == [0, 0];
    for (group, panels) in panels.iter().enumerate() {
        let first = group * columns;
        let gather = |rows: Range<usize>, to: &mut [f32], stride: usize| gather(x, sizes, group * channels, channels, rows, to, stride);
        let from = x.get(group * channels..).unwrap_or_default();
        let rows = if direct { Rows::Dense { data: from, stride: all } } else { Rows::Gathered(&gather) };
        let bias = bias.map(|bias| &bias[first..first + columns]);
        let y = y.get_mut(first..).unwrap_or_default();
        ready.with(bias, first, out, |epilogue| product(rows, sizes.pixels(), panels, epilogue, y, out))?;
    }
    Ok(())
}

/// Copies a run. A short one, as an image's first layer has by the thousand, takes two moves that overlap rather than a call.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    fn ends<const N: usize>(to: &mut [f32], from: &[f32]) {
        if let (Some(a), Some(b)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
            let (a, b) = (*a, *b);
            if let Some(to) = to.first_chunk_mut::<N>() {
                *to = a;
            }
            if let Some(to) = to.last_chunk_mut::<N>() {
                *to = b;
            }
        }
    }
    match from.len() {
        8..=16 => ends::<8>(to, from),
        17..=32 => ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// The windows of some pixels, their channels from `first` on.
fn gather(x: &[f32], sizes: &Sizes, first: usize, channels: usize, rows: Range<usize>, to: &mut [f32], stride: usize) {
    let (g, all) = (&sizes.geometry, sizes.channels);
    let [out_h, out_w] = [g.output[0], g.output[1]];
    let whole = channels == all && g.dilation[1] == 1;
    for (row, to) in rows.zip(to.chunks_mut(stride)) {
        let (image, oy, ox) = (row / out_w / out_h, row / out_w % out_h, row % out_w);
        let left = ox * g.stride[1];
        for (ky, to) in to[..g.kernel[0] * g.kernel[1] * channels].chunks_exact_mut(g.kernel[1] * channels).enumerate() {
            let Some(iy) = g.source(0, oy, ky) else {
                to.fill(0.0);
                continue;
            };
            let line = &x[(image * g.input[0] + iy) * g.input[1] * all..][..g.input[1] * all];
            if whole {
                // The taps inside are one run of the line.
                let skip = g.begin[1].saturating_sub(left).min(g.kernel[1]);
                let start = (left + skip).saturating_sub(g.begin[1]).min(g.input[1]);
                let count = (g.kernel[1] - skip).min(g.input[1] - start);
                if count < g.kernel[1] {
                    to[..skip * all].fill(0.0);
                    to[(skip + count) * all..].fill(0.0);
                }
                copy(&mut to[skip * all..(skip + count) * all], &line[start * all..(start + count) * all]);
                continue;
            }
            for (kx, to) in to.chunks_exact_mut(channels).enumerate() {
                match g.source(1, ox, kx) {
                    Some(ix) => to.copy_from_slice(&line[ix * all + first..][..channels]),
                    None => to.fill(0.0),
                }
            }
        }
    }
}
