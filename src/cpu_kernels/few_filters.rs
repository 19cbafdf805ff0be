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
/// Floats of the windows that are gathered at once: they stay in the second-level cache.
const GATHERED: usize = 1 << 15;

/// Whether filters of `[m, c / groups, kh, kw]` come this way.
pub fn serves([filters, channels, height, width]: [usize; 4], groups: usize) -> bool {
    let elements = channels.saturating_mul(height).saturating_mul(width);
    groups == 1 && (1..=MOST).contains(&filters) && elements >= FEWEST
}

/// The filters of `[m, c, kh, kw]` as rows in the order of windows, `[m, kh, kw, c]`.
pub fn pack(weights: &[f32], [filters, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let taps = height * width;
    let element = |at: usize| {
        let (filter, tap, channel) = (at / (taps * channels), at / channels % taps, at % channels);
        weights[(filter * channels + channel) * taps + tap]
    };
    (0..filters * taps * channels).map(element).collect()
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
    let (channels, out) = (sizes.channels, sizes.out_channels);
    let width = filters.len() / out.max(1);
    let block = (GATHERED / width.max(1)).clamp(4, 256);
    try_chunks(y, block * out, |index, y| {
        let (first, count) = (index * block, y.len() / out);
        let mut made = Floats::zeros(out * count)?;
        if sizes.is_direct() {
            let data = x.get(first * channels..).unwrap_or_default();
            by_rows(filters, Strided { data, stride: channels, rows: count, width }, &mut made);
        } else {
            let mut windows = Floats::zeros(count * width)?;
            gather(x, sizes, 0, channels, first..first + count, &mut windows, width);
            by_rows(filters, Strided { data: &windows, stride: width, rows: count, width }, &mut made);
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
