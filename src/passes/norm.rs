//! *Given* a normalisation of the last axis that exporters write out, nobody else reading between
//!
//! ```text
//!  x ─ ReduceMean ─┐
//!  x ───────────── Sub = d ─ d² ─ ReduceMean ─ + ε ─ Sqrt ─┐
//!                  d ───────────────────────────────────── Div ─ × scale ─ + bias ─ y
//! ```
//!
//! → *Result* `LayerNormalization(x, scale, bias)`; the same without the mean and the bias → *Result*
//! `RMSNormalization(x, scale)`. d² is Pow(d, 2) or d · d; the division may be Reciprocal and Mul.

use super::search::{Fusion, Search, everywhere};
use crate::base::{Fact, Reduction};
use crate::error::Result;
use crate::expression::table;
use crate::graph::{Graph, ValueId};
use crate::kernels::normalize::Normalization;
use crate::ops::nn::layer_normalization::LayerNormalization;
use crate::ops::reduce::reduce::Reduce;
use crate::tensor::DType;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    Ok(everywhere(graph, facts, from_variance))
}

/// Begins at the mean of squares.
fn from_variance(search: &Search<'_>, variance: usize) -> Option<Fusion> {
    let squares = mean_of_rows(search, variance)?;
    let square = search.producer(squares).filter(|_| search.uses(squares) == 1)?;
    let d = match (search.step(square)?, &search.graph.nodes[square].inputs[..]) {
        (row, [Some(d), two]) if row == &table::POW && search.number(*two) == Some(2.0) => *d,
        (row, [Some(d), Some(same)]) if row == &table::MUL && d == same => *d,
        _ => return None,
    };
    // With the mean: d is read here and by the division alone.
    let centre = centred(search, d, square);
    let x = centre.map_or(d, |(x, _)| x);
    let mut nodes = centre.map_or(vec![], |(_, nodes)| nodes.to_vec());
    nodes.extend([square, variance]);

    // + ε, the root, and the division.
    let sum =
        search.reader(search.output(variance)?).filter(|&node| search.step(node) == Some(&table::ADD))?;
    let epsilon = search.number(search.other(sum, search.output(variance)?))?;
    let root = search.reader(search.output(sum)?).filter(|&node| search.step(node) == Some(&table::SQRT))?;
    nodes.extend([sum, root]);
    let mut divisor = search.output(root)?;
    let mut divide = search.reader(divisor)?;
    if search.step(divide) == Some(&table::RECIPROCAL) {
        nodes.push(divide);
        divisor = search.output(divide)?;
        divide = search.reader(divisor)?;
        (search.step(divide) == Some(&table::MUL) && search.other(divide, divisor) == Some(d))
            .then_some(())?;
    } else {
        (search.step(divide) == Some(&table::DIV)
            && search.graph.nodes[divide].inputs == [Some(d), Some(divisor)])
        .then_some(())?;
    }
    let scaled =
        search.reader(search.output(divide)?).filter(|&node| search.step(node) == Some(&table::MUL))?;
    let scale = search.other(scaled, search.output(divide)?)?;
    nodes.extend([divide, scaled]);
    let (shape, length) = (&search.fact(x)?.shape, *search.fact(x)?.shape.last()?);
    let vector = |id: ValueId| {
        search
            .fact(id)
            .is_some_and(|fact| fact.shape == [length] && Some(fact.dtype) == search.fact(x).map(|x| x.dtype))
    };
    let dtype = search.fact(x)?.dtype;
    if !vector(scale) || !matches!(dtype, DType::F32 | DType::F16 | DType::F64) {
        return None;
    }
    let mut inputs = vec![Some(x), Some(scale)];
    if centre.is_some() {
        let shifted =
            search.reader(search.output(scaled)?).filter(|&node| search.step(node) == Some(&table::ADD));
        let bias = shifted.and_then(|node| {
            search.other(node, search.output(scaled)?).filter(|&id| vector(id)).map(|id| (node, id))
        });
        if let Some((node, bias)) = bias {
            nodes.push(node);
            inputs.push(Some(bias));
        }
    }
    (search.fact(search.output(*nodes.last()?)?)?.shape == *shape).then_some(())?;
    let how = Normalization { centred: centre.is_some(), epsilon: epsilon as f32 };
    let op_type = if how.centred { "LayerNormalization" } else { "RMSNormalization" };
    Some(Fusion {
        op: Arc::new(LayerNormalization { axis: -1, how, stash: DType::F32 }),
        op_type,
        inputs,
        nodes,
    })
}

/// Where d = x − mean(x), read by its square and one other node alone: x, and the two nodes.
fn centred(search: &Search<'_>, d: ValueId, square: usize) -> Option<(ValueId, [usize; 2])> {
    let subtract = search.producer(d).filter(|&node| search.step(node) == Some(&table::SUB))?;
    let (x, middle) = (search.input(subtract, 0)?, search.input(subtract, 1)?);
    let mean = search.producer(middle).filter(|_| search.uses(middle) == 1)?;
    let own = search.graph.nodes[square].inputs.iter().filter(|id| **id == Some(d)).count();
    (mean_of_rows(search, mean)? == x && search.uses(d) == own + 1).then_some((x, [mean, subtract]))
}

/// The input of a ReduceMean over the last axis, which it keeps.
fn mean_of_rows(search: &Search<'_>, node: usize) -> Option<ValueId> {
    search.operator::<Reduce>(node).filter(|op| op.reduction == Reduction::Mean && op.keep)?;
    let x = search.input(node, 0)?;
    let axis = search.number(search.input(node, 1))?;
    let rank = search.fact(x)?.rank() as f64;
    (axis == -1.0 || axis == rank - 1.0).then_some(x)
}
