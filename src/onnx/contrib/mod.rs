//! onnxruntime's own operators, which its optimiser leaves in models (the domain com.microsoft): each
//! replaced by a body of standard ones, which the rewrites then find as they find an exporter's.
//! FlexAttention is one of them where graphs say what becomes of its scores.
//!
//! [ContribOperators.md](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md) says
//! what each computes.

mod activations;
mod attention;
mod flex_attention;
mod fused;
mod generation;
mod group_query_attention;
mod matmul_nbits;
mod norms;
mod quantized;

use super::bodies;
use super::functions::{domain, node_name};
use crate::error::{Error, Result};
use crate::tensor::DType;
use onnx_protobuf::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType};
use std::collections::HashMap;

/// The operators' version in the bodies.
pub const VERSION: i64 = 24;

/// Writes the body of one operator.
type Write = fn(&mut Body<'_>) -> Result<()>;

/// The operators: domain, name, body.
static OPERATORS: &[(&str, &str, Write)] = &[
    // onnxruntime puts this one among the standard ones.
    ("", "SimplifiedLayerNormalization", norms::simplified),
    ("ai.onnx.preview", "FlexAttention", flex_attention::attention),
    ("com.microsoft", "Attention", attention::attention),
    ("com.microsoft", "BiasGelu", activations::bias_gelu),
    ("com.microsoft", "ConvTransposeWithDynamicPads", fused::conv_transpose_with_dynamic_pads),
    ("com.microsoft", "DequantizeLinear", quantized::dequantize),
    ("com.microsoft", "DynamicQuantizeMatMul", quantized::dynamic_matmul),
    ("com.microsoft", "EmbedLayerNormalization", norms::embed),
    ("com.microsoft", "FastGelu", activations::fast_gelu),
    ("com.microsoft", "FusedConv", fused::conv),
    ("com.microsoft", "FusedGemm", fused::gemm),
    ("com.microsoft", "FusedMatMul", fused::matmul),
    ("com.microsoft", "Gelu", activations::gelu),
    ("com.microsoft", "GroupQueryAttention", group_query_attention::attention),
    ("com.microsoft", "MatMulIntegerToFloat", quantized::matmul_to_float),
    ("com.microsoft", "MatMulNBits", matmul_nbits::product),
    ("com.microsoft", "MultiHeadAttention", attention::multi_head),
    ("com.microsoft", "NGramRepeatBlock", generation::ngram_repeat_block),
    ("com.microsoft", "QAttention", quantized::attention),
    ("com.microsoft", "QGemm", quantized::gemm),
    ("com.microsoft", "QLinearAdd", quantized::add),
    ("com.microsoft", "QLinearAveragePool", quantized::average_pool),
    ("com.microsoft", "QLinearConcat", quantized::concat),
    ("com.microsoft", "QLinearGlobalAveragePool", quantized::global_average_pool),
    ("com.microsoft", "QLinearLeakyRelu", quantized::leaky_relu),
    ("com.microsoft", "QLinearMul", quantized::mul),
    ("com.microsoft", "QLinearSigmoid", quantized::sigmoid),
    ("com.microsoft", "QLinearSoftmax", quantized::softmax),
    ("com.microsoft", "QLinearWhere", quantized::choose),
    ("com.microsoft", "QuantizeLinear", quantized::quantize),
    ("com.microsoft", "QuickGelu", activations::quick_gelu),
    ("com.microsoft", "RotaryEmbedding", attention::rotary),
    ("com.microsoft", "SkipLayerNormalization", norms::skip),
    ("com.microsoft", "SkipSimplifiedLayerNormalization", norms::skip_simplified),
];

/// The operators that are taken apart so: domain and name.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    OPERATORS.iter().map(|row| (row.0, row.1))
}

/// Whether a node has a body though its operator is known: where it holds graphs.
pub fn has_graphs_to_inline(node: &NodeProto) -> bool {
    let here = OPERATORS.iter().any(|row| row.0 == domain(&node.domain) && row.1 == node.op_type);
    here && node.attribute.iter().any(|attribute| attribute.g.is_some())
}

/// Whether a node has a body though its operator is known: a product with weights of few bits that are made
/// by the model, which then run as what makes them.
pub fn varies(node: &NodeProto, known: &dyn Fn(&str) -> Known) -> bool {
    let weights = node.input.iter().skip(1).take(4).filter(|name| !name.is_empty());
    domain(&node.domain) == "com.microsoft"
        && node.op_type == "MatMulNBits"
        && !weights.into_iter().all(|name| known(name).constant)
}

/// What a model declares of a value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// The number of its axes.
    pub rank: Option<usize>,
    pub dtype: Option<DType>,
    /// The number of elements of a constant.
    pub length: Option<usize>,
    /// The size of the last axis of a constant.
    pub last: Option<usize>,
    /// Whether it is one.
    pub constant: bool,
}

