//! What LpNormalization may lose: a norm, and the division by it.

use super::SAFETY_FACTOR;
use super::bounds::{Input, ReferenceRounding, leaves_range};
use super::measure::Allowed;
use crate::base::UNIT_F32;
use crate::error::{Error, Result};

/// y = x / N with N = Σ|x| or √Σx², over n elements:
///
/// δN = n·u·N + t, or (n / 2 + 9)·u·N + min(√t, t / N), where t = n · the smallest normal number is what may
/// be flushed; δy = |y|·(δN / N + 5u), and no further than 1, which no |y| exceeds. ElementFormat moves x by
/// e: δy = (e + |y|·‖e‖) / N.
pub fn lp_normalization(
    inputs: &[Option<Input>],
    axis: usize,
    squared: bool,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let x = inputs
        .first()
        .and_then(Option::as_ref)
        .ok_or_else(|| Error::internal("a normalisation without input"))?;
    let (xs, stored, shape) = (x.value.to_f64s()?, x.errors()?, x.value.shape());
    let length = shape.get(axis).copied().unwrap_or(1);
    let after: usize = shape.iter().skip(axis + 1).product();
    let n = length as f64;
    let norm = |list: &mut dyn Iterator<Item = f64>| {
        if squared { list.map(|x| x * x).sum::<f64>().sqrt() } else { list.map(f64::abs).sum() }
    };
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let (mut fixed, mut scaled, mut open) = (vec![0.0; xs.len()], vec![0.0; xs.len()], vec![false; xs.len()]);
    for line in 0..xs.len() / length.max(1) {
        let line = (0..length).map(move |k| (line / after * length + k) * after + line % after);
        let (whole, moved) =
            (norm(&mut line.clone().map(|at| xs[at])), norm(&mut line.clone().map(|at| stored[at])));
        let tiny = n * f32::MIN_POSITIVE as f64;
        let lost = if squared {
            (n / 2.0 + 9.0) * UNIT_F32 * whole + tiny.sqrt().min(tiny / whole)
        } else {
            n * UNIT_F32 * whole + tiny
        };
        // Beyond the range the norm is infinite, and the results are 0.
        let finite = norm(&mut line.clone().map(|at| xs[at]).filter(|x| x.is_finite()));
        let leaves = leaves_range(if squared { finite * finite } else { finite });
        for at in line {
            let y = if whole == 0.0 { 0.0 } else { (xs[at] / whole).abs() };
            let within =
                |off: f64| if off == 0.0 || whole.is_infinite() { 0.0 } else { (off / whole).min(1.0 + y) };
            fixed[at] = if leaves { f64::INFINITY } else { within(stored[at] + y * moved) };
            scaled[at] = sides * within(y * (lost + 5.0 * UNIT_F32 * whole));
            open[at] = leaves;
        }
    }
    Ok(Allowed::new(fixed, scaled, format!("{SAFETY_FACTOR}·(norm of {n}) + storage rounding"))
        .with_open(open))
}
