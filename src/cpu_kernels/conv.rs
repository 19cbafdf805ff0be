//! Convolutions of float32 images whose channels lie innermost, `[n, h, w, c]`: products over gathered rows,
//! or plane by plane where each channel has a filter of its own.
//!
//! A row of the product's left matrix is a pixel's window, `[kh, kw, c]`. With channels innermost its parts
//! are contiguous, so that gathering a row is a few copies; of a 1×1 window there is nothing to gather.

use super::epilogue::PreparedEpilogue;
use super::panels::Panels;
use super::product::{Cut, Rows, product, product_on};
use crate::base::Geometry;
use crate::error::{Error, Result};
use std::ops::Range;

/// A convolution over two axes, its sizes known.
pub struct ImageConv {
    pub images: usize,
    pub channels: usize,
    pub out_channels: usize,
    pub groups: usize,
    pub geometry: Geometry,
}

impl ImageConv {
    /// Pixels of all results.
    pub fn pixels(&self) -> usize {
        self.images * self.geometry.output[0] * self.geometry.output[1]
    }
    /// Whether a window is one pixel and every pixel has one: rows of the product lie as they are.
    pub fn is_direct(&self) -> bool {
        let g = &self.geometry;
        g.kernel == [1, 1] && g.stride == [1, 1] && g.output == g.input && g.begin == [0, 0]
    }
    /// Whether each channel has one filter of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels && self.channels == self.out_channels
    }
}

