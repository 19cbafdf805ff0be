//! *Given* `Conv(x, W, b) → BatchNormalization(scale, bias, mean, var)`, all constant, nobody else reading
//! between → *Result* `Conv(x, W · s, (b − mean) · s + bias)` with `s = scale / √(var + ε)` for each output
//! channel.

use super::{fuse_into, only_reader};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::nn::batch_normalization::BatchNormalization;
use crate::ops::nn::conv::Conv;
use crate::tensor::{Tensor, cast};

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        match fold(graph, index)? {
            true => changed = true,
            false => index += 1,
        }
    }
    Ok(changed)
}

fn fold(graph: &mut Graph, index: usize) -> Result<bool> {
    let node = &graph.nodes[index];
    let uses = graph.uses();
    // By type: the pattern is these two operators.
    let plain = node.op.downcast::<Conv>().is_some()
        && node.op.epilogue().is_some_and(|epilogue| epilogue.is_identity());
    let Some(result) = node.outputs.first().copied().flatten().filter(|_| plain) else { return Ok(false) };
    let Some(outer) = only_reader(graph, &uses, result) else { return Ok(false) };
    let norm = &graph.nodes[outer];
    // By type: see above.
    let Some(op) = norm.op.downcast::<BatchNormalization>() else { return Ok(false) };
    let constant = |id: Option<crate::graph::ValueId>| id.and_then(|id| graph.constant(id));
    let Some(weights) = constant(node.inputs[1]) else { return Ok(false) };
    let has_bias = node.inputs.get(2).copied().flatten().is_some();
    let old_bias = if has_bias { constant(node.inputs[2]) } else { None };
    let statistics: Option<Vec<Vec<f64>>> =
        (1..5).map(|k| constant(norm.inputs[k])?.to_f64s().ok()).collect();
    let Some(statistics) = statistics.filter(|_| !has_bias || old_bias.is_some()) else { return Ok(false) };
    let [scale, bias, mean, variance] = statistics.as_slice() else { return Ok(false) };
    let Some(&channels) = weights.shape().first() else { return Ok(false) };
    if norm.inputs[0] != Some(result) || scale.len() != channels || weights.is_empty() {
        return Ok(false);
    }
    let epsilon = op.epsilon as f64;
    let factor: Vec<f64> =
        scale.iter().zip(variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();
    let old = match old_bias {
        Some(bias) => bias.to_f64s()?,
        None => vec![0.0; channels],
    };
    let new_bias: Vec<f64> = (0..channels).map(|c| (old[c] - mean[c]) * factor[c] + bias[c]).collect();
    let row = weights.len() / channels;
    let new_weights: Vec<f64> =
        weights.to_f64s()?.iter().enumerate().map(|(at, w)| w * factor[at / row]).collect();
    let new_weights = cast(&Tensor::new(weights.shape(), new_weights)?, weights.dtype(), true)?;
    let new_bias = cast(&Tensor::new([channels], new_bias)?, weights.dtype(), true)?;
    let hint = |at: usize| {
        node.inputs
            .get(at)
            .copied()
            .flatten()
            .map_or_else(|| format!("{}.bias", node.name), |id| graph.value(id).name.clone())
    };
    let (w_name, b_name) = (hint(1), hint(2));
    let (w, b) = (graph.add_constant(&w_name, new_weights), graph.add_constant(&b_name, new_bias));
    let node = graph.nodes.get_mut(index).ok_or_else(|| Error::internal("a node went missing"))?;
    node.inputs.resize(3, None);
    (node.inputs[1], node.inputs[2]) = (Some(w), Some(b));
    fuse_into(graph, index, outer);
    Ok(true)
}
