//! Depthwise convolution of float32 images whose channels lie innermost: vectors run along channels, sums of
//! a few pixels at once.

use super::conv::ImageConv;
use super::epilogue::PreparedEpilogue;
use super::plane::Plane;
use crate::base::Geometry;
use crate::simd::vector::{Kernel, Vector, dispatch};
use crate::threads::chunks;
use std::ops::Range;

/// Pixels of a line that are summed up together: they share each tap's weights. Image networks' lines are
/// multiples of 7.
const PIXELS: usize = 7;

/// Taps of a line of the filter whose place in the padding is looked up only once for all channels.
const LOOKED_UP: usize = 16;

/// Filters `[kh · kw, c]` ready to run over lines of images.
pub struct Filter<'a> {
    pub g: &'a Geometry,
    pub channels: usize,
    pub taps: &'a [f32],
    pub bias: Option<&'a [f32]>,
}

/// Lines of an image `[h, w, c]`, of which the last `held` that were made may be all that is there: line `i`
/// lies at `i mod held`.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    pub data: &'a [f32],
    pub held: usize,
}

impl Filter<'_> {
    /// Writes line `oy` of the result, `[ow, c]`. `x` holds every line of the image that it reads.
    ///
    /// Panics where the slices are shorter than the sizes say.
    pub fn line(&self, x: Lines<'_>, oy: usize, y: &mut [f32]) {
        let (g, channels) = (self.g, self.channels);
        assert!(
            self.taps.len() >= g.kernel[0] * g.kernel[1] * channels
                && self.bias.is_none_or(|bias| bias.len() >= channels)
        );
        assert!(
            x.held > 0 && x.data.len() >= x.held * g.input[1] * channels && y.len() >= g.output[1] * channels
        );
        // The first line that is read lies at or after `base`, a multiple of `held`, and the last before the
        // next but one.
        let first = (oy * g.stride[0]).saturating_sub(g.begin[0]);
        let g = Plane::of(g);
        dispatch(Line {
            x,
            rows: g.taps(0, oy),
            base: first / x.held * x.held,
            g,
            taps: self.taps,
            bias: self.bias,
            oy,
            channels,
            y,
        });
    }
}

/// Convolves each channel of `x` `[n, h, w, c]` with its own filter, `taps` being `[kh · kw, c]`; all of `y`
/// `[n, oh, ow, c]` is written.
///
/// Panics where the slices are shorter than the sizes say.
pub fn depthwise(
    x: &[f32],
    sizes: &ImageConv,
    taps: &[f32],
    bias: Option<&[f32]>,
    ready: &PreparedEpilogue<'_>,
    y: &mut [f32],
) {
    let (g, channels) = (&sizes.geometry, sizes.channels);
    let (line, image) = (g.output[1] * channels, g.input[0] * g.input[1] * channels);
    if line == 0 {
        return;
    }
    let filter = Filter { g, channels, taps, bias };
    chunks(y, line, |index, y| {
        let data = &x[index / g.output[0] * image..][..image];
        filter.line(Lines { data, held: g.input[0] }, index % g.output[0], y);
        ready.apply(index * line, y);
    });
}

