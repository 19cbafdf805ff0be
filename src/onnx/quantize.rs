//! A model file with its weights in 8 or 4 bits: products with constant weights become MatMulNBits,
//! embeddings that rows are gathered from GatherBlockQuantized, both of onnxruntime's domain. Activations
//! stay floats.
//!
//! Each block of a column has a scale and a zero point: its codes reach from its least weight (at most 0) to
//! its largest (at least 0), so that 0 stays 0.

use super::external::ExternalFiles;
use super::functions::node_name;
use super::{bodies, folder_of, read_proto, tensor_of};
use crate::base::WeightLayout;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, cast, element_count, zeros};
use crate::threads::chunks;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The domain of the operators.
const DOMAIN: &str = "com.microsoft";
/// The most bytes of a file: protobuf has no longer messages.
const MOST: u64 = 1 << 31;

/// How weights are quantised.
#[derive(Debug, Clone)]
pub struct Scheme {
    /// 4 or 8.
    pub bits: usize,
    /// Weights that share a scale and a zero point: a power of two from 16 on.
    pub block: usize,
}

impl Scheme {
    /// Errors: other numbers than those above.
    pub fn new(bits: usize, block: usize) -> Result<Self> {
        if ![4, 8].contains(&bits) {
            return Err(Error::usage(format!("weights of {bits} bits")).remedy("choose 4 or 8"));
        }
        if !WeightLayout::supports(bits, block) {
            return Err(Error::usage(format!("blocks of {block} weights"))
                .remedy("choose a power of two from 16 on: 32 or 128, say"));
        }
        Ok(Self { bits, block })
    }
}

/// A node that was quantised, or may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name, or that of its result.
    pub node: String,
    pub op_type: String,
    /// What it multiplies or is indexed by, and its result.
    pub input: String,
    pub output: String,
    /// Rows and columns of its weights: the sum's length and the results, or rows and a row's length.
    pub sizes: [usize; 2],
    /// Bytes of its weights before and after.
    pub before: u64,
    pub after: u64,
}

/// A quantised model.
pub struct Quantized {
    /// The ONNX file.
    pub model: Vec<u8>,
    pub layers: Vec<Layer>,
}

/// A model file, read once to be quantised in several ways.
pub struct Source {
    proto: ModelProto,
    /// Weights of at least two axes that nodes read, by name.
    weights: HashMap<String, Tensor>,
    candidates: Vec<Candidate>,
}

/// A node whose weights are constant.
struct Candidate {
    /// Its place among the graph's nodes.
    at: usize,
    kind: Kind,
    weights: String,
    layer: Layer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// `[k, n]`.
    MatMul,
    /// `[n, k]` where transposed, and perhaps a bias.
    Gemm { transposed: bool },
    /// `[rows, width]`.
    Gather,
}

