//! Depthwise convolution of float32 images whose channels lie innermost: vectors run along channels, sums of a few pixels at once.

use super::conv::Sizes;
use super::epilogue::Ready;
use super::vector::{Kernel, Vector, dispatch};
use crate::ops::nn::window::Geometry;
use rayon::prelude::*;

/// Pixels of a line that are summed up together: they share each tap's weights. Image networks' lines are multiples of 7.
const PIXELS: usize = 7;

/// Convolves each channel of `x` `[n, h, w, c]` with its own filter, `taps` being `[kh · kw, c]`; all of `y` `[n, oh, ow, c]` is written.
///
/// Panics where the slices are shorter than the sizes say.
pub fn depthwise(x: &[f32], sizes: &Sizes, taps: &[f32], bias: Option<&[f32]>, ready: &Ready<'_>, y: &mut [f32]) {
    let (g, channels) = (&sizes.geometry, sizes.channels);
    let (line, image) = (g.output[1] * channels, g.input[0] * g.input[1] * channels);
    assert!(taps.len() >= g.kernel[0] * g.kernel[1] * channels && bias.is_none_or(|bias| bias.len() >= channels));
    if line == 0 {
        return;
    }
    let zeros = vec![0.0; channels];
    y.par_chunks_exact_mut(line).enumerate().for_each(|(index, y)| {
        let (image, oy) = (&x[index / g.output[0] * image..][..image], index % g.output[0]);
        dispatch(Line { x: image, zeros: &zeros, g, taps, bias, oy, channels, y });
        ready.apply(index * line, y);
    });
}

/// One line of the result.
struct Line<'a> {
    /// The image.
    x: &'a [f32],
    /// What a tap in the padding reads: one pixel.
    zeros: &'a [f32],
    g: &'a Geometry,
    taps: &'a [f32],
    bias: Option<&'a [f32]>,
    oy: usize,
    channels: usize,
    y: &'a mut [f32],
}

impl Kernel for Line<'_> {
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let (width, last) = (self.g.output[1], self.g.kernel[1] - 1);
        let mut ox = 0;
        while ox < width {
            let whole = ox + PIXELS <= width && self.g.source(1, ox, 0).is_some() && self.g.source(1, ox + PIXELS - 1, last).is_some();
            let mut channel = 0;
            while channel < self.channels {
                let lanes = V::LANES.min(self.channels - channel);
                if !whole {
                    self.edge::<V>(ox, channel, lanes);
                } else if lanes == V::LANES {
                    self.inside::<V>(ox, channel, V::LANES);
                } else {
                    self.inside::<V>(ox, channel, lanes);
                }
                channel += V::LANES;
            }
            ox += PIXELS;
        }
    }
}

impl Line<'_> {
    #[inline(always)]
    fn start<V: Vector>(&self, channel: usize, lanes: usize) -> V {
        match self.bias {
            // SAFETY: the bias has `channels` elements, and `channel + lanes` is no more.
            Some(bias) => unsafe { V::load(bias.as_ptr().add(channel), lanes) },
            None => V::splat(0.0),
        }
    }

    /// Pixels from `ox` on whose taps all lie inside the line.
    #[inline(always)]
    fn inside<V: Vector>(&mut self, ox: usize, channel: usize, lanes: usize) {
        let (g, channels) = (self.g, self.channels);
        let mut sums = [self.start::<V>(channel, lanes); PIXELS];
        let step = g.stride[1] * channels;
        for ky in 0..g.kernel[0] {
            let Some(iy) = g.source(0, self.oy, ky) else { continue };
            let first = iy * g.input[1] + (ox * g.stride[1] - g.begin[1]);
            for kx in 0..g.kernel[1] {
                let at = (first + kx * g.dilation[1]) * channels + channel;
                debug_assert!(at + (PIXELS - 1) * step + lanes <= self.x.len());
                // SAFETY: the first pixel's first tap and the last one's last lie inside the line, so all between do; the taps are
                // `[kh · kw, c]`, and `channel + lanes` is no more than c.
                unsafe {
                    let w = V::load(self.taps.as_ptr().add((ky * g.kernel[1] + kx) * channels + channel), lanes);
                    let from = self.x.as_ptr().add(at);
                    for (p, sum) in sums.iter_mut().enumerate() {
                        *sum = V::load(from.add(p * step), lanes).mul_add(w, *sum);
                    }
                }
            }
        }
        let to = &mut self.y[ox * channels + channel..][..(PIXELS - 1) * channels + lanes];
        for (p, sum) in sums.into_iter().enumerate() {
            // SAFETY: the slice just taken holds every pixel's lanes.
            unsafe { sum.store(to.as_mut_ptr().add(p * channels), lanes) };
        }
    }

    /// Pixels from `ox` on, of which some are beyond the line or have taps in the padding.
    #[inline(always)]
    fn edge<V: Vector>(&mut self, ox: usize, channel: usize, lanes: usize) {
        let (g, channels) = (self.g, self.channels);
        let mut sums = [self.start::<V>(channel, lanes); PIXELS];
        for ky in 0..g.kernel[0] {
            let Some(iy) = g.source(0, self.oy, ky) else { continue };
            let line = &self.x[iy * g.input[1] * channels..][..g.input[1] * channels];
            for kx in 0..g.kernel[1] {
                // SAFETY: as above; a tap is read from the line where it lies inside it, else from a pixel of zeros.
                unsafe {
                    let w = V::load(self.taps.as_ptr().add((ky * g.kernel[1] + kx) * channels + channel), lanes);
                    for (p, sum) in sums.iter_mut().enumerate() {
                        let ix = ((ox + p) * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.begin[1]);
                        let from = if ix < g.input[1] { line.as_ptr().add(ix * channels) } else { self.zeros.as_ptr() };
                        *sum = V::load(from.add(channel), lanes).mul_add(w, *sum);
                    }
                }
            }
        }
        for (p, sum) in sums.into_iter().enumerate().take(g.output[1] - ox) {
            let to = &mut self.y[(ox + p) * channels + channel..][..lanes];
            // SAFETY: the slice holds the lanes.
            unsafe { sum.store(to.as_mut_ptr(), lanes) };
        }
    }
}
