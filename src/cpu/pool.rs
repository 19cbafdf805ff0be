//! Maxima and averages over windows of float32 images whose channels lie innermost, `[n, h, w, c]`.

use super::simd::{Loop, vectorised};
use super::threads::chunks;
use crate::kernels::pool::Mode as Kind;
use crate::ops::nn::window::Geometry;

/// Pools `x` `[n, h, w, c]` to `y` `[n, oh, ow, c]`, all of which is written. `kind` is no norm.
pub fn pool(x: &[f32], channels: usize, g: &Geometry, kind: Kind, y: &mut [f32]) {
    let (line, image) = (g.output[1] * channels, g.input[0] * g.input[1] * channels);
    if line == 0 {
        return;
    }
    chunks(y, line, |index, y| {
        let x = &x[index / g.output[0] * image..][..image];
        let oy = index % g.output[0];
        for (ox, y) in y.chunks_exact_mut(channels).enumerate() {
            vectorised(Window { x, g, kind, oy, ox, y });
        }
    });
}

/// All channels of one pixel of the result.
struct Window<'a> {
    x: &'a [f32],
    g: &'a Geometry,
    kind: Kind,
    oy: usize,
    ox: usize,
    y: &'a mut [f32],
}

impl Loop for Window<'_> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let (g, channels) = (self.g, self.y.len());
        let (mut inside, mut counted) = (0usize, 0usize);
        let in_padded = |axis: usize, out: usize, tap: usize| out * g.stride[axis] + tap * g.dilation[axis] < g.begin[axis] + g.input[axis] + g.end[axis];
        for ky in 0..g.kernel[0] {
            for kx in 0..g.kernel[1] {
                counted += usize::from(in_padded(0, self.oy, ky) && in_padded(1, self.ox, kx));
                let (Some(iy), Some(ix)) = (g.source(0, self.oy, ky), g.source(1, self.ox, kx)) else { continue };
                let x = &self.x[(iy * g.input[1] + ix) * channels..][..channels];
                match self.kind {
                    _ if inside == 0 => self.y.copy_from_slice(x),
                    Kind::Maximum => {
                        for (y, &x) in self.y.iter_mut().zip(x) {
                            *y = if x > *y || x.is_nan() { x } else { *y };
                        }
                    }
                    Kind::Average { .. } | Kind::Norm { .. } => {
                        for (y, &x) in self.y.iter_mut().zip(x) {
                            *y += x;
                        }
                    }
                }
                inside += 1;
            }
        }
        match self.kind {
            Kind::Maximum if inside == 0 => self.y.fill(f32::NEG_INFINITY),
            Kind::Maximum | Kind::Norm { .. } => {}
            Kind::Average { .. } if inside == 0 => self.y.fill(0.0),
            Kind::Average { count_padding } => {
                let count = if count_padding { counted } else { inside }.max(1) as f32;
                self.y.iter_mut().for_each(|y| *y /= count);
            }
        }
    }
}
