//! What a normalisation may lose: its mean, its variance and the division by its deviation, each followed to
//! first order.

use super::SAFETY_FACTOR;
use super::bounds::{Input, ReferenceRounding, evaluate, leaves_range};
use super::measure::Allowed;
use crate::base::UNIT_F32;
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::tensor::Tensor;

/// What the operator normalises by: contiguous runs of `length` elements.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    pub length: usize,
    /// Whether the mean is taken off.
    pub centred: bool,
    pub epsilon: f64,
}

/// y = (x − μ) · r · γ + β with r = 1/√(v + ε), over runs of n elements:
///
/// δμ = n·u·mean|x|; δd = u·|d| + δμ; δv = (n + 3)·u·v + 2·√v·rms(δd); δr = r · (δv / 2(v + ε) + 9u);
/// δy = |γ|·r·δd + |γ·d|·δr + 4u·|γ·d·r| + 2u·|y|. What storage does to x, γ and β goes the same way, without
/// the c.
pub fn normalization(
    node: &Node,
    inputs: &[Option<Input>],
    want: &[f64],
    runs: Runs,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let input = |k: usize| inputs.get(k).and_then(Option::as_ref);
    let x = input(0).ok_or_else(|| Error::internal("a normalisation without input"))?;
    let (xs, stored) = (x.value.to_f64s()?, x.errors()?);
    let gammas = scales(node, inputs, runs.length)?;
    if want.len() != xs.len() || gammas.len() != xs.len() {
        return Err(Error::internal("a normalisation of another size"));
    }
    let (n, u) = (runs.length.max(1) as f64, UNIT_F32);
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let mean = |list: &mut dyn Iterator<Item = f64>| list.sum::<f64>() / n;
    let (mut fixed, mut scaled, mut open) =
        (Vec::with_capacity(want.len()), Vec::with_capacity(want.len()), Vec::with_capacity(want.len()));
    for (run, (xs, stored)) in
        xs.chunks(runs.length.max(1)).zip(stored.chunks(runs.length.max(1))).enumerate()
    {
        let centre = if runs.centred { mean(&mut xs.iter().copied()) } else { 0.0 };
        let d: Vec<f64> = xs.iter().map(|x| x - centre).collect();
        let v = mean(&mut d.iter().map(|d| d * d));
        let r = 1.0 / (v + runs.epsilon).sqrt();
        let (shift, shift_stored) = if runs.centred {
            (n * u * mean(&mut xs.iter().map(|x| x.abs())), mean(&mut stored.iter().copied()))
        } else {
            (0.0, 0.0)
        };
        let lost: Vec<f64> = d.iter().map(|d| u * d.abs() + shift).collect();
        let moved: Vec<f64> = stored.iter().map(|e| e + shift_stored).collect();
        let rms = |list: &[f64]| mean(&mut list.iter().map(|e| e * e)).sqrt();
        let half = 0.5 / (v + runs.epsilon);
        let r_lost =
            half * ((n + 3.0) * u * v + 2.0 * v.sqrt() * rms(&lost) + f32::MIN_POSITIVE as f64) + 9.0 * u;
        // The run's squares together: beyond float32 the deviation is infinite, and the results are 0 or no
        // numbers.
        let leaves = leaves_range(squares(xs));
        let r_moved = half * 2.0 * v.sqrt() * rms(&moved);
        for (k, d) in d.iter().enumerate() {
            let at = run * runs.length.max(1) + k;
            let (gamma, y) = (gammas[at], want[at].abs());
            let product = (gamma * d * r).abs();
            let roundings =
                |k: usize, of: f64, by: f64| input(k).map_or(0.0, |input| input.unit * of + input.apart * by);
            let stores = gamma * r * moved[k]
                + product * r_moved
                + roundings(1, product, (d * r).abs())
                + roundings(2, y + product, 1.0);
            fixed.push(if leaves { f64::INFINITY } else { stores });
            open.push(leaves);
            scaled.push(sides * (gamma * r * lost[k] + product * (r_lost + 4.0 * u) + 2.0 * u * y));
        }
    }
    Ok(Allowed::new(
        fixed,
        scaled,
        format!("{SAFETY_FACTOR}·(mean, variance and deviation of {n}) + storage rounding"),
    )
    .with_open(open))
}

