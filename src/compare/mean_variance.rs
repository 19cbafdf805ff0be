//! What MeanVarianceNormalization may lose, which adds its epsilon to the deviation and takes any axes.

use super::SAFETY_FACTOR;
use super::bounds::{Input, ReferenceRounding, leaves_range};
use super::measure::Allowed;
use crate::base::UNIT_F32;
use crate::error::{Error, Result};
use crate::tensor::index::{Odometer, broadcast_strides, strides};

/// y = d · r with d = x − μ and r = 1/(√v + ε), over n elements:
///
/// δμ = n·u·mean|x|; δd = u·|d| + δμ; δv = (n + 3)·u·v + 2·√v·rms(δd) + rms(δd)²; δ√v = min(δv / 2√v, √δv);
/// δy = r·δd + |y|·(r·δ√v + 15u), the root being off by 9u, the sum by u and the quotient by 5u; and no further
/// than √n, which no |y| exceeds. What storage does to x goes the same way. One element is its own mean: its d is
/// 0, exactly.
pub fn mean_variance(
    inputs: &[Option<Input>],
    axes: &[usize],
    epsilon: f64,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let x = inputs
        .first()
        .and_then(Option::as_ref)
        .ok_or_else(|| Error::internal("a normalisation without input"))?;
    let (xs, stored, shape) = (x.value.to_f64s()?, x.errors()?, x.value.shape());
    // The run that each element belongs to.
    let runs: Vec<usize> =
        shape.iter().enumerate().map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect();
    let run: Vec<usize> =
        Odometer::new(shape, [&broadcast_strides(&runs, &strides(&runs), shape)]).map(|[at]| at).collect();
    let count: usize = runs.iter().product();
    let n = xs.len() as f64 / count.max(1) as f64;
    let mean = |of: &dyn Fn(usize) -> f64| {
        let mut sums = vec![0.0; count];
        run.iter().enumerate().for_each(|(at, &run)| sums[run] += of(at) / n);
        sums
    };
    let centre = mean(&|at| xs[at]);
    let d: Vec<f64> = xs.iter().zip(&run).map(|(x, &run)| x - centre[run]).collect();
    let squares = mean(&|at| if xs[at].is_finite() { xs[at] * xs[at] } else { 0.0 });
    let (v, size) = (mean(&|at| d[at] * d[at]), mean(&|at| xs[at].abs()));
    // How far each element's d may be off, and by it √v of its run.
    let deviation = |lost: &[f64], arithmetic: f64| -> Vec<f64> {
        let lost_squares = mean(&|at| lost[at] * lost[at]);
        let off = |(v, lost_square): (&f64, &f64)| {
            let of_v = arithmetic * ((n + 3.0) * UNIT_F32 * v + n * f32::MIN_POSITIVE as f64)
                + 2.0 * (v * lost_square).sqrt()
                + lost_square;
            of_v.sqrt().min(of_v / (2.0 * v.sqrt()))
        };
        v.iter().zip(&lost_squares).map(off).collect()
    };
    let several = if n > 1.0 { 1.0 } else { 0.0 };
    let lost: Vec<f64> =
        d.iter().zip(&run).map(|(d, &run)| several * UNIT_F32 * (d.abs() + n * size[run])).collect();
    let brought = mean(&|at| stored[at]);
    let moved: Vec<f64> = stored.iter().zip(&run).map(|(e, &run)| several * (e + brought[run])).collect();
    let (by_arithmetic, by_storage) = (deviation(&lost, 1.0), deviation(&moved, 0.0));
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let (mut fixed, mut scaled, mut open) =
        (Vec::with_capacity(xs.len()), Vec::with_capacity(xs.len()), Vec::with_capacity(xs.len()));
    for (at, &run) in run.iter().enumerate() {
        let r = 1.0 / (v[run].sqrt() + epsilon);
        let y = (d[at] * r).abs();
        let leaves = leaves_range(n * squares[run]);
        let off =
            |lost: f64, deviation: f64, own: f64| (r * lost + y * (r * deviation + own)).min(n.sqrt() + y);
        fixed.push(if leaves { f64::INFINITY } else { off(moved[at], by_storage[run], 0.0) });
        scaled.push(sides * off(lost[at], by_arithmetic[run], 15.0 * UNIT_F32));
        open.push(leaves);
    }
    Ok(Allowed::new(
        fixed,
        scaled,
        format!("{SAFETY_FACTOR}·(mean, variance and deviation of {n}) + storage rounding"),
    )
    .with_open(open))
}
