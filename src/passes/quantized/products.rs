//! *Given* `DequantizeLinear(x), DequantizeLinear(w) → Conv, MatMul or Gemm → (Relu →) QuantizeLinear`, nobody
//! else reading between → *Result* QLinearConv or QLinearMatMul. A bias has to be in units of the scales'
//! product, as quantisers write it.

use super::super::only_reader;
use super::super::search::Fusion;
use super::{Dequantize, Quantize, Scaling};
use crate::error::Result;
use crate::expression::table;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::Operator;
use crate::ops::matrix::gemm::Gemm;
use crate::ops::matrix::matmul::MatMul;
use crate::ops::nn::conv::Conv;
use crate::ops::quantized::dequantize_linear::DequantizeLinear;
use crate::ops::quantized::qlinear_conv::QLinearConv;
use crate::ops::quantized::qlinear_matmul::QLinearMatMul;
use crate::ops::quantized::requantize::Beyond;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// Products of two bytes less their zero points whose sum stays below 2³¹.
const MOST_TERMS: usize = 1 << 15;

pub(super) fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        match fused(graph, index) {
            Some(behind) => {
                index = behind;
                changed = true;
            }
            None => index += 1,
        }
    }
    Ok(changed)
}

/// Makes one node of the QuantizeLinear at an index and of what comes before; returns the index behind it.
fn fused(graph: &mut Graph, index: usize) -> Option<usize> {
    let quantize = Quantize::at(graph, index)?;
    let (makers, uses) = (graph.producers(), graph.uses());
    let only = |value: ValueId, reader: usize| only_reader(graph, &uses, value) == Some(reader);
    let mut between = vec![];
    let (mut value, mut reader) = (quantize.from, quantize.node);
    let mut maker = *makers.get(&value)?;
    let relu = is_relu(&graph.nodes[maker]) && only(value, reader);
    if relu {
        between.push(maker);
        (value, reader) = (graph.nodes[maker].inputs.first().copied()??, maker);
        maker = *makers.get(&value)?;
    }
    if !only(value, reader) {
        return None;
    }
    between.push(maker);
    let Made { op, op_type, mut inputs, weights } =
        by_integers(graph, &makers, &graph.nodes[maker], &quantize.scaling, relu)?;
    if let (Some(weights), Some(Some(w))) = (weights, inputs.get(3).copied()) {
        let name = format!("{}.transposed", graph.value(w).name);
        inputs[3] = Some(graph.add_constant(&name, weights));
    }
    let nodes = between.into_iter().rev().chain([index]).collect();
    Some(Fusion { op, op_type, inputs, nodes }.apply(graph))
}

/// The operator on integers, its name and its inputs.
struct Made {
    op: Arc<dyn Operator>,
    op_type: &'static str,
    inputs: Vec<Option<ValueId>>,
    /// In the place of input 3, where the weights lie the other way round.
    weights: Option<Tensor>,
}

