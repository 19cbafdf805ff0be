//! Convolutions of a few filters, as an image model's last one often has: sums run along a window's elements
//! in vectors, since a panel of columns would be nearly empty.

use super::conv::{ImageConv, gather};
use super::epilogue::PreparedEpilogue;
use super::few_rows::{Strided, by_rows};
use crate::error::Result;
use crate::tensor::pool::Floats;
use crate::threads::try_chunks;

/// The most filters, and the fewest elements of each, that come this way.
const MOST: usize = 4;
const FEWEST: usize = 128;
/// Pixels that a thread takes at once.
const PIXELS: usize = 128;

/// Whether filters of `[m, c / groups, kh, kw]` come this way.
pub fn serves([filters, channels, height, width]: [usize; 4], groups: usize) -> bool {
    let elements = channels.saturating_mul(height).saturating_mul(width);
    groups == 1 && (1..=MOST).contains(&filters) && elements >= FEWEST
}

/// The filters of `[m, c, kh, kw]` line by line, each of which is as a window's: `[kh, m, kw, c]`.
pub fn pack(weights: &[f32], [filters, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let element = |at: usize| {
        let (channel, kx, rest) = (at % channels, at / channels % width, at / channels / width);
        let (filter, ky) = (rest % filters, rest / filters);
        weights[((filter * channels + channel) * height + ky) * width + kx]
    };
    (0..filters * channels * height * width).map(element).collect()
}

/// Convolves `x` `[n, h, w, c]` to `y` `[n, oh, ow, m]`, all of which is written. `filters`: as [`pack`]
/// makes them.
pub fn convolve(
    x: &[f32],
    sizes: &ImageConv,
    filters: &[f32],
    bias: Option<&[f32]>,
    ready: &PreparedEpilogue<'_>,
    y: &mut [f32],
) -> Result<()> {
    let (g, channels, out) = (&sizes.geometry, sizes.channels, sizes.out_channels);
    let [out_h, out_w] = [g.output[0], g.output[1]];
    let line = g.kernel[1] * channels;
    // Where a whole line of a window lies inside the image's, it is read there.
    let (begin, step) = (g.begin[1], g.stride[1]);
    let end = (g.input[1] + begin).checked_sub(g.kernel[1]).map_or(0, |last| last / step + 1);
    let inside = if g.dilation[1] == 1 { begin.div_ceil(step)..end } else { 0..0 };
    try_chunks(y, PIXELS * out, |index, y| {
        let (first, count) = (index * PIXELS, y.len() / out);
        let (mut made, mut lines) = (Floats::zeros(out * count)?, Floats::zeros(out * count)?);
        let mut add = |ky: usize, at: usize, rows: Strided<'_>| {
            let (own, products) = (&filters[ky * out * line..][..out * line], &mut lines[..out * rows.rows]);
            by_rows(own, rows, products);
            for (filter, products) in products.chunks_exact(rows.rows).enumerate() {
                let sums = &mut made[filter * count + at..];
                sums.iter_mut().zip(products).for_each(|(sum, &x)| *sum += x);
            }
        };
        let mut row = 0;
        while row < count {
            // The pixels of one line.
            let (image, oy) = ((first + row) / out_w / out_h, (first + row) / out_w % out_h);
            let ox = (first + row) % out_w;
            let last = ox + (out_w - ox).min(count - row);
            let low = inside.start.clamp(ox, last);
            let high = inside.end.clamp(low, last);
            for ky in 0..g.kernel[0] {
                if let Some(iy) = g.source(0, oy, ky).filter(|_| low < high) {
                    let start = (image * g.input[0] + iy) * g.input[1] + low * step - begin;
                    let data = x.get(start * channels..).unwrap_or_default();
                    let rows = Strided { data, stride: step * channels, rows: high - low, width: line };
                    add(ky, row + low - ox, rows);
                }
            }
            for edge in [ox..low, high..last].into_iter().filter(|edge| !edge.is_empty()) {
                let (width, at) = (g.kernel[0] * line, row + edge.start - ox);
                let mut windows = Floats::zeros(edge.len() * width)?;
                gather(x, sizes, 0, channels, first + at..first + at + edge.len(), &mut windows, width);
                for ky in 0..g.kernel[0] {
                    let data = &windows[ky * line..];
                    add(ky, at, Strided { data, stride: width, rows: edge.len(), width: line });
                }
            }
            row += last - ox;
        }
        for (pixel, y) in y.chunks_exact_mut(out).enumerate() {
            for (filter, y) in y.iter_mut().enumerate() {
                *y = made[filter * count + pixel] + bias.map_or(0.0, |bias| bias[filter]);
            }
        }
        ready.apply(first * out, y);
        Ok(())
    })
}
