//! Maxima over windows of images of 8-bit integers whose channels lie innermost, `[n, h, w, c]`.

use super::plane::Plane;
use crate::base::Geometry;
use crate::simd::{Loop, vectorised};
use crate::threads::chunks;

/// Pools `x` `[n, h, w, c]` to `y` `[n, oh, ow, c]`, all of which is written; a window without a pixel gets
/// `least`.
///
/// Panics where the slices are shorter than the sizes say.
pub fn maxima<T: Copy + Ord + Send + Sync>(x: &[T], channels: usize, g: &Geometry, least: T, y: &mut [T]) {
    let (line, image) = (g.output[1] * channels, g.input[0] * g.input[1] * channels);
    if line == 0 {
        return;
    }
    let plane = Plane::of(g);
    chunks(y, line, |index, y| {
        let x = &x[index / g.output[0] * image..][..image];
        vectorised(Line { x, g: plane, oy: index % g.output[0], channels, least, y });
    });
}

/// One line of the result.
struct Line<'a, T> {
    x: &'a [T],
    g: Plane,
    oy: usize,
    channels: usize,
    least: T,
    y: &'a mut [T],
}

impl<T: Copy + Ord> Loop for Line<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (g, c) = (self.g, self.channels);
        self.y.fill(self.least);
        for (ox, y) in self.y.chunks_exact_mut(c).enumerate() {
            for ty in g.taps(0, self.oy) {
                let Some(row) = g.source(0, self.oy, ty) else { continue };
                for tx in g.taps(1, ox) {
                    let Some(column) = g.source(1, ox, tx) else { continue };
                    let x = &self.x[(row * g.input[1] + column) * c..][..c];
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = if x > *y { x } else { *y });
                }
            }
        }
    }
}