fn by_integers(
    graph: &Graph,
    makers: &HashMap<ValueId, usize>,
    node: &Node,
    result: &Scaling,
    relu: bool,
) -> Option<Made> {
    let beyond = Beyond { exact: true, relu };
    let input = |index: usize| node.inputs.get(index).copied().flatten();
    let plain = node.op.epilogue().is_some_and(|epilogue| epilogue.is_identity());
    let x = Dequantize::plain(graph, makers, input(0)?).filter(|_| plain)?;
    let w = Dequantize::of(graph, makers, input(1)?).filter(|w| bytes(graph, &w.scaling))?;
    let mut inputs: Vec<Option<ValueId>> = [x.from, x.scaling.scale, x.scaling.zero]
        .into_iter()
        .chain([w.from, w.scaling.scale, w.scaling.zero, result.scale, result.zero])
        .map(Some)
        .collect();
    let (scales, zeros) = (graph.constant(w.scaling.scale)?, graph.constant(w.scaling.zero)?);
    // By type: these are the operators that have a form on integers.
    if let Some(conv) = node.op.downcast::<Conv>() {
        let &[filters, channels, ref kernel @ ..] = graph.constant(w.from)?.shape() else { return None };
        let terms = kernel.iter().fold(channels, |all, &size| all.saturating_mul(size));
        // A filter to a group of channels is no product of matrices; one to a channel has a loop of its own.
        let depthwise = conv.is_depthwise(graph.constant(w.from)?.shape());
        if terms > MOST_TERMS || conv.groups == 0 || filters / conv.groups < 2 && !depthwise {
            return None;
        }
        let by_filter = scales.len() == filters && w.axis == 0 && zeros.len() == scales.len();
        if !by_filter && !w.scaling.is_plain(graph) {
            return None;
        }
        if let Some(bias) = input(2) {
            inputs.push(Some(whole_bias(graph, makers, bias, [&x.scaling, &w.scaling])?));
        }
        let op = QLinearConv { conv: conv.clone(), beyond };
        return Some(Made { op: Arc::new(op), op_type: "QLinearConv", inputs, weights: None });
    }
    // By type: the others of these.
    let transposed = match (node.op.downcast::<MatMul>(), node.op.downcast::<Gemm>()) {
        (Some(_), _) => false,
        (_, Some(gemm)) if gemm.alpha == 1.0 && gemm.beta == 1.0 && !gemm.trans_a => gemm.trans_b,
        _ => return None,
    };
    let codes = graph.constant(w.from)?;
    let &[rows, columns] = codes.shape() else { return None };
    let (terms, columns) = if transposed { (columns, rows) } else { (rows, columns) };
    let along = if transposed { matches!(w.axis, 0 | -2) } else { matches!(w.axis, 1 | -1) };
    let by_column = scales.len() == columns && along && zeros.len() == scales.len();
    if terms > MOST_TERMS || !by_column && !w.scaling.is_plain(graph) {
        return None;
    }
    // Of a Gemm: a MatMul has no third input.
    if let Some(bias) = input(2) {
        let bias = whole_bias(graph, makers, bias, [&x.scaling, &w.scaling])?;
        graph.constant(bias).filter(|list| list.len() == columns)?;
        inputs.push(Some(bias));
    }
    let weights = match transposed {
        true => Some(codes.strided(vec![terms, columns], &[1, terms], 0).ok()?),
        false => None,
    };
    Some(Made { op: Arc::new(QLinearMatMul { beyond }), op_type: "QLinearMatMul", inputs, weights })
}

/// Whether zero points are of 8 bits.
fn bytes(graph: &Graph, scaling: &Scaling) -> bool {
    graph.constant(scaling.zero).is_some_and(|zero| matches!(zero.dtype(), DType::U8 | DType::I8))
}

/// The int32 of a bias that is in units of x's scale times w's.
fn whole_bias(
    graph: &Graph,
    makers: &HashMap<ValueId, usize>,
    bias: ValueId,
    of: [&Scaling; 2],
) -> Option<ValueId> {
    let node = graph.nodes.get(*makers.get(&bias)?)?;
    // By type: the pattern itself.
    let op = node.op.downcast::<DequantizeLinear>()?;
    let from = node.inputs.first().copied()??;
    let constant = |id: Option<ValueId>| id.and_then(|id| graph.constant(id));
    let list = |tensor: &Tensor| tensor.as_slice::<f32>().ok().map(<[f32]>::to_vec);
    let own = constant(node.inputs.get(1).copied()?).and_then(list)?;
    let zero = node.inputs.get(2).copied().flatten();
    let zeros = zero.map_or(Some(vec![]), |id| graph.constant(id)?.to_f64s().ok())?;
    let integers = graph.constant(from)?;
    let plain = op.granularity.block == 0
        && op.to.is_none_or(|to| to == DType::F32)
        && integers.dtype() == DType::I32
        && integers.rank() == 1
        && zeros.iter().all(|&zero| zero == 0.0);
    let (x, w) = (constant(Some(of[0].scale)).and_then(list)?, constant(Some(of[1].scale)).and_then(list)?);
    // A scale of the product may be rounded, by float32's half a unit at each end.
    let near = |at: usize| {
        let pick = |list: &[f32]| list.get(if list.len() == 1 { 0 } else { at }).copied().map(f64::from);
        let (Some(own), Some(x), Some(w)) = (pick(&own), pick(&x), pick(&w)) else { return false };
        (own - x * w).abs() <= f64::from(f32::EPSILON) * (x * w).abs()
    };
    (plain && (0..own.len().max(w.len())).all(near)).then_some(from)
}

fn is_relu(node: &Node) -> bool {
    node.op.expression().is_some_and(|e| e.steps.len() == 1 && e.steps[0].row == &table::RELU)
}
