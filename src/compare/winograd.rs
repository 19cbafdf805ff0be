//! How far rounding may spread in a convolution by Winograd's method, whose bound is not that of the sum it
//! stands for.

use crate::error::{Error, Result};
use crate::graph::Node;
use crate::kernels::winograd::{F2, F4, Matrices, WinogradTile, both_sides};
use crate::ops::nn::conv::Conv;
use crate::plan::{Plan, Step, StepKind};
use crate::tensor::{Tensor, element_count, zeros};
use rayon::prelude::*;

/// The tile by which a plan takes a node this way, if it does.
pub fn tile(plan: &Plan, node: &Node) -> Option<WinogradTile> {
    let own = |step: &&Step| {
        step.node
            .and_then(|index| plan.graph.nodes.get(index))
            .is_some_and(|other| other.outputs == node.outputs)
    };
    plan.steps.iter().filter(own).find_map(|step| match &step.kind {
        StepKind::Gpu { dispatches } => dispatches.iter().find_map(WinogradTile::of),
        _ => None,
    })
}

/// Roundings on the way of one term, beside the sum over channels: two passes of at most 4 operations with
/// rounded coefficients on the input and on the output, and the weights' own.
const TRANSFORMS: usize = 24;

/// For each output, what `u` is multiplied by: `(channels + 24) · |Aᵀ| [(|G| |w| |Gᵀ|) ∘ (|Bᵀ| |x| |B|)]
/// |A|`, summed over channels.
///
/// `x` `[n, c, h, w]` and `w` `[m, c, 3, 3]` are magnitudes as float64. An output's error may come from any
/// input of its tile.
pub fn spread(conv: &Conv, tile: WinogradTile, x: &Tensor, w: &Tensor) -> Result<Vec<f64>> {
    match tile {
        WinogradTile::Two => spread_by(&F2, conv, x, w),
        WinogradTile::Four => spread_by(&F4, conv, x, w),
    }
}

fn spread_by<const IN: usize, const OUT: usize>(
    by: &Matrices<IN, OUT>,
    conv: &Conv,
    x: &Tensor,
    w: &Tensor,
) -> Result<Vec<f64>> {
    let ([images, channels, in_h, in_w], [out_c, ..]) = (four(x)?, four(w)?);
    let geometry = conv.window.geometry(&[in_h, in_w], &[3, 3])?;
    let [out_h, out_w] = *geometry.output else {
        return Err(Error::internal("a convolution of another rank"));
    };
    let (xs, ws) = (x.as_slice::<f64>()?, w.as_slice::<f64>()?);
    let (input, weights, output) = (
        by.input.map(|row| row.map(f64::abs)),
        by.weights.map(|row| row.map(f64::abs)),
        by.output.map(|row| row.map(f64::abs)),
    );
    let filters: Vec<[[f64; IN]; IN]> = ws
        .as_chunks::<9>()
        .0
        .iter()
        .map(|w| both_sides(&weights, &std::array::from_fn(|y| std::array::from_fn(|x| w[y * 3 + x]))))
        .collect();
    let mut all: Vec<f64> = zeros(element_count(&[images, out_c, out_h, out_w])?)?;
    let (tiles_h, tiles_w) = (out_h.div_ceil(OUT), out_w.div_ceil(OUT));
    // One input element of a tile, 0 in the padding.
    let element = |plane: &[f64], y: usize, x: usize| {
        let (y, x) = (y.checked_sub(geometry.begin[0]), x.checked_sub(geometry.begin[1]));
        y.zip(x).filter(|&(y, x)| y < in_h && x < in_w).map_or(0.0, |(y, x)| plane[y * in_w + x])
    };
    for (image, to) in all.chunks_exact_mut((out_c * out_h * out_w).max(1)).enumerate() {
        for tile in 0..tiles_h * tiles_w {
            let (y, x) = (tile / tiles_w * OUT, tile % tiles_w * OUT);
            let transformed = (0..channels).map(|channel| {
                let plane = &xs[(image * channels + channel) * in_h * in_w..][..in_h * in_w];
                both_sides(
                    &input,
                    &std::array::from_fn(|i| std::array::from_fn(|j| element(plane, y + i, x + j))),
                )
            });
            let transformed: Vec<[[f64; IN]; IN]> = transformed.collect();
            to.par_chunks_exact_mut((out_h * out_w).max(1))
                .zip(filters.par_chunks_exact(channels.max(1)))
                .for_each(|(plane, filters)| {
                    let mut sum = [[0.0; IN]; IN];
                    for (filter, data) in filters.iter().zip(&transformed) {
                        sum.as_flattened_mut()
                            .iter_mut()
                            .zip(filter.as_flattened().iter().zip(data.as_flattened()))
                            .for_each(|(sum, (w, x))| *sum += w * x);
                    }
                    for (i, row) in
                        both_sides(&output, &sum).iter().enumerate().filter(|(i, _)| y + i < out_h)
                    {
                        for (j, value) in row.iter().enumerate().filter(|(j, _)| x + j < out_w) {
                            plane[(y + i) * out_w + x + j] = value * (channels + TRANSFORMS) as f64;
                        }
                    }
                });
        }
    }
    Ok(all)
}

fn four(tensor: &Tensor) -> Result<[usize; 4]> {
    <[usize; 4]>::try_from(tensor.shape()).map_err(|_| Error::internal("a convolution of another rank"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convolves<const IN: usize, const OUT: usize>(matrices: &Matrices<IN, OUT>) {
        // A row of inputs and 3 taps, one dimension at a time.
        let (d, w) = ([0.5, -2.0, 3.0, 1.0, 4.0, -1.5], [2.0, -1.0, 0.25]);
        let by = |m: &[f64], x: &[f64]| m.iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
        let products: Vec<f64> =
            matrices.input.iter().zip(&matrices.weights).map(|(b, g)| by(b, &d[..IN]) * by(g, &w)).collect();
        for (at, row) in matrices.output.iter().enumerate() {
            assert!((by(row, &products) - by(&d[at..at + 3], &w)).abs() < 1e-12);
        }
    }

    #[test]
    fn the_matrices_convolve() {
        convolves(&F2);
        convolves(&F4);
    }
}
