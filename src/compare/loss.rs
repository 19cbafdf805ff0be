//! What the losses of a classification may lose: elements that labels choose, weighted, and their sum.

use super::bounds::{Input, ReferenceRounding, floor, leaves_range, softmax};
use super::measure::Allowed;
use super::range::LARGEST_F16;
use crate::base::{EvalPrecision, UNIT_F16, UNIT_F32};
use crate::cpu;
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::ops::loss::Reduction;
use crate::ops::loss::cross_entropy::SoftmaxCrossEntropyLoss;
use crate::ops::loss::negative_log_likelihood::NegativeLogLikelihoodLoss;
use crate::tensor::Tensor;

/// A logarithm lᵢ is off by what it brings, or by what a softmax's logarithm is ([`softmax`]) and its store.
/// With N samples that count, M = Σ|wᵢlᵢ| and W = Σwᵢ:
///
/// δΣwl = Σ|wᵢ|·δlᵢ + us(w)·M + (N + 2)·u·M, and what is flushed of each term; δW = (us(w) + N·u)·Σ|wᵢ|; a
/// mean is off by δΣwl / |W| + |y|·(δW / |W| + 5u), and anything where δW reaches |W|.
pub fn loss(
    node: &Node,
    index: usize,
    inputs: &[Option<Input>],
    want: &[f64],
    with_softmax: bool,
    store: f64,
    own: ReferenceRounding,
) -> Result<Allowed> {
    let input = |at: usize| inputs.get(at).and_then(Option::as_ref);
    let missing = || Error::internal("a loss without its inputs");
    let (x, labels) = (input(0).ok_or_else(missing)?, input(1).ok_or_else(missing)?);
    let shape = x.value.shape();
    let [samples, classes, ..] = *shape else { return Err(missing()) };
    let lines = [samples, classes, shape.iter().skip(2).product()];
    if index > 0 {
        return softmax(lines, inputs, want, true, own);
    }
    // By type: what becomes of the samples' losses is the operator's own.
    let loss = match (
        node.op.downcast::<NegativeLogLikelihoodLoss>(),
        node.op.downcast::<SoftmaxCrossEntropyLoss>(),
    ) {
        (Some(op), _) => op.loss(),
        (_, Some(op)) => op.loss(),
        _ => return Err(Error::internal("a loss of an unknown operator")),
    };
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let (logarithms, brought, rounded) = if with_softmax {
        let plain: Vec<Option<&Tensor>> =
            inputs.iter().map(|input| input.as_ref().map(|input| &input.value)).collect();
        let made = cpu::eval_node(&*node.op, &plain, EvalPrecision::Oracle)?;
        let values = made.get(1).ok_or_else(missing)?.to_f64s()?;
        let off = softmax(lines, inputs, &values, true, own)?;
        let stored = values.iter().zip(off.fixed).map(|(x, off)| off + store * x.abs().max(floor(store)));
        (values.clone(), stored.collect(), off.scaled)
    } else {
        let values = x.value.to_f64s()?;
        let none = vec![0.0; values.len()];
        (values, x.errors()?, none)
    };
    let weights = input(2).map(|weights| weights.value.to_f64s()).transpose()?;
    let weight_errors = input(2).map(Input::errors).transpose()?;
    let chosen = loss.chosen(shape, &labels.value)?;
    let (mut fixed, mut scaled, mut open) = (vec![], vec![], vec![]);
    let each = loss.reduction == Reduction::None;
    let results = if each { chosen.iter().map(std::slice::from_ref).collect() } else { vec![&chosen[..]] };
    for (terms, &y) in results.into_iter().zip(want) {
        let (mut off, mut lost, mut mass) = (0.0, 0.0, 0.0);
        let (mut total, mut total_mass, mut total_off, mut count) = (0.0f64, 0.0, 0.0, 0.0);
        let mut leaves = false;
        for at in terms.iter().flatten() {
            let weight = weights.as_ref().map_or(1.0, |weights| weights[at.class]);
            let weight_error = weight_errors.as_ref().map_or(0.0, |errors| errors[at.class]);
            let (log, size) = (logarithms[at.element].abs(), weight.abs());
            off += size * brought[at.element] + weight_error * (log + brought[at.element]);
            lost += size * rounded[at.element] + f32::MIN_POSITIVE as f64;
            if log.is_finite() && size.is_finite() {
                mass += log * size;
            }
            (total, total_mass, total_off) = (total + weight, total_mass + size, total_off + weight_error);
            count += 1.0;
            // What lies between the softmax and the loss saturates, or overflows, in float16.
            let beyond = log.is_finite() && log + brought[at.element] > LARGEST_F16;
            leaves |= with_softmax && store == UNIT_F16 && beyond;
        }
        leaves |= leaves_range(mass);
        lost += sides * UNIT_F32 * (count + 2.0) * mass;
        if loss.reduction == Reduction::Mean {
            let moved = sides * UNIT_F32 * count * total_mass;
            let whole = total.abs();
            leaves |= leaves_range(total_mass) && total_mass.is_finite();
            leaves |= weights.is_some() && total_off + 4.0 * moved >= whole && count > 0.0;
            (off, lost) = (
                (off + y.abs() * total_off) / whole,
                (lost + y.abs() * moved) / whole + sides * 5.0 * UNIT_F32 * y.abs(),
            );
        }
        let finite = |off: f64| if off.is_nan() { 0.0 } else { off };
        fixed.push(if leaves { f64::INFINITY } else { finite(off) });
        scaled.push(if leaves { 0.0 } else { finite(lost) });
        open.push(leaves);
    }
    Ok(Allowed::new(fixed, scaled, "the samples' errors, weighted, and their sum's").with_open(open))
}
