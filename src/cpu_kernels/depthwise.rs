//! Depthwise convolution on the CPU: one filter a channel, plane by plane, threads by rayon.

use crate::base::Geometry;
use crate::tensor::Real;
use rayon::prelude::*;

/// Convolves each plane with filters of its own: `planes` are `[images · channels, h, w]`, `weights`
/// `[channels · per, kh, kw]`, and `result` (zeroed) `[images · channels · per, out_h, out_w]`, `per` output
/// channels for each channel. The geometry has two axes.
///
/// Sums run tap by tap, rows of a result at once.
pub fn depthwise<T: Real>(
    planes: &[T],
    weights: &[T],
    geometry: &Geometry,
    [channels, per]: [usize; 2],
    result: &mut [T],
) {
    let (g, out_c) = (geometry, (channels * per).max(1));
    let (in_area, out_area, taps) =
        (g.input[0] * g.input[1], g.output[0] * g.output[1], g.kernel[0] * g.kernel[1]);
    if out_area == 0 {
        return;
    }
    result.par_chunks_exact_mut(out_area).enumerate().for_each(|(index, to)| {
        let (image, out) = (index / out_c, index % out_c);
        let plane = &planes[(image * channels + out / per) * in_area..][..in_area];
        let filter = &weights[out * taps..][..taps];
        for (tap, &w) in filter.iter().enumerate() {
            let (ky, kx) = (tap / g.kernel[1], tap % g.kernel[1]);
            // The outputs of a row whose source lies inside are neighbours.
            let inside = |out: usize| g.source(1, out, kx).is_some();
            let Some(first) = (0..g.output[1]).find(|&out| inside(out)) else { continue };
            let end = (first..g.output[1]).find(|&out| !inside(out)).unwrap_or(g.output[1]);
            let Some(start) = g.source(1, first, kx) else { continue };
            for (oy, row) in to.chunks_exact_mut(g.output[1]).enumerate() {
                let Some(iy) = g.source(0, oy, ky) else { continue };
                let (row, from) =
                    (&mut row[first..end], &plane[iy * g.input[1] + start..(iy + 1) * g.input[1]]);
                if g.stride[1] == 1 {
                    row.iter_mut().zip(from).for_each(|(sum, &x)| *sum += w * x);
                } else {
                    row.iter_mut().zip(from.iter().step_by(g.stride[1])).for_each(|(sum, &x)| *sum += w * x);
                }
            }
        }
    });
}