/// The body of a node, if it is one of these. `fresh` makes value names that aren't taken; `known` is what is
/// declared of a value.
///
/// Errors: a form that has no body here, an attribute that isn't known.
pub fn body(
    node: &NodeProto,
    fresh: &mut dyn FnMut(String) -> String,
    known: &dyn Fn(&str) -> Known,
) -> Option<Result<Written>> {
    let (.., write) = OPERATORS.iter().find(|row| row.0 == domain(&node.domain) && row.1 == node.op_type)?;
    let mut body =
        Body { node, fresh, known, read: vec![], given: HashMap::new(), written: Written::default() };
    Some(write(&mut body).and_then(|()| body.finish()))
}

/// What stands for a node.
#[derive(Default)]
pub struct Written {
    pub nodes: Vec<NodeProto>,
    /// Outputs of the node that are known to have so many axes.
    pub ranks: Vec<(String, usize)>,
    /// Whether nodes among them are the model's, so that its operator sets hold, not [`VERSION`].
    pub around: bool,
}

/// A body in the making.
struct Body<'a> {
    node: &'a NodeProto,
    fresh: &'a mut dyn FnMut(String) -> String,
    known: &'a dyn Fn(&str) -> Known,
    /// Attributes that were asked for.
    read: Vec<&'static str>,
    /// Values of the body that are the node's outputs: their names there and here.
    given: HashMap<String, String>,
    written: Written,
}

