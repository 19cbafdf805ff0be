//! `--tolerance`: the fewest layers to keep with which every output is near enough.

use super::measure::{Cost, Measures};
use sardonyx::error::Result;
use sardonyx::onnx::quantize::Quantized;
use std::collections::HashSet;

/// A model and what it costs.
pub struct Found {
    pub quantized: Quantized,
    pub error: Cost,
}

/// `all`, which keeps `kept`, where that does; else with more kept, those first that put the outputs off furthest
/// where nothing else is quantised: as few of that order as bisection finds. What a layer puts its own result off
/// by says little of that: an embedding's rows go through everything, and a classifier's through nothing.
pub fn fewest(
    measures: &Measures,
    quantized: &dyn Fn(&HashSet<String>) -> Result<Quantized>,
    kept: HashSet<String>,
    all: Quantized,
    tolerance: Option<f64>,
) -> Result<Found> {
    let error = measures.whole(&all)?;
    let Some(tolerance) = tolerance.filter(|tolerance| error.max_rel > *tolerance) else {
        return Ok(Found { quantized: all, error });
    };
    let nodes: Vec<&String> = all.layers.iter().map(|layer| &layer.node).collect();
    let mut order: Vec<(f64, &String)> = vec![];
    for &node in &nodes {
        let others = nodes.iter().filter(|&&other| other != node).map(|&other| other.clone());
        let alone = quantized(&kept.iter().cloned().chain(others).collect())?;
        order.push((measures.whole(&alone)?.max_rel, node));
    }
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let with = |count: usize| {
        let more = order.iter().take(count).map(|(_, node)| (*node).clone());
        let made = quantized(&kept.iter().cloned().chain(more).collect())?;
        let error = measures.whole(&made)?;
        Ok(Found { quantized: made, error })
    };
    // Keeping `low` is not enough, keeping `high` is.
    let (mut low, mut high) = (0, order.len());
    let mut best = with(high)?;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let found = with(middle)?;
        if found.error.max_rel <= tolerance {
            (high, best) = (middle, found);
        } else {
            low = middle;
        }
    }
    Ok(best)
}