/// The finite ones of a run: with another in it, every result is what IEEE 754 says.
pub(super) fn finite(xs: &[f64]) -> impl Iterator<Item = f64> {
    xs.iter().copied().filter(|x| x.is_finite())
}

/// Σx² of the finite ones.
pub(super) fn squares(xs: &[f64]) -> f64 {
    finite(xs).map(|x| x * x).sum()
}

/// The other outputs of a normalisation, one element a run: the mean (output 1), and r = 1/√(v + ε) (output
/// 2). δμ and δr are those above.
pub fn moments(
    inputs: &[Option<Input>],
    want: &[f64],
    output: usize,
    (length, epsilon): (usize, f64),
    own: ReferenceRounding,
) -> Result<Allowed> {
    let x = inputs
        .first()
        .and_then(Option::as_ref)
        .ok_or_else(|| Error::internal("a normalisation without input"))?;
    let (xs, stored) = (x.value.to_f64s()?, x.errors()?);
    let (n, u) = (length.max(1) as f64, UNIT_F32);
    if want.len() != xs.len() / length.max(1) {
        return Err(Error::internal("moments of another size"));
    }
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let (mut fixed, mut scaled, mut open) =
        (Vec::with_capacity(want.len()), Vec::with_capacity(want.len()), Vec::with_capacity(want.len()));
    for (xs, stored) in xs.chunks(length.max(1)).zip(stored.chunks(length.max(1))) {
        let mean = |of: &dyn Fn(usize) -> f64| (0..xs.len()).map(of).sum::<f64>() / n;
        let (shift, moved) = (n * u * mean(&|k| xs[k].abs()), mean(&|k| stored[k]));
        let leaves = leaves_range(if output == 1 { finite(xs).map(f64::abs).sum() } else { squares(xs) });
        open.push(leaves);
        if output == 1 {
            fixed.push(moved);
            scaled.push(sides * shift);
            continue;
        }
        let centre = mean(&|k| xs[k]);
        let d = |k: usize| (xs[k] - centre).abs();
        let v = mean(&|k| d(k) * d(k));
        let (r, half) = (1.0 / (v + epsilon).sqrt(), 0.5 / (v + epsilon));
        let rms = |of: &dyn Fn(usize) -> f64| mean(&|k| of(k) * of(k)).sqrt();
        fixed.push(if leaves {
            f64::INFINITY
        } else {
            r * half * 2.0 * v.sqrt() * rms(&|k| stored[k] + moved)
        });
        scaled.push(
            sides * r * (half * ((n + 3.0) * u * v + 2.0 * v.sqrt() * rms(&|k| u * d(k) + shift)) + 9.0 * u),
        );
    }
    Ok(Allowed::new(fixed, scaled, format!("{SAFETY_FACTOR}·(mean and deviation of {n}) + storage rounding"))
        .with_open(open))
}

/// |γ| of every element, whatever way the operator lays scales over x: its own result over a ramp, with the scale and with
/// ones. No element of a ramp of roots lies at its mean, unless it is alone; then γ doesn't matter.
fn scales(node: &Node, inputs: &[Option<Input>], length: usize) -> Result<Vec<f64>> {
    let mut operands: Vec<Option<Tensor>> =
        inputs.iter().map(|input| input.as_ref().map(|input| input.value.clone())).collect();
    let filled = |like: &Tensor, value: f64| Tensor::new(like.shape(), vec![value; like.len()]);
    let Some(Some(x)) = operands.first().cloned() else {
        return Err(Error::internal("a normalisation without input"));
    };
    operands[0] = Some(Tensor::new(
        x.shape(),
        (0..x.len()).map(|at| ((at % length.max(1)) as f64 + 1.0).sqrt()).collect(),
    )?);
    if let Some(Some(bias)) = operands.get(2).cloned() {
        operands[2] = Some(filled(&bias, 0.0)?);
    }
    let with = evaluate(&*node.op, &operands)?.to_f64s()?;
    if let Some(Some(scale)) = operands.get(1).cloned() {
        operands[1] = Some(filled(&scale, 1.0)?);
    }
    let without = evaluate(&*node.op, &operands)?.to_f64s()?;
    Ok(with.iter().zip(&without).map(|(a, b)| if *b == 0.0 { 0.0 } else { (a / b).abs() }).collect())
}