impl Source {
    /// Reads a model file.
    ///
    /// Errors: a file that can't be read or whose weights can't, one without a layer to quantise.
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
        let mut weights = HashMap::new();
        for tensor in &mut graph.initializer {
            if tensor.data_location == DataLocation::EXTERNAL.into() {
                let own = tensor_of(tensor, files)?;
                *tensor = super::proto_of(&tensor.name.clone(), &own)?;
            }
            if !inputs.contains(&tensor.name) && tensor.dims.len() <= 2 {
                weights.insert(tensor.name.clone(), tensor_of(tensor, files)?);
            }
        }
        for node in graph.node.iter().filter(|node| node.op_type == "Constant") {
            let held = node.attribute.iter().find(|attribute| attribute.name == "value");
            if let (Some(held), [name]) = (held.and_then(|held| held.t.as_ref()), &node.output[..]) {
                weights.insert(name.clone(), tensor_of(held, files)?);
            }
        }
        let candidates: Vec<Candidate> =
            (0..graph.node.len()).filter_map(|at| candidate(at, &graph.node[at], &weights)).collect();
        if candidates.is_empty() {
            return Err(Error::unsupported(
                "has nothing to quantise: no product with constant float weights",
            )
            .remedy("MatMul and Gemm with constant weights of two axes are quantised, and Gather of them"));
        }
        Ok(Self { proto, weights, candidates })
    }

    /// Bytes of the file, weights that lie apart counted.
    pub fn bytes(&self) -> u64 {
        self.proto.compute_size()
    }

    /// The nodes that may be quantised, in the file's order, with the bytes of their weights as they are.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.candidates.iter().map(|candidate| &candidate.layer)
    }

    /// The model with every layer quantised but those of these nodes.
    ///
    /// Errors: a file beyond 2 GiB, more than memory holds.
    pub fn quantized(&self, scheme: &Scheme, keep: &HashSet<String>) -> Result<Quantized> {
        let mut proto = self.proto.clone();
        let graph = proto.graph.as_mut().ok_or_else(|| Error::model("holds no graph"))?;
        let mut taken: HashSet<String> = names(graph);
        // Tied weights are quantised once for all that read them in the same way.
        let mut made: HashMap<(String, bool, bool), [String; 3]> = HashMap::new();
        let mut layers = vec![];
        for candidate in self.candidates.iter().filter(|candidate| !keep.contains(&candidate.layer.node)) {
            let by_rows =
                candidate.kind != Kind::MatMul && candidate.kind != (Kind::Gemm { transposed: false });
            let weights = self
                .weights
                .get(&candidate.weights)
                .ok_or_else(|| Error::internal("weights went missing"))?;
            let codes = Codes::of(weights, by_rows, scheme)?;
            let after = codes.bytes();
            let key = (candidate.weights.clone(), by_rows, candidate.kind == Kind::Gather);
            let names = match made.get(&key) {
                Some(names) => names.clone(),
                None => {
                    let own = ["quantized", "scales", "zero_points"]
                        .map(|kind| fresh(&mut taken, &format!("{}_{kind}", candidate.weights)));
                    graph.initializer.extend(codes.tensors(&own, candidate.kind == Kind::Gather)?);
                    made.insert(key, own.clone());
                    own
                }
            };
            let node =
                graph.node.get_mut(candidate.at).ok_or_else(|| Error::internal("a node went missing"))?;
            rewrite(node, candidate, names, scheme);
            layers.push(Layer { after, ..candidate.layer.clone() });
        }
        if !layers.is_empty() && !proto.opset_import.iter().any(|import| import.domain == DOMAIN) {
            let own = OperatorSetIdProto { domain: DOMAIN.into(), version: 1, ..Default::default() };
            proto.opset_import.push(own);
        }
        let graph = proto.graph.as_mut().ok_or_else(|| Error::model("holds no graph"))?;
        drop_unread(graph);
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
        Ok(Quantized { model, layers })
    }
}

fn candidate(at: usize, node: &NodeProto, weights: &HashMap<String, Tensor>) -> Option<Candidate> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    let int = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map(|a| a.i);
    let float = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map(|a| a.f);
    let (kind, of, by) = match node.op_type.as_str() {
        "MatMul" => (Kind::MatMul, 1, 0),
        "Gemm" => {
            let one = |name: &str| float(name).is_none_or(|factor| factor == 1.0);
            let bias = node.input.get(2).filter(|name| !name.is_empty());
            let row = |name: &String| weights.get(name).is_some_and(|bias| bias.rank() == 1);
            if int("transA").unwrap_or(0) != 0 || !one("alpha") || !one("beta") || !bias.is_none_or(row) {
                return None;
            }
            (Kind::Gemm { transposed: int("transB").unwrap_or(0) != 0 }, 1, 0)
        }
        "Gather" if int("axis").unwrap_or(0) == 0 => (Kind::Gather, 0, 1),
        _ => return None,
    };
    let name = node.input.get(of)?;
    let tensor = weights.get(name)?;
    let &[rows, columns] = tensor.shape() else { return None };
    if !matches!(tensor.dtype(), DType::F32 | DType::F16) || rows == 0 || columns == 0 {
        return None;
    }
    let sizes = if kind == (Kind::Gemm { transposed: true }) { [columns, rows] } else { [rows, columns] };
    // A bias of one number for all columns is none of MatMulNBits.
    if let (Kind::Gemm { .. }, Some(bias)) = (kind, node.input.get(2).and_then(|name| weights.get(name)))
        && bias.len() != sizes[1]
    {
        return None;
    }
    // A table of a few rows is an array of numbers, not an embedding; and a row ends with a whole byte.
    if kind == Kind::Gather && (columns < 16 || rows < 16 || !columns.is_multiple_of(2)) {
        return None;
    }
    let bytes = tensor.bytes().len() as u64;
    let layer = Layer {
        node: node_name(node).to_string(),
        op_type: node.op_type.clone(),
        input: node.input.get(by)?.clone(),
        output: node.output.first()?.clone(),
        sizes,
        before: bytes,
        after: bytes,
    };
    Some(Candidate { at, kind, weights: name.clone(), layer })
}