/// One line of the result.
struct Line<'a> {
    x: Lines<'a>,
    base: usize,
    /// The filter's rows that lie inside the image.
    rows: Range<usize>,
    g: Plane,
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
            let whole = ox + PIXELS <= width
                && self.g.source(1, ox, 0).is_some()
                && self.g.source(1, ox + PIXELS - 1, last).is_some();
            let mut masks = [0u8; LOOKED_UP];
            if !whole {
                for (kx, mask) in masks.iter_mut().enumerate().take(self.g.kernel[1]) {
                    *mask = self.mask(ox, kx);
                }
            }
            let mut channel = 0;
            while channel < self.channels {
                let lanes = V::LANES.min(self.channels - channel);
                match (whole, lanes == V::LANES) {
                    (true, true) => self.inside::<V>(ox, channel, V::LANES),
                    (true, false) => self.inside::<V>(ox, channel, lanes),
                    (false, true) => self.edge::<V>(ox, channel, V::LANES, &masks),
                    (false, false) => self.edge::<V>(ox, channel, lanes, &masks),
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

    /// A bit for each pixel from `ox` on that the line has and whose tap `kx` lies inside the image.
    #[inline(always)]
    fn mask(&self, ox: usize, kx: usize) -> u8 {
        let pixels = (ox..self.g.output[1]).take(PIXELS).enumerate();
        pixels
            .map(|(p, ox)| u8::from(self.g.source(1, ox, kx).is_some()) << p)
            .fold(0, |mask, bit| mask | bit)
    }

    /// Where line `iy` of the image lies.
    #[inline(always)]
    fn line(&self, iy: usize) -> usize {
        let at = iy - self.base;
        if at < self.x.held { at } else { at - self.x.held }
    }

    /// Pixels from `ox` on whose taps all lie inside the line.
    #[inline(always)]
    fn inside<V: Vector>(&mut self, ox: usize, channel: usize, lanes: usize) {
        let (g, channels) = (self.g, self.channels);
        let mut sums = [self.start::<V>(channel, lanes); PIXELS];
        let step = g.stride[1] * channels;
        for ky in self.rows.clone() {
            let iy = self.oy * g.stride[0] + ky * g.dilation[0] - g.begin[0];
            let first = self.line(iy) * g.input[1] + (ox * g.stride[1] - g.begin[1]);
            for kx in 0..g.kernel[1] {
                let at = (first + kx * g.dilation[1]) * channels + channel;
                debug_assert!(at + (PIXELS - 1) * step + lanes <= self.x.data.len());
                // SAFETY: the first pixel's first tap and the last one's last lie inside the line, so all
                // between do; the taps are `[kh · kw, c]`, and `channel + lanes` is no more than c.
                unsafe {
                    let w =
                        V::load(self.taps.as_ptr().add((ky * g.kernel[1] + kx) * channels + channel), lanes);
                    let from = self.x.data.as_ptr().add(at);
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
    fn edge<V: Vector>(&mut self, ox: usize, channel: usize, lanes: usize, masks: &[u8; LOOKED_UP]) {
        let (g, channels) = (self.g, self.channels);
        let mut sums = [self.start::<V>(channel, lanes); PIXELS];
        let step = g.stride[1] * channels;
        for ky in self.rows.clone() {
            let iy = self.oy * g.stride[0] + ky * g.dilation[0] - g.begin[0];
            let line = &self.x.data[self.line(iy) * g.input[1] * channels..][..g.input[1] * channels];
            for kx in 0..g.kernel[1] {
                let mask = masks.get(kx).copied().unwrap_or_else(|| self.mask(ox, kx));
                // Before the line where the first pixel's tap is padding; then its bit is not set.
                let from = line.as_ptr().wrapping_add(
                    (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.begin[1]).wrapping_mul(channels)
                        + channel,
                );
                // SAFETY: taps as above; a pixel whose bit is set has its tap inside the line.
                unsafe {
                    let w =
                        V::load(self.taps.as_ptr().add((ky * g.kernel[1] + kx) * channels + channel), lanes);
                    // Every index is a constant once this is unrolled, so that the sums stay in registers.
                    for (p, sum) in sums.iter_mut().enumerate() {
                        if mask >> p & 1 == 1 {
                            *sum = V::load(from.wrapping_add(p * step), lanes).mul_add(w, *sum);
                        }
                    }
                }
            }
        }
        let count = (g.output[1] - ox).min(PIXELS);
        let to = &mut self.y[ox * channels + channel..][..(count - 1) * channels + lanes];
        for (p, sum) in sums.into_iter().enumerate() {
            if p < count {
                // SAFETY: the slice just taken holds the lanes of `count` pixels.
                unsafe { sum.store(to.as_mut_ptr().add(p * channels), lanes) };
            }
        }
    }
}
