//! Maxima and averages over windows of float32 images whose channels lie innermost, `[n, h, w, c]`: vectors
//! run along channels.

use super::plane::Plane;
use crate::base::{Geometry, Pooling};
use crate::simd::vector::{Kernel, Vector, dispatch};
use crate::threads::chunks;

/// Pools `x` `[n, h, w, c]` to `y` `[n, oh, ow, c]`, all of which is written. `kind` is no norm.
///
/// Panics where the slices are shorter than the sizes say.
pub fn pool(x: &[f32], channels: usize, g: &Geometry, kind: Pooling, y: &mut [f32]) {
    let (line, image) = (g.output[1] * channels, g.input[0] * g.input[1] * channels);
    if line == 0 {
        return;
    }
    let end = [g.end[0], g.end[1]];
    chunks(y, line, |index, y| {
        let x = &x[index / g.output[0] * image..][..image];
        dispatch(Line {
            x,
            g: Plane::of(g),
            end,
            kind,
            oy: index % g.output[0],
            channels,
            y: &mut y[..line],
        });
    });
}

/// One line of the result.
struct Line<'a> {
    x: &'a [f32],
    g: Plane,
    /// Padding after each axis.
    end: [usize; 2],
    kind: Pooling,
    oy: usize,
    channels: usize,
    y: &'a mut [f32],
}

impl Kernel for Line<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let (g, rows) = (self.g, self.g.taps(0, self.oy));
        // Taps that lie in the image or its padding.
        let padded = |axis: usize, out: usize| {
            let reach = (g.begin[axis] + g.input[axis] + self.end[axis]).saturating_sub(out * g.stride[axis]);
            reach.div_ceil(g.dilation[axis]).min(g.kernel[axis])
        };
        let counted_rows = padded(0, self.oy);
        for ox in 0..g.output[1] {
            let columns = g.taps(1, ox);
            let inside = rows.len() * columns.len();
            let divisor = match self.kind {
                Pooling::Average { count_padding: true } => counted_rows * padded(1, ox),
                _ => inside,
            };
            if inside == 0 {
                let empty = if self.kind == Pooling::Maximum { f32::NEG_INFINITY } else { 0.0 };
                self.y[ox * self.channels..][..self.channels].fill(empty);
                continue;
            }
            // The first tap inside, and how far the next ones are.
            let at = |axis: usize, out: usize, tap: usize| {
                out * g.stride[axis] + tap * g.dilation[axis] - g.begin[axis]
            };
            let first = (at(0, self.oy, rows.start) * g.input[1] + at(1, ox, columns.start)) * self.channels;
            let steps = [g.dilation[0] * g.input[1] * self.channels, g.dilation[1] * self.channels];
            let taps = [rows.len(), columns.len()];
            let last = first + (taps[0] - 1) * steps[0] + (taps[1] - 1) * steps[1];
            let (from, to) =
                (&self.x[first..last + self.channels], &mut self.y[ox * self.channels..][..self.channels]);
            if self.kind == Pooling::Maximum {
                window::<V>(from, steps, taps, to, |x, y| x.larger(y), |y| y);
            } else {
                let divisor = V::splat(divisor.max(1) as f32);
                window::<V>(from, steps, taps, to, |x, y| y.plus(x), |y| y.over(divisor));
            }
        }
    }
}

/// All channels of one pixel: the taps joined in order, the first as it is.
#[inline(always)]
fn window<V: Vector>(
    from: &[f32],
    steps: [usize; 2],
    taps: [usize; 2],
    to: &mut [f32],
    join: impl Fn(V, V) -> V,
    last: impl Fn(V) -> V,
) {
    let mut channel = 0;
    while channel < to.len() {
        let lanes = V::LANES.min(to.len() - channel);
        // SAFETY: `from` reaches from the first tap's first channel to the last tap's last one, and `channel
        // + lanes` is within them.
        unsafe {
            let at = from.as_ptr().add(channel);
            let mut all = V::load(at, lanes);
            for ky in 0..taps[0] {
                for kx in usize::from(ky == 0)..taps[1] {
                    all = join(V::load(at.add(ky * steps[0] + kx * steps[1]), lanes), all);
                }
            }
            last(all).store(to.as_mut_ptr().add(channel), lanes);
        }
        channel += V::LANES;
    }
}
