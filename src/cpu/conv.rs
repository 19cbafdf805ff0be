//! Convolutions of float32 images whose channels lie innermost, `[n, h, w, c]`: products over gathered rows, or plane by plane where
//! each channel has a filter of its own.
//!
//! A row of the product's left matrix is a pixel's window, `[kh, kw, c]`. With channels innermost its parts are contiguous, so that
//! gathering a row is a few copies; of a 1×1 window there is nothing to gather.

use super::epilogue::Ready;
use super::panels::Panels;
use super::product::{Rows, product};
use super::simd::{Loop, vectorised};
use crate::error::Result;
use crate::ops::nn::window::Geometry;
use rayon::prelude::*;
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
                to[..skip * all].fill(0.0);
                to[skip * all..(skip + count) * all].copy_from_slice(&line[start * all..(start + count) * all]);
                to[(skip + count) * all..].fill(0.0);
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

/// Pixels of a line that are summed up together.
const PIXELS: usize = 4;

/// Convolves each channel of `x` `[n, h, w, c]` with its own filter, `taps` being `[kh · kw, c]`; all of `y` is written.
pub fn depthwise(x: &[f32], sizes: &Sizes, taps: &[f32], bias: Option<&[f32]>, ready: &Ready<'_>, y: &mut [f32]) {
    let (g, channels) = (&sizes.geometry, sizes.channels);
    let line = g.output[1] * channels;
    if line == 0 {
        return;
    }
    y.par_chunks_exact_mut(line).enumerate().for_each(|(index, y)| {
        let (image, oy) = (index / g.output[0], index % g.output[0]);
        let x = &x[image * g.input[0] * g.input[1] * channels..][..g.input[0] * g.input[1] * channels];
        vectorised(Line { x, g, taps, bias, oy, channels, y });
        ready.apply(index * line, y);
    });
}

/// One line of a depthwise result.
struct Line<'a> {
    x: &'a [f32],
    g: &'a Geometry,
    taps: &'a [f32],
    bias: Option<&'a [f32]>,
    oy: usize,
    channels: usize,
    y: &'a mut [f32],
}

impl Loop for Line<'_> {
    type Output = ();
    #[inline(always)]
    fn run(mut self) {
        let width = self.g.output[1];
        // Pixels whose taps all lie inside the line.
        let inside = |ox: usize| (0..self.g.kernel[1]).all(|kx| self.g.source(1, ox, kx).is_some());
        let first = (0..width).find(|&ox| inside(ox)).unwrap_or(width);
        let end = (first..width).find(|&ox| !inside(ox)).unwrap_or(width);
        let mut ox = 0;
        while ox < width {
            if ox >= first && ox + PIXELS <= end {
                self.block::<PIXELS>(ox);
                ox += PIXELS;
            } else {
                self.block::<1>(ox);
                ox += 1;
            }
        }
    }
}

impl Line<'_> {
    #[inline(always)]
    fn block<const P: usize>(&mut self, ox: usize) {
        let mut channel = 0;
        while channel + 16 <= self.channels {
            self.lanes::<P, 16>(ox, channel);
            channel += 16;
        }
        while channel + 8 <= self.channels {
            self.lanes::<P, 8>(ox, channel);
            channel += 8;
        }
        while channel < self.channels {
            self.lanes::<P, 1>(ox, channel);
            channel += 1;
        }
    }

    /// `P` pixels of `L` channels. With more than one pixel every tap of the line lies inside.
    #[inline(always)]
    fn lanes<const P: usize, const L: usize>(&mut self, ox: usize, channel: usize) {
        let (g, channels) = (self.g, self.channels);
        let lanes = |slice: &[f32], at: usize| -> [f32; L] { slice[at..at + L].try_into().unwrap_or([0.0; L]) };
        let mut sums = [self.bias.map_or([0.0; L], |bias| lanes(bias, channel)); P];
        for ky in 0..g.kernel[0] {
            let Some(iy) = g.source(0, self.oy, ky) else { continue };
            for kx in 0..g.kernel[1] {
                let Some(ix) = g.source(1, ox, kx) else { continue };
                let w = lanes(self.taps, (ky * g.kernel[1] + kx) * channels + channel);
                let from = (iy * g.input[1] + ix) * channels + channel;
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = lanes(self.x, from + p * g.stride[1] * channels);
                    for l in 0..L {
                        sums[l] += w[l] * x[l];
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            let at = (ox + p) * channels + channel;
            self.y[at..at + L].copy_from_slice(sums);
        }
    }
}
