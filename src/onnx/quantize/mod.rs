//! A model file quantised, in one of three forms:
//!
//! - `blocks`: weights alone, in 8 or 4 bits; products read them in blocks.
//! - `dynamic`: weights in 8 bits, activations quantised by each run (DynamicQuantizeLinear, then
//!   MatMulInteger and ConvInteger).
//! - `qdq`: weights and activations in 8 bits, the latter over ranges that samples gave ([`Ranges`]):
//!   QuantizeLinear and DequantizeLinear around operators of floats.
//!
//! All three are forms that onnxruntime's own tools write, and runs. Graphs within nodes stay as they are.

mod blocks;
mod bytes;
mod candidates;
mod dynamic;
mod edit;
mod marks;
mod qdq;
mod ranges;

pub use blocks::Scheme;
pub use ranges::Ranges;

use super::external::ExternalFiles;
use super::functions::{domain, node_name};
use super::{folder_of, read_proto, tensor_of};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The most bytes of a file: protobuf has no longer messages.
const MOST: u64 = 1 << 31;
/// Operators of a model that was quantised before.
const QUANTIZED: &[&str] = &[
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "QLinearMatMul",
    "QLinearConv",
    "QGemm",
    "QAttention",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
];

/// What is made of a model.
#[derive(Debug, Clone)]
pub enum Form {
    /// Weights in blocks; activations stay floats.
    Weights(Scheme),
    /// Weights in 8 bits, a scale for each column of a product where `per_channel`, and activations that each
    /// run quantises.
    Dynamic { per_channel: bool },
    /// Weights and activations in 8 bits. Weights of convolutions have a scale for each filter from opset 13
    /// on, those of products one for each column where `per_channel`.
    Static { per_channel: bool, ranges: Ranges },
}

/// A tensor by its name in the model as it was, and in the quantised one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub was: String,
    pub is: String,
}

impl Port {
    fn same(name: &str) -> Self {
        Self { was: name.into(), is: name.into() }
    }
}

/// A node that was quantised, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name, or that of its result.
    pub node: String,
    pub op_type: String,
    /// What it computes from, constants left out, and its result. In the quantised model results are those
    /// that a quantisation behind the node gives.
    pub inputs: Vec<Port>,
    pub output: Port,
    /// Of its weights: the sum's length and the results, or rows and a row's length; zeros without weights.
    pub sizes: [usize; 2],
    /// Bytes of its weights before and after.
    pub before: u64,
    pub after: u64,
}

/// A node that could be quantised, but for what a tensor of it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub node: String,
    pub op_type: String,
    pub reason: String,
}

/// A quantised model.
pub struct Quantized {
    /// The ONNX file.
    pub model: Vec<u8>,
    pub layers: Vec<Layer>,
    /// What stays in floats for what samples showed; of [`Form::Static`] alone.
    pub left: Vec<Left>,
}

/// A graph that was rewritten, and what of it.
struct Rewritten {
    graph: GraphProto,
    layers: Vec<Layer>,
    left: Vec<Left>,
}

/// A model file, read once to be quantised in several ways.
pub struct Source {
    proto: ModelProto,
    /// Constants that no input may replace, by name.
    constants: HashMap<String, Tensor>,
}

impl Source {
    /// Reads a model file.
    ///
    /// Errors: a file that can't be read or whose weights can't.
    pub fn read(file: &Path) -> Result<Self> {
        let found = read_proto(file).and_then(|proto| {
            let folder = folder_of(file);
            Self::of(proto, &mut ExternalFiles::new(Some(folder)))
        });
        found.map_err(|error| error.in_file(file))
    }