/// Weights `[n, k]` as codes, scales and zero points by block.
struct Codes {
    n: usize,
    blocks: usize,
    scheme: Scheme,
    dtype: DType,
    /// Of each column its blocks' codes, the last one padded, low bits first.
    codes: Vec<u8>,
    scales: Vec<f32>,
    /// Of each column its blocks' zero points, a row padded to whole bytes.
    zeros: Vec<u8>,
    k: usize,
}

impl Codes {
    /// Those of a matrix whose rows are summed along (`by_rows`), or whose columns are.
    fn of(weights: &Tensor, by_rows: bool, scheme: &Scheme) -> Result<Self> {
        let (rows, columns) = (weights.shape()[0], weights.shape()[1]);
        let (n, k) = if by_rows { (rows, columns) } else { (columns, rows) };
        let floats = cast(weights, DType::F32, true)?;
        let floats = floats.as_slice::<f32>()?;
        let Scheme { bits, block } = *scheme;
        let (blocks, most, per_byte) = (k.div_ceil(block), (1u32 << bits) - 1, 8 / bits);
        let bytes = block / per_byte;
        let mut codes: Vec<u8> = zeros(element_count(&[n, blocks, bytes])?)?;
        let mut factors: Vec<[f32; 2]> = crate::tensor::allocate(n * blocks)?;
        factors.resize(n * blocks, [0.0; 2]);
        let all = crate::threads::Elements(factors.as_mut_ptr());
        let half = weights.dtype() == DType::F16;
        chunks(&mut codes, blocks * bytes, |column, to| {
            for (at, to) in to.chunks_exact_mut(bytes).enumerate() {
                let own = |i: usize| {
                    let row = at * block + i;
                    if by_rows { floats[column * k + row] } else { floats[row * n + column] }
                };
                let count = block.min(k - at * block);
                let (low, high) =
                    (0..count).fold((0f32, 0f32), |(low, high), i| (low.min(own(i)), high.max(own(i))));
                let mut scale = (high - low) / most as f32;
                if half {
                    scale = half::f16::from_f32(scale).to_f32();
                }
                let usable = scale.is_normal();
                let code = |x: f32| if usable { (x / scale).round() } else { 0.0 };
                let zero = code(-low).clamp(0.0, most as f32);
                for i in 0..block {
                    let value = if i < count { code(own(i)) + zero } else { zero };
                    // What is NaN stands for 0; the model had it in all sums already.
                    let value = value.clamp(0.0, most as f32) as u8;
                    to[i / per_byte] |= value << (i % per_byte * bits);
                }
                // SAFETY: there are factors for each block, and a column's are its task's alone.
                unsafe { all.at(column * blocks + at).write([if usable { scale } else { 0.0 }, zero]) };
            }
        });
        let row = (blocks * bits).div_ceil(8);
        let mut packed: Vec<u8> = zeros(element_count(&[n, row])?)?;
        for (at, factor) in factors.iter().enumerate() {
            let (column, bit) = (at / blocks, at % blocks * bits);
            packed[column * row + bit / 8] |= (factor[1] as u8) << (bit % 8);
        }
        let scales = factors.iter().map(|factor| factor[0]).collect();
        Ok(Self {
            n,
            blocks,
            scheme: scheme.clone(),
            dtype: weights.dtype(),
            codes,
            scales,
            zeros: packed,
            k,
        })
    }

