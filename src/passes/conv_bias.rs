//! *Given* `Conv(x, W, b?) → Add(y, k)`, k a constant of one number for each channel (`[c, 1, …]`), nobody
//! else reading between → *Result* `Conv(x, W, b + k)`.

use super::{fuse_into, only_reader};
use crate::error::Result;
use crate::expression::table;
use crate::graph::{Graph, ValueId};
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
    // By type: what takes a bias by channels, as the first dimension of its weights.
    let plain = node.op.downcast::<Conv>().is_some()
        && node.op.epilogue().is_some_and(|epilogue| epilogue.is_identity());
    let Some(result) = node.outputs.first().copied().flatten().filter(|_| plain) else { return Ok(false) };
    let constant = |id: Option<ValueId>| id.and_then(|id| graph.constant(id));
    let Some(weights) = node.inputs.get(1).copied().and_then(constant) else { return Ok(false) };
    let Some(outer) = only_reader(graph, &graph.uses(), result) else { return Ok(false) };
    let adder = &graph.nodes[outer];
    let is_add = adder
        .op
        .expression()
        .is_some_and(|e| e.steps.len() == 1 && e.steps[0].row == &table::ADD && e.operands == 2);
    let Some(&other) = adder.inputs.iter().find(|&&id| id != Some(result)).filter(|_| is_add) else {
        return Ok(false);
    };
    let Some(k) = constant(other) else { return Ok(false) };
    // Channels are axis 1 of n axes; the constant's must line up with them and repeat over everything else.
    let (rank, Some(&channels)) = (weights.rank(), weights.shape().first()) else { return Ok(false) };
    let Some(from_right) = rank.checked_sub(2) else { return Ok(false) };
    let per_channel = k.len() == channels
        && k.rank() > from_right
        && k.shape()[k.rank() - 1 - from_right] == channels
        && k.rank() <= rank;
    let has_bias = node.inputs.get(2).copied().flatten().is_some();
    let old = if has_bias {
        node.inputs.get(2).copied().and_then(constant).map(Tensor::to_f64s).transpose()?
    } else {
        Some(vec![0.0; channels])
    };
    let Some(old) = old.filter(|_| per_channel) else { return Ok(false) };
    let sum: Vec<f64> = old.iter().zip(k.to_f64s()?).map(|(b, k)| b + k).collect();
    let bias = cast(&Tensor::new([channels], sum)?, weights.dtype(), true)?;
    let name = other.map_or(String::new(), |id| graph.value(id).name.clone());
    let bias = graph.add_constant(&name, bias);
    let node = &mut graph.nodes[index];
    node.inputs.resize(3, None);
    node.inputs[2] = Some(bias);
    fuse_into(graph, index, outer);
    Ok(true)
}