    fn of(mut proto: ModelProto, files: &mut ExternalFiles) -> Result<Self> {
        let graph = proto.graph.as_mut().ok_or_else(|| Error::model("holds no graph"))?;
        // What an input may replace is no constant.
        let inputs: HashSet<String> = graph.input.iter().map(|input| input.name.clone()).collect();
        let mut constants = HashMap::new();
        for tensor in &mut graph.initializer {
            if tensor.data_location == DataLocation::EXTERNAL.into() {
                let own = tensor_of(tensor, files)?;
                *tensor = super::proto_of(&tensor.name.clone(), &own)?;
            }
            if !inputs.contains(&tensor.name) {
                constants.insert(tensor.name.clone(), tensor_of(tensor, files)?);
            }
        }
        for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
            let held = node.attribute.iter().find(|attribute| attribute.name == "value");
            if let (Some(held), [name]) = (held.and_then(|held| held.t.as_ref()), &node.output[..]) {
                constants.insert(name.clone(), tensor_of(held, files)?);
            }
        }
        Ok(Self { proto, constants })
    }

    fn graph(&self) -> Result<&GraphProto> {
        self.proto.graph.as_ref().ok_or_else(|| Error::model("holds no graph"))
    }

    /// A constant's float32 numbers, where it is such.
    fn floats(&self, name: &str) -> Option<&Tensor> {
        self.constants.get(name).filter(|tensor| tensor.dtype() == DType::F32)
    }

    /// The version of ONNX's operators that the model is of.
    fn opset(&self) -> i64 {
        let own = self.proto.opset_import.iter().filter(|import| domain(&import.domain).is_empty());
        own.map(|import| import.version).max().unwrap_or(1)
    }

    /// Errors where the model is quantised already, or of an older opset than a form needs.
    fn check(&self, least: i64, why: &str) -> Result<()> {
        let mut nodes = self.graph()?.node.iter();
        if let Some(node) = nodes.find(|node| QUANTIZED.contains(&node.op_type.as_str())) {
            return Err(Error::unsupported("has nothing to quantise: it is quantised already")
                .at_node(node_name(node))
                .at_operator(&node.op_type)
                .remedy("quantise the model of floats that it was made of"));
        }
        let opset = self.opset();
        if opset < least {
            return Err(Error::unsupported(format!("is of opset {opset}: {why}")).remedy(format!(
                "export it with opset {} or later, or convert it (onnx.version_converter)",
                least.max(13)
            )));
        }
        Ok(())
    }

    /// Whether weights of a convolution may have a scale for each filter in [`Form::Static`].
    pub fn has_axes(&self) -> bool {
        self.opset() >= 13
    }

    /// Errors where the model can't be brought into a form at all, whatever samples say: one that is
    /// quantised, of an older opset, or without weights. `form` stands for its kind alone.
    pub fn fits(&self, form: &Form) -> Result<()> {
        match form {
            Form::Weights(_) => Ok(()),
            Form::Dynamic { .. } => self.check(11, "DynamicQuantizeLinear is there from opset 11 on"),
            Form::Static { per_channel: false, .. } => {
                self.check(10, "QuantizeLinear is there from opset 10 on")
            }
            Form::Static { per_channel: true, .. } => {
                self.check(13, "--per-channel takes QuantizeLinear with an axis, of opset 13")
            }
        }?;
        if !self.candidates().any(|candidate| form.takes(&candidate)) {
            return Err(self.nothing(form));
        }
        Ok(())
    }

    /// Bytes of the file, weights that lie apart counted.
    pub fn bytes(&self) -> u64 {
        self.proto.compute_size()
    }

    fn candidates(&self) -> impl Iterator<Item = candidates::Candidate> + '_ {
        let nodes = self.proto.graph.as_ref().map(|graph| &graph.node[..]).unwrap_or_default();
        nodes.iter().enumerate().filter_map(|(at, node)| candidates::candidate(at, node, &self.constants))
    }

    fn nothing(&self, form: &Form) -> Error {
        let (what, remedy) = match form {
            Form::Weights(_) => (
                "no product with constant float weights",
                "MatMul and Gemm with constant weights of two axes are quantised, and Gather of them",
            ),
            _ => (
                "no product and no convolution with constant float32 weights",
                "MatMul, Gemm and Conv with constant weights are quantised",
            ),
        };
        Error::unsupported(format!("has nothing to quantise: {what}")).remedy(remedy)
    }

    /// The nodes that may be quantised, in the file's order, with the bytes of their weights as they are; and
    /// those that what samples showed keeps from it.
    ///
    /// Errors: those of [`Source::fits`].
    pub fn layers(&self, form: &Form) -> Result<(Vec<Layer>, Vec<Left>)> {
        self.fits(form)?;
        if let Form::Static { per_channel, ranges } = form {
            let marks = marks::Marks::of(self, *per_channel, ranges, None)?;
            return Ok((marks.layers, marks.left));
        }
        let layers = self.candidates().filter(|candidate| form.takes(candidate)).map(|found| found.layer);
        Ok((layers.collect(), vec![]))
    }

    /// The model with every layer quantised but those of these nodes.
    ///
    /// Errors: a file beyond 2 GiB, more than memory holds; weights that are no numbers, and activations that
    /// were none in any sample.
    pub fn quantized(&self, form: &Form, keep: &HashSet<String>) -> Result<Quantized> {
        let Rewritten { mut graph, layers, left } = match form {
            Form::Weights(scheme) => blocks::rewritten(self, scheme, keep)?,
            Form::Dynamic { per_channel } => dynamic::rewritten(self, *per_channel, keep)?,
            Form::Static { per_channel, ranges } => {
                qdq::rewritten(self, marks::Marks::of(self, *per_channel, ranges, Some(keep))?)?
            }
        };
        edit::drop_unread(&mut graph);
        let mut proto = ModelProto { graph: Some(graph).into(), ..self.around() };
        let own = |import: &OperatorSetIdProto| import.domain == blocks::DOMAIN;
        if matches!(form, Form::Weights(_)) && !layers.is_empty() && !proto.opset_import.iter().any(own) {
            let own = OperatorSetIdProto { domain: blocks::DOMAIN.into(), version: 1, ..Default::default() };
            proto.opset_import.push(own);
        }
        let bytes = proto.compute_size();
        if bytes >= MOST {
            return Err(Error::unsupported(format!(
                "the quantised model takes {bytes} bytes; an ONNX file holds at most 2 GiB"
            ))
            .remedy("choose fewer bits, or keep fewer nodes"));
        }
        let model = proto
            .write_to_bytes()
            .map_err(|problem| Error::internal(format!("the model could not be encoded: {problem}")))?;
        Ok(Quantized { model, layers, left })
    }

    /// The model but for its graph.
    fn around(&self) -> ModelProto {
        let of = &self.proto;
        ModelProto {
            ir_version: of.ir_version,
            opset_import: of.opset_import.clone(),
            producer_name: of.producer_name.clone(),
            producer_version: of.producer_version.clone(),
            domain: of.domain.clone(),
            model_version: of.model_version,
            doc_string: of.doc_string.clone(),
            metadata_props: of.metadata_props.clone(),
            training_info: of.training_info.clone(),
            functions: of.functions.clone(),
            special_fields: of.special_fields.clone(),
            ..Default::default()
        }
    }
}

impl Form {
    /// Whether a node with constant weights is quantised in this form.
    fn takes(&self, candidate: &candidates::Candidate) -> bool {
        match self {
            Self::Weights(_) => candidate.is_matrix(),
            Self::Dynamic { .. } => candidate.dtype == DType::F32 && !candidate.is_depthwise(),
            Self::Static { .. } => candidate.dtype == DType::F32,
        }
    }
}

/// An attribute of a node that is a whole number.
fn int(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}
