//! What sums are held to: reductions, pools and what else adds up elements of one input.

use super::bounds::{Input, Own, floor, leaves_range, magnitude_of};
use super::measure::Allowed;
use super::{UNIT_F32, accuracy};
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::kernels::pool::Mode as Pooling;
use crate::kernels::reduce::Reduction;
use crate::ops::nn::{global_pool::GlobalPool, lp_normalization::Normalization, lrn::Lrn, pool::Pool, resize::Resize};
use crate::ops::reduce::reduce::Reduce;
use crate::tensor::Tensor;

/// How a node reduces, if it does.
fn reduction(node: &Node) -> Option<Reduction> {
    node.op.downcast::<Reduce>().map(|op| op.reduction).or_else(|| node.op.downcast::<GlobalPool>().map(|op| op.reduction))
}

/// The smallest magnitude but 0, and the largest, of what is finite; (∞, 0) where there is none.
fn magnitudes(input: &Input) -> Result<(f64, f64)> {
    let span = |(low, high): (f64, f64), x: f64| (if x > 0.0 { low.min(x) } else { low }, high.max(x));
    Ok(input.value.to_f64s()?.iter().filter(|x| x.is_finite()).map(|x| x.abs()).fold((f64::INFINITY, 0.0), span))
}

/// Integers: exact, but for what their inputs may already be off by. Bounds over the whole tensor, from magnitudes.
pub fn whole(node: &Node, inputs: &[Option<Input>], want: &[f64], length: usize) -> Result<Allowed> {
    let apart = inputs.iter().flatten().map(|input| input.apart).fold(0.0, f64::max);
    let exact = "whole numbers: exact";
    if apart == 0.0 {
        return Ok(Allowed::uniform(want.len(), 0.0, 0.0, exact));
    }
    let most = inputs.iter().flatten().map(magnitudes).collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, |most: f64, (_, high)| most.max(high));
    let off = match reduction(node) {
        Some(Reduction::Prod) => f64::INFINITY,
        // A mean is rounded to a whole number again.
        _ => length as f64 * apart * (2.0 * most + apart).max(1.0) + 1.0,
    };
    Ok(Allowed::uniform(want.len(), off, 0.0, format!("{exact} but for inputs that are {apart} apart")))
}

/// Reductions and pools: u · length · the same of |x|.
pub fn sum(node: &Node, inputs: &[Option<Input>], want: &[f64], length: usize, own: Own) -> Result<Allowed> {
    let input = inputs.first().and_then(Option::as_ref).ok_or_else(|| Error::internal("a reduction without input"))?;
    // A Resize's other inputs say where it reads.
    let is_data = |index: usize| index == 0 || node.op.downcast::<Resize>().is_none();
    let operand = |(index, input): (usize, &Option<Input>)| {
        input.as_ref().map(|input| if is_data(index) { input.magnitude() } else { Ok(input.value.clone()) }).transpose()
    };
    let all = inputs.iter().enumerate().map(operand).collect::<Result<Vec<Option<Tensor>>>>()?;
    let magnitude = magnitude_of(&*node.op, &all)?;
    let reduction = reduction(node);
    let terms = match node.op.downcast::<Reduce>() {
        Some(_) => input.value.len() / want.len().max(1),
        None => length,
    } as f64;
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let power = match node.op.downcast::<Pool>().map(|pool| pool.kind) {
        Some(Pooling::Norm { p }) => Some(p as f64),
        _ => None,
    };
    let (smallest, largest) = magnitudes(input)?;
    // Squares and powers on the way, which a result that is normalised again says nothing of.
    let squared = node.op.downcast::<Lrn>().is_some() || node.op.downcast::<Normalization>().is_some();
    let through = |p: f64| leaves_range(terms * largest.powf(p));
    let tiny = terms * f32::MIN_POSITIVE as f64;
    // Partial products, in whatever order.
    let products = terms * largest.ln().max(-smallest.ln()) > (f32::MAX as f64).ln();
    let (mut fixed, mut scaled, mut open) = (Vec::with_capacity(want.len()), Vec::with_capacity(want.len()), Vec::with_capacity(want.len()));
    for (&m, &y) in magnitude.iter().zip(want) {
        let (f, s) = match reduction {
            Some(Reduction::SumSquare) => (2.0 * m, (terms + 2.0) * m),
            Some(Reduction::Prod) => (terms * m, terms * m),
            // Squares that are flushed to 0 move a root by no more than their own.
            Some(Reduction::L2) => (m, (terms + 10.0) * m + tiny.sqrt().min(tiny / m.max(floor(UNIT_F32))) / UNIT_F32),
            Some(Reduction::LogSum) => {
                let ratio = (m - y).exp();
                (ratio, terms * ratio + accuracy::logarithm(y))
            }
            Some(Reduction::LogSumExp) => (2.0 * largest, terms + accuracy::exponential(2.0 * largest.min(100.0)) + accuracy::logarithm(y) + y.abs()),
            // A power and a root of the sum.
            _ if power.is_some() => (m, (terms + 200.0) * m),
            _ => (m, (terms + 5.0) * m),
        };
        let leaves = match reduction {
            Some(Reduction::L2) => leaves_range(m * m),
            Some(Reduction::LogSum) => leaves_range(m.exp()),
            Some(Reduction::LogSumExp) => false,
            Some(Reduction::Mean) => leaves_range(terms * m),
            Some(Reduction::Prod) => products,
            Some(_) => leaves_range(m),
            None => leaves_range(m) || leaves_range(terms * largest) || power.is_some_and(through) || squared && through(2.0),
        };
        let lost = leaves && (squared || reduction == Some(Reduction::Prod));
        fixed.push(if lost { f64::INFINITY } else { input.unit * f + input.apart });
        scaled.push(sides * UNIT_F32 * s);
        open.push(leaves);
    }
    Ok(Allowed::new(fixed, scaled, format!("c·u·{terms}·Σ|x| + storage rounding")).with_open(open))
}
