//! Weights in 8 bits and activations that each run quantises, as onnxruntime's `quantize_dynamic` writes them.
//!
//! *Given* `y = MatMul(x, W)` → *Result* `xq, xs, xz = DynamicQuantizeLinear(x); y = Cast(MatMulInteger(xq, Wq, xz,
//! Wz)) · (xs · Ws)`. Gemm is that and its bias, W the other way round where it was transposed. Conv is the same
//! with ConvInteger, whose weights have one scale, as onnxruntime's kernel takes them; a
//! convolution with a filter to a group stays in floats. A table that rows are gathered from is uint8 with one
//! scale; products read the rows as they are, DequantizeLinear gives them to whatever else reads them.
//!
//! All weights are uint8. Where a CPU has no instructions for sums of bytes, onnxruntime's kernel of uint8 by int8
//! saturates the sum of two products at 16 bits; that of uint8 by uint8 is exact everywhere.

use super::bytes::{Choice, Codes};
use super::candidates::{Candidate, Kind};
use super::edit::{Edit, int};
use super::{Layer, Rewritten, Source};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use onnx_protobuf::NodeProto;
use std::collections::{HashMap, HashSet};

/// What the rewriting has made so far.
struct Writer<'a> {
    source: &'a Source,
    per_channel: bool,
    edit: Edit,
    /// Integers, scale and zero point of activations, by name.
    activations: HashMap<String, [String; 3]>,
    /// Codes, scales and zero points of weights, and their bytes, by name and by how they are read.
    weights: HashMap<(String, u8), ([String; 3], u64)>,
}

/// The graph with every layer quantised but those of these nodes.
pub fn rewritten(source: &Source, per_channel: bool, keep: &HashSet<String>) -> Result<Rewritten> {
    let mut graph = source.graph()?.clone();
    let (activations, weights) = (HashMap::new(), HashMap::new());
    let mut writer = Writer { source, per_channel, edit: Edit::of(&graph), activations, weights };
    let wanted = |candidate: &Candidate| {
        candidate.dtype == DType::F32 && !candidate.is_depthwise() && !keep.contains(&candidate.layer.node)
    };
    let mut wanted: HashMap<usize, Candidate> =
        source.candidates().filter(wanted).map(|candidate| (candidate.at, candidate)).collect();
    let mut layers = vec![];
    for (at, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        match wanted.remove(&at) {
            Some(candidate) => {
                let named = |error: Error| error.at_node(&candidate.layer.node).at_operator(&node.op_type);
                let after = writer.layer(&node, &candidate).map_err(named)?;
                layers.push(Layer { after, ..candidate.layer });
            }
            None => writer.edit.nodes.push(node),
        }
    }
    Ok(Rewritten { graph: writer.edit.applied(graph), layers, left: vec![] })
}