impl Body<'_> {
    /// An input's name; empty where it is left out.
    fn input(&self, index: usize) -> String {
        self.node.input.get(index).cloned().unwrap_or_default()
    }
    fn has(&self, index: usize) -> bool {
        self.node.input.get(index).is_some_and(|name| !name.is_empty())
    }
    fn required(&self, index: usize) -> Result<String> {
        if self.has(index) {
            Ok(self.input(index))
        } else {
            Err(Error::model(format!("input {index} is missing")))
        }
    }
    /// Errors where an input that has no meaning here is given.
    fn refuse(&self, index: usize, what: &str) -> Result<()> {
        if self.has(index) {
            Err(Error::unsupported(format!("input {index}, {what}")).remedy(UNOPTIMISED))
        } else {
            Ok(())
        }
    }
    /// Whether anything asks for an output.
    fn wants(&self, index: usize) -> bool {
        self.node.output.get(index).is_some_and(|name| !name.is_empty())
    }
    /// The number of axes that a value is declared to have.
    fn rank(&self, name: &str) -> Result<usize> {
        let unknown = || {
            Error::unsupported("the model doesn't say how many axes it has")
                .at_tensor(name)
                .remedy(UNOPTIMISED)
        };
        (self.known)(name).rank.ok_or_else(unknown)
    }
    fn attribute(&mut self, name: &'static str) -> Option<&AttributeProto> {
        self.read.push(name);
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }
    fn int(&mut self, name: &'static str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }
    fn float(&mut self, name: &'static str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.f)
    }
    fn text(&mut self, name: &'static str) -> String {
        self.attribute(name)
            .map(|attribute| String::from_utf8_lossy(&attribute.s).into_owned())
            .unwrap_or_default()
    }
    /// An attribute that may only have one value here.
    fn only(&mut self, name: &'static str, value: i64) -> Result<()> {
        let found = self.int(name, value);
        if found == value {
            Ok(())
        } else {
            Err(Error::unsupported(format!("{name} = {found}")).remedy(UNOPTIMISED))
        }
    }
    /// An attribute as the node has it, for a node of the body.
    fn passed(&mut self, name: &'static str) -> Option<AttributeProto> {
        self.attribute(name).cloned()
    }

    /// Adds a node; the names of its outputs.
    fn nodes(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        outputs: usize,
    ) -> Vec<String> {
        let hint = format!("{}/{op_type}", node_name(self.node));
        let made: Vec<String> = (0..outputs).map(|_| (self.fresh)(hint.clone())).collect();
        // Inputs that are left out at the end aren't written.
        let count = inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        let input = inputs[..count].iter().map(|name| name.to_string()).collect();
        let name = made.first().cloned().unwrap_or(hint);
        self.written.nodes.push(NodeProto {
            name,
            op_type: op_type.into(),
            input,
            output: made.clone(),
            attribute: attributes,
            ..Default::default()
        });
        made
    }
    fn with(&mut self, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.nodes(op_type, inputs, attributes, 1).swap_remove(0)
    }
    fn op(&mut self, op_type: &str, inputs: &[&str]) -> String {
        self.with(op_type, inputs, vec![])
    }
    /// The nodes of a graph, for these inputs, with names of their own; the names of its outputs.
    fn graph(&mut self, graph: &GraphProto, inputs: &[&str]) -> Vec<String> {
        let hint = node_name(self.node).to_string();
        let mut names: HashMap<String, String> = HashMap::new();
        for (input, given) in graph.input.iter().zip(inputs) {
            names.insert(input.name.clone(), given.to_string());
        }
        let constants = graph.initializer.iter().map(|tensor| NodeProto {
            op_type: "Constant".into(),
            output: vec![tensor.name.clone()],
            attribute: vec![AttributeProto {
                name: "value".into(),
                t: Some(tensor.clone()).into(),
                type_: AttributeType::TENSOR.into(),
                ..Default::default()
            }],
            ..Default::default()
        });
        let nodes: Vec<NodeProto> = constants.chain(graph.node.iter().cloned()).collect();
        for name in nodes.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty()) {
            let fresh = (self.fresh)(format!("{hint}/{name}"));
            names.insert(name.clone(), fresh);
        }
        // What is neither made nor given lies around the node.
        let own = |name: &String| names.get(name).unwrap_or(name).clone();
        for mut node in nodes {
            let attributes = std::mem::take(&mut node.attribute).into_iter();
            let attributes =
                attributes.map(|attribute| bodies::renamed(attribute, &names, &|a| Some(a.clone())));
            self.written.nodes.push(NodeProto {
                name: if node.name.is_empty() { String::new() } else { format!("{hint}/{}", node.name) },
                input: node.input.iter().map(own).collect(),
                output: node.output.iter().map(own).collect(),
                attribute: attributes.collect(),
                ..node
            });
        }
        self.written.around = true;
        graph.output.iter().map(|output| own(&output.name)).collect()
    }
    /// A number in the type of a value.
    fn number(&mut self, value: f32, like: &str) -> String {
        let number = self.with("Constant", &[], vec![float("value_float", value)]);
        // A float32 constant is seen by the rewrites that need no types.
        if (self.known)(like).dtype == Some(DType::F32) {
            number
        } else {
            self.op("CastLike", &[&number, like])
        }
    }
    fn list(&mut self, values: &[i64]) -> String {
        self.with("Constant", &[], vec![ints("value_ints", values)])
    }
    /// A sum with an input of the node, where that is given.
    fn plus(&mut self, value: String, index: usize) -> String {
        if self.has(index) { self.op("Add", &[&value, &self.input(index)]) } else { value }
    }
    /// Makes a value of the body an output of the node.
    fn give(&mut self, index: usize, value: String) {
        if self.wants(index) {
            self.given.insert(value, self.node.output[index].clone());
        }
    }

    /// The same of an output with so many axes, whatever its input has.
    fn give_of_rank(&mut self, index: usize, value: String, rank: usize) {
        if self.wants(index) {
            self.written.ranks.push((self.node.output[index].clone(), rank));
        }
        self.give(index, value);
    }

    fn finish(mut self) -> Result<Written> {
        if let Some(unread) =
            self.node.attribute.iter().find(|attribute| !self.read.contains(&attribute.name.as_str()))
        {
            return Err(
                Error::unsupported(format!("attribute '{}' is not known", unread.name)).remedy(UNOPTIMISED)
            );
        }
        let made: Vec<&String> = self.written.nodes.iter().flat_map(|node| &node.output).collect();
        if let Some(missing) = self
            .node
            .output
            .iter()
            .find(|name| !name.is_empty() && !self.given.values().any(|given| given == *name))
        {
            return Err(Error::unsupported("this output of the operator isn't made")
                .at_tensor(missing)
                .remedy(UNOPTIMISED));
        }
        debug_assert!(
            self.given.keys().all(|name| made.contains(&name)),
            "an output that no node of the body makes"
        );
        for node in &mut self.written.nodes {
            // What makes the first output goes by the node's own name.
            if node
                .output
                .iter()
                .any(|name| self.given.get(name).is_some_and(|given| Some(given) == self.node.output.first()))
            {
                node.name = node_name(self.node).to_string();
            }
            for name in node.input.iter_mut().chain(&mut node.output) {
                if let Some(given) = self.given.get(name) {
                    *name = given.clone();
                }
            }
        }
        Ok(self.written)
    }
}

/// What helps where a body has no such form.
const UNOPTIMISED: &str = "export the model without onnxruntime's own optimisations";

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f: value, type_: AttributeType::FLOAT.into(), ..Default::default() }
}
fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, type_: AttributeType::INT.into(), ..Default::default() }
}
fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: values.to_vec(),
        type_: AttributeType::INTS.into(),
        ..Default::default()
    }
}
fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        s: value.as_bytes().to_vec(),
        type_: AttributeType::STRING.into(),
        ..Default::default()
    }
}
