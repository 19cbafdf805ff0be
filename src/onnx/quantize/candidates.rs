//! Nodes whose weights are constant: what all forms quantise.

use super::{Layer, Port, int};
use crate::onnx::functions::{domain, node_name};
use crate::tensor::{DType, Tensor};
use onnx_protobuf::NodeProto;
use std::collections::HashMap;

/// A node whose weights are constant.
pub struct Candidate {
    /// Its place among the graph's nodes.
    pub at: usize,
    pub kind: Kind,
    pub weights: String,
    /// float32 or float16.
    pub dtype: DType,
    pub layer: Layer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `[k, n]`.
    MatMul,
    /// `[n, k]` where transposed, and perhaps a bias for each column.
    Gemm { transposed: bool },
    /// `[rows, width]`.
    Gather,
    /// `[filters, channels of a group, …]`, and perhaps a bias for each filter.
    Conv { groups: usize },
}

impl Candidate {
    /// Whether its weights are a matrix of a product, or a table.
    pub fn is_matrix(&self) -> bool {
        !matches!(self.kind, Kind::Conv { .. })
    }
    /// Whether it is a convolution with a filter to each group: a few terms to a sum, no product of matrices.
    pub fn is_depthwise(&self) -> bool {
        matches!(self.kind, Kind::Conv { groups } if self.layer.sizes[1] / groups < 2)
    }
    /// The axis of its weights along which its results lie.
    pub fn axis(&self) -> usize {
        match self.kind {
            Kind::MatMul | Kind::Gemm { transposed: false } => 1,
            Kind::Gemm { transposed: true } | Kind::Gather | Kind::Conv { .. } => 0,
        }
    }
}

/// A node's weights, where they are constant floats of a form that products have.
pub fn candidate(at: usize, node: &NodeProto, constants: &HashMap<String, Tensor>) -> Option<Candidate> {
    if !domain(&node.domain).is_empty() {
        return None;
    }
    let float = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map(|a| a.f);
    let bias = node.input.get(2).filter(|name| !name.is_empty());
    let row = |name: &String| constants.get(name).is_some_and(|bias| bias.rank() == 1);
    let (kind, of, by) = match node.op_type.as_str() {
        "MatMul" => (Kind::MatMul, 1, 0),
        "Gemm" => {
            let one = |name: &str| float(name).is_none_or(|factor| factor == 1.0);
            let plain = int(node, "transA").unwrap_or(0) == 0 && one("alpha") && one("beta");
            if !plain || !bias.is_none_or(row) {
                return None;
            }
            (Kind::Gemm { transposed: int(node, "transB").unwrap_or(0) != 0 }, 1, 0)
        }
        "Gather" if int(node, "axis").unwrap_or(0) == 0 => (Kind::Gather, 0, 1),
        "Conv" => {
            let groups = usize::try_from(int(node, "group").unwrap_or(1)).ok()?;
            (Kind::Conv { groups }, 1, 0)
        }
        _ => return None,
    };
    let name = node.input.get(of)?;
    let tensor = constants.get(name)?;
    let sizes = sizes(kind, tensor.shape())?;
    if !matches!(tensor.dtype(), DType::F32 | DType::F16) || tensor.is_empty() {
        return None;
    }
    // A bias of one number for all results is none of a quantised product.
    if matches!(kind, Kind::Gemm { .. } | Kind::Conv { .. })
        && let Some(bias) = bias.and_then(|name| constants.get(name))
        && bias.len() != sizes[1]
    {
        return None;
    }
    let bytes = tensor.bytes().len() as u64;
    let layer = Layer {
        node: node_name(node).to_string(),
        op_type: node.op_type.clone(),
        inputs: vec![Port::same(node.input.get(by)?)],
        output: Port::same(node.output.first()?),
        sizes,
        before: bytes,
        after: bytes,
    };
    Some(Candidate { at, kind, weights: name.clone(), dtype: tensor.dtype(), layer })
}

/// The length of a sum and the results, or rows and a row's length.
fn sizes(kind: Kind, shape: &[usize]) -> Option<[usize; 2]> {
    match (kind, shape) {
        (Kind::Conv { groups }, &[filters, channels, ref kernel @ ..]) => {
            let terms = kernel.iter().try_fold(channels, |all, &size| all.checked_mul(size))?;
            let fits = !kernel.is_empty() && groups > 0 && filters % groups == 0;
            fits.then_some([terms, filters])
        }
        (Kind::Conv { .. }, _) => None,
        (Kind::Gemm { transposed: true }, &[n, k]) => Some([k, n]),
        // A table of a few rows is an array of numbers, not an embedding; and a row ends with a whole byte.
        (Kind::Gather, &[rows, width]) => {
            (rows >= 16 && width >= 16 && width.is_multiple_of(2)).then_some([rows, width])
        }
        (_, &[rows, columns]) => Some([rows, columns]),
        _ => None,
    }
}
