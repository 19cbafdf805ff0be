//! Weights in 8 or 4 bits: products with constant weights become MatMulNBits, embeddings that rows are
//! gathered from GatherBlockQuantized, both of onnxruntime's domain. Activations stay floats.
//!
//! Each block of a column has a scale and a zero point: its codes reach from its least weight (at most 0) to
//! its largest (at least 0), so that 0 stays 0.

use super::candidates::{Candidate, Kind};
use super::edit::{Edit, int};
use super::{Layer, Rewritten, Source};
use crate::base::WeightLayout;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, cast, element_count, zeros};
use crate::threads::chunks;
use onnx_protobuf::NodeProto;
use std::collections::{HashMap, HashSet};

/// The domain of the operators.
pub const DOMAIN: &str = "com.microsoft";

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

/// The graph with every layer quantised but those of these nodes.
pub fn rewritten(source: &Source, scheme: &Scheme, keep: &HashSet<String>) -> Result<Rewritten> {
    let mut graph = source.graph()?.clone();
    let mut edit = Edit::of(&graph);
    edit.nodes = std::mem::take(&mut graph.node);
    // Tied weights are quantised once for all that read them in the same way.
    let mut made: HashMap<(String, bool, bool), [String; 3]> = HashMap::new();
    let mut layers = vec![];
    let wanted = |candidate: &Candidate| candidate.is_matrix() && !keep.contains(&candidate.layer.node);
    for candidate in source.candidates().filter(wanted) {
        let by_rows = candidate.axis() == 0;
        let table = candidate.kind == Kind::Gather;
        let weights = source
            .constants
            .get(&candidate.weights)
            .ok_or_else(|| Error::internal("weights went missing"))?;
        let codes = Codes::of(weights, by_rows, scheme)?;
        let after = codes.bytes();
        let key = (candidate.weights.clone(), by_rows, table);
        let names = match made.get(&key) {
            Some(names) => names.clone(),
            None => {
                let tensors = codes.tensors(table)?;
                let mut own = [const { String::new() }; 3];
                for ((name, kind), tensor) in
                    own.iter_mut().zip(["quantized", "scales", "zero_points"]).zip(&tensors)
                {
                    *name = edit.constant(&format!("{}_{kind}", candidate.weights), tensor)?;
                }
                made.insert(key, own.clone());
                own
            }
        };
        let node = edit.nodes.get_mut(candidate.at).ok_or_else(|| Error::internal("a node went missing"))?;
        rewrite(node, &candidate, names, scheme);
        layers.push(Layer { after, ..candidate.layer });
    }
    Ok(Rewritten { graph: edit.applied(graph), layers, left: vec![] })
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
    fn tensors(&self, table: bool) -> Result<[Tensor; 3]> {
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
        Ok([codes, scales, zeros])
    }
}

/// Makes a node the operator on codes.
fn rewrite(
    node: &mut NodeProto,
    candidate: &Candidate,
    [codes, scales, zeros]: [String; 3],
    scheme: &Scheme,
) {
    let int = |name: &str, value: usize| int(name, value as i64);
    let common = [int("bits", scheme.bits), int("block_size", scheme.block)];
    node.domain = DOMAIN.into();
    let input = candidate.layer.inputs.first().map(|input| input.is.clone()).unwrap_or_default();
    if candidate.kind == Kind::Gather {
        node.op_type = "GatherBlockQuantized".into();
        node.input = vec![codes, input, scales, zeros];
        node.attribute = [int("gather_axis", 0), int("quantize_axis", 1)].into_iter().chain(common).collect();
        return;
    }
    node.op_type = "MatMulNBits".into();
    let bias = node.input.get(2).cloned().unwrap_or_default();
    node.input = vec![input, codes, scales, zeros];
    if !bias.is_empty() {
        node.input.extend([String::new(), bias]);
    }
    let [k, n] = candidate.layer.sizes;
    node.attribute = [int("K", k), int("N", n)].into_iter().chain(common).collect();
}