/// The filters of `[m, c / groups, kh, kw]` as one matrix `[kh · kw · c / groups, m / groups]` for each
/// group.
pub fn pack(weights: &[f32], shape: [usize; 4], groups: usize) -> Result<Vec<Panels>> {
    let [out, channels, h, w] = shape;
    let (columns, taps) = (out / groups, h * w);
    let one = |group: usize| {
        let mut panels = Panels::new(taps * channels, columns)?;
        for column in 0..columns {
            let filter = &weights[(group * columns + column) * channels * taps..][..channels * taps];
            for (channel, plane) in filter.chunks_exact(taps).enumerate() {
                plane
                    .iter()
                    .enumerate()
                    .for_each(|(tap, &value)| panels.set(tap * channels + channel, column, value));
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

/// Convolves `x` `[n, h, w, c]` to `y` `[n, oh, ow, m]`, all of which is written. `panels` has one matrix for
/// each group.
pub fn convolve(
    x: &[f32],
    sizes: &ImageConv,
    panels: &[Panels],
    bias: Option<&[f32]>,
    ready: &PreparedEpilogue<'_>,
    y: &mut [f32],
) -> Result<()> {
    let (all, out) = (sizes.channels, sizes.out_channels);
    let (channels, columns) = (all / sizes.groups, out / sizes.groups);
    for (group, panels) in panels.iter().enumerate() {
        let first = group * columns;
        let gather = |rows: Range<usize>, to: &mut [f32], stride: usize| {
            gather(x, sizes, group * channels, channels, rows, to, stride)
        };
        let from = x.get(group * channels..).unwrap_or_default();
        let rows =
            if sizes.is_direct() { Rows::Dense { data: from, stride: all } } else { Rows::Gathered(&gather) };
        let bias = bias.map(|bias| &bias[first..first + columns]);
        let y = y.get_mut(first..).unwrap_or_default();
        ready.with(bias, first, out, |epilogue| product(rows, sizes.pixels(), panels, epilogue, y, out))?;
    }
    Ok(())
}

/// Convolves some pixels of the result, in one group and on this thread; `y` begins at the first of them. The
/// epilogue's operands have one element each.
pub fn convolve_rows(
    x: &[f32],
    sizes: &ImageConv,
    panels: &[Panels],
    bias: Option<&[f32]>,
    ready: &PreparedEpilogue<'_>,
    pixels: Range<usize>,
    y: &mut [f32],
) -> Result<()> {
    let (channels, out, start) = (sizes.channels, sizes.out_channels, pixels.start);
    let Some(panels) = panels.first() else { return Err(Error::internal("a convolution without panels")) };
    let gather = |rows: Range<usize>, to: &mut [f32], stride: usize| {
        gather(x, sizes, 0, channels, start + rows.start..start + rows.end, to, stride)
    };
    let from = x.get(start * channels..).unwrap_or_default();
    let rows = if sizes.is_direct() {
        Rows::Dense { data: from, stride: channels }
    } else {
        Rows::Gathered(&gather)
    };
    ready
        .with(bias, 0, out, |epilogue| product_on(Cut::part(1), rows, pixels.len(), panels, epilogue, y, out))
}

/// A 1×1 convolution of pixels `x` `[p, c]` to `y` `[p, m]`, which are those of the whole result from `first`
/// on; on this thread.
pub fn product_rows(
    x: &[f32],
    sizes: &ImageConv,
    panels: &[Panels],
    bias: Option<&[f32]>,
    ready: &PreparedEpilogue<'_>,
    first: usize,
    y: &mut [f32],
) -> Result<()> {
    let (channels, out) = (sizes.channels, sizes.out_channels);
    let Some(panels) = panels.first() else { return Err(Error::internal("a convolution without panels")) };
    let rows = Rows::Dense { data: x, stride: channels };
    ready.with(bias, first * out, out, |epilogue| {
        product_on(Cut::part(1), rows, y.len() / out.max(1), panels, epilogue, y, out)
    })
}

/// Copies `count` runs of `length` elements, `step` apart in `from` and `stride` apart in `to`. A short run,
/// as an image's first layer has by the thousand, takes two moves that overlap rather than a call.
fn copies(from: &[f32], step: usize, to: &mut [f32], stride: usize, length: usize, count: usize) {
    /// Runs of `N` to 2 `N` elements.
    fn ends<const N: usize>(
        from: &[f32],
        step: usize,
        to: &mut [f32],
        stride: usize,
        length: usize,
        count: usize,
    ) {
        assert!(
            N <= length
                && (count - 1) * step + length <= from.len()
                && (count - 1) * stride + length <= to.len()
        );
        for index in 0..count {
            // SAFETY: the last run lies inside both slices, and a run has at least N elements.
            unsafe {
                let (from, to) = (from.as_ptr().add(index * step), to.as_mut_ptr().add(index * stride));
                std::ptr::copy_nonoverlapping(from, to, N);
                std::ptr::copy_nonoverlapping(from.add(length - N), to.add(length - N), N);
            }
        }
    }
    match length {
        _ if count == 0 => {}
        4..8 => ends::<4>(from, step, to, stride, length, count),
        8..16 => ends::<8>(from, step, to, stride, length, count),
        16..=32 => ends::<16>(from, step, to, stride, length, count),
        _ => {
            for index in 0..count {
                to[index * stride..][..length].copy_from_slice(&from[index * step..][..length]);
            }
        }
    }
}

/// The windows of some pixels, their channels from `first` on.
pub(super) fn gather(
    x: &[f32],
    sizes: &ImageConv,
    first: usize,
    channels: usize,
    rows: Range<usize>,
    mut to: &mut [f32],
    stride: usize,
) {
    let (g, all) = (&sizes.geometry, sizes.channels);
    let [out_h, out_w] = [g.output[0], g.output[1]];
    let mut row = rows.start;
    while row < rows.end {
        // The pixels of one line.
        let (image, oy, ox) = (row / out_w / out_h, row / out_w % out_h, row % out_w);
        let count = (out_w - ox).min(rows.end - row);
        let (here, rest) = to.split_at_mut(count * stride);
        for ky in 0..g.kernel[0] {
            let line = g
                .source(0, oy, ky)
                .map(|iy| &x[(image * g.input[0] + iy) * g.input[1] * all..][..g.input[1] * all]);
            let width = g.kernel[1] * channels;
            gather_line(line, g, [all, first, channels], ox..ox + count, &mut here[ky * width..], stride);
        }
        row += count;
        to = rest;
    }
}

/// What one line of the image gives to the windows of some pixels; `None`: a line of padding.
fn gather_line(
    line: Option<&[f32]>,
    g: &Geometry,
    [all, first, channels]: [usize; 3],
    pixels: Range<usize>,
    to: &mut [f32],
    stride: usize,
) {
    let (kernel, step, begin) = (g.kernel[1], g.stride[1], g.begin[1]);
    let Some(line) = line else {
        return (0..pixels.len()).for_each(|p| to[p * stride..][..kernel * channels].fill(0.0));
    };
    let tap_by_tap = |pixels: Range<usize>, to: &mut [f32]| {
        for (p, ox) in pixels.enumerate() {
            for (kx, to) in to[p * stride..][..kernel * channels].chunks_exact_mut(channels).enumerate() {
                match g.source(1, ox, kx) {
                    Some(ix) => to.copy_from_slice(&line[ix * all + first..][..channels]),
                    None => to.fill(0.0),
                }
            }
        }
    };
    if channels != all || g.dilation[1] != 1 {
        return tap_by_tap(pixels, to);
    }
    // Where the whole window lies inside the line, its taps are one run.
    let end = (g.input[1] + begin).checked_sub(kernel).map_or(0, |last| last / step + 1);
    let low = begin.div_ceil(step).clamp(pixels.start, pixels.end);
    let high = end.clamp(low, pixels.end);
    tap_by_tap(pixels.start..low, to);
    if low < high {
        copies(
            &line[(low * step - begin) * all..],
            step * all,
            &mut to[(low - pixels.start) * stride..],
            stride,
            kernel * all,
            high - low,
        );
    }
    if high < pixels.end {
        tap_by_tap(high..pixels.end, &mut to[(high - pixels.start) * stride..]);
    }
}