impl Writer<'_> {
    /// Writes a node's integer form; returns the bytes of its weights.
    fn layer(&mut self, node: &NodeProto, candidate: &Candidate) -> Result<u64> {
        let ([codes, scale, zero], bytes) = self.weights(candidate)?;
        let mut name = candidate.layer.node.clone();
        let x = candidate.layer.inputs.first().map(|input| input.is.clone()).unwrap_or_default();
        let y = candidate.layer.output.is.clone();
        let edit = &mut self.edit;
        if candidate.kind == Kind::Gather {
            let rows = edit.fresh(&format!("{y}_quantized"));
            let gather = edit.node_to("Gather", &format!("{name}_quant"), &[&codes, &x], &[&rows]);
            gather.attribute = node.attribute.clone();
            let back = format!("{y}_DequantizeLinear");
            edit.node_to("DequantizeLinear", &back, &[&rows, &scale, &zero], &[&y]);
            self.activations.insert(y, [rows, scale, zero]);
            return Ok(bytes);
        }
        let [xq, xs, xz] = self.activation(&x);
        let edit = &mut self.edit;
        let bias = node.input.get(2).filter(|bias| !bias.is_empty());
        let gemm = matches!(candidate.kind, Kind::Gemm { .. });
        let mut product = y.clone();
        if gemm {
            name.push_str("_MatMul");
            product.push_str("_MatMul");
        }
        let sums = edit.fresh(&format!("{product}_output_quantized"));
        let conv = matches!(candidate.kind, Kind::Conv { .. });
        let op_type = if conv { "ConvInteger" } else { "MatMulInteger" };
        let made = edit.node_to(op_type, &format!("{name}_quant"), &[&xq, &codes, &xz, &zero], &[&sums]);
        if conv {
            made.attribute = node.attribute.clone();
        }
        let floats = edit.fresh(&format!("{sums}_cast_output"));
        let cast = edit.node_to("Cast", &format!("{sums}_cast"), &[&sums], &[&floats]);
        cast.attribute = vec![int("to", i64::from(DType::F32.onnx()))];
        let scales = format!("{name}_quant_scales_mul");
        let scales = edit.node("Mul", &scales, &[&xs, &scale], &format!("{scales}_output"));
        let last = format!("{name}_quant_output_scale_mul");
        let Some(bias) = bias else {
            edit.node_to("Mul", &last, &[&floats, &scales], &[&y]);
            return Ok(bytes);
        };
        let scaled = if gemm { product } else { format!("{y}_quant_scaled_output") };
        let scaled = edit.node("Mul", &last, &[&floats, &scales], &scaled);
        let mut bias = bias.clone();
        if conv {
            // [F] as [1, F, 1, …].
            let rank = self.source.constants.get(&candidate.weights).map_or(1, Tensor::rank);
            let shape = Tensor::int64s((0..rank).map(|axis| if axis == 1 { -1 } else { 1 }));
            let shape = edit.constant(&format!("{y}_bias_reshape_shape"), &shape)?;
            let to = format!("{y}_bias_reshape");
            bias = edit.node("Reshape", &to, &[&bias, &shape], &format!("{to}_output"));
        }
        edit.node_to("Add", &format!("{y}_bias_add"), &[&scaled, &bias], &[&y]);
        Ok(bytes)
    }

    /// An activation's integers, scale and zero point, made once for all that read it.
    fn activation(&mut self, x: &str) -> [String; 3] {
        if let Some(names) = self.activations.get(x) {
            return names.clone();
        }
        let names = ["quantized", "scale", "zero_point"].map(|what| self.edit.fresh(&format!("{x}_{what}")));
        let results = names.each_ref().map(String::as_str);
        self.edit.node_to("DynamicQuantizeLinear", &format!("{x}_QuantizeLinear"), &[x], &results);
        self.activations.insert(x.to_string(), names.clone());
        names
    }

    /// A layer's weights, coded once for all that read them in the same way.
    fn weights(&mut self, candidate: &Candidate) -> Result<([String; 3], u64)> {
        let transposed = candidate.kind == Kind::Gemm { transposed: true };
        let product = candidate.is_matrix() && candidate.kind != Kind::Gather;
        let key = (candidate.weights.clone(), u8::from(transposed) + 2 * u8::from(product));
        if let Some(found) = self.weights.get(&key) {
            return Ok(found.clone());
        }
        let name = &candidate.weights;
        let floats = self.source.floats(name).ok_or_else(|| Error::internal("weights went missing"))?;
        let (floats, codes_name) = match (transposed, floats.shape()) {
            (true, &[n, k]) => (floats.strided(vec![k, n], &[1, k], 0)?, format!("{name}_Transposed")),
            _ => (floats.clone(), name.clone()),
        };
        let axis = (product && self.per_channel).then_some(1);
        let codes = Codes::of(&floats, &Choice { signed: false, axis, least: &[] })
            .map_err(|error| error.at_tensor(name))?;
        let found = (self.edit.codes(&codes_name, &codes)?, codes.bytes());
        self.weights.insert(key, found.clone());
        Ok(found)
    }
}