    fn bytes(&self) -> u64 {
        (self.codes.len() + self.scales.len() * self.dtype.size() + self.zeros.len()) as u64
    }

    /// Codes, scales and zero points as a file has them; rows of a table end where they do.
    fn tensors(&self, names: &[String; 3], table: bool) -> Result<Vec<TensorProto>> {
        let Scheme { bits, block } = self.scheme;
        let bytes = block * bits / 8;
        let codes = if table {
            let width = (self.k * bits).div_ceil(8);
            let rows = self.codes.chunks_exact(self.blocks * bytes);
            Tensor::new([self.n, width], rows.flat_map(|row| row[..width].to_vec()).collect::<Vec<u8>>())?
        } else {
            Tensor::new([self.n, self.blocks, bytes], self.codes.clone())?
        };
        let scales = cast(&Tensor::new([self.n, self.blocks], self.scales.clone())?, self.dtype, true)?;
        let zeros = Tensor::new([self.n, self.zeros.len() / self.n.max(1)], self.zeros.clone())?;
        let all = [codes, scales, zeros];
        names.iter().zip(&all).map(|(name, tensor)| super::proto_of(name, tensor)).collect()
    }
}

/// Makes a node the operator on codes.
fn rewrite(
    node: &mut NodeProto,
    candidate: &Candidate,
    [codes, scales, zeros]: [String; 3],
    scheme: &Scheme,
) {
    let int = |name: &str, value: usize| AttributeProto {
        name: name.into(),
        i: value as i64,
        type_: AttributeType::INT.into(),
        ..Default::default()
    };
    let common = [int("bits", scheme.bits), int("block_size", scheme.block)];
    node.domain = DOMAIN.into();
    if candidate.kind == Kind::Gather {
        node.op_type = "GatherBlockQuantized".into();
        node.input = vec![codes, candidate.layer.input.clone(), scales, zeros];
        node.attribute = [int("gather_axis", 0), int("quantize_axis", 1)].into_iter().chain(common).collect();
        return;
    }
    node.op_type = "MatMulNBits".into();
    let bias = node.input.get(2).cloned().unwrap_or_default();
    node.input = vec![candidate.layer.input.clone(), codes, scales, zeros];
    if !bias.is_empty() {
        node.input.extend([String::new(), bias]);
    }
    let [k, n] = candidate.layer.sizes;
    node.attribute = [int("K", k), int("N", n)].into_iter().chain(common).collect();
}

/// Every name that a graph gives a value.
fn names(graph: &GraphProto) -> HashSet<String> {
    let made = graph.node.iter().flat_map(|node| &node.output);
    let held = graph.initializer.iter().map(|tensor| &tensor.name);
    made.chain(held).chain(graph.input.iter().map(|input| &input.name)).cloned().collect()
}

fn fresh(taken: &mut HashSet<String>, hint: &str) -> String {
    let mut name = hint.to_string();
    let mut count = 1;
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{hint}_{count}");
    }
    name
}

/// Takes away initializers and constants that nothing reads any more.
fn drop_unread(graph: &mut GraphProto) {
    let mut read: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for node in &graph.node {
        read.extend(node.input.iter().cloned());
        read.extend(bodies::captures(node));
    }
    graph.initializer.retain(|tensor| read.contains(&tensor.name));
    graph
        .node
        .retain(|node| node.op_type != "Constant" || node.output.iter().any(|name| read.contains(name)));
}
