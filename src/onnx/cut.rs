//! A part of a model file as a model of its own.

use super::external::ExternalFiles;
use super::{bodies, folder_of, read_bytes, read_proto, sparse};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension::Value};
use onnx_protobuf::type_proto;
use onnx_protobuf::{
    GraphProto, Message, ModelProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The most bytes of a part: protobuf has no longer messages.
const MOST: u64 = 1 << 31;

/// A part of a model.
#[derive(Debug, Clone)]
pub struct Cut {
    /// The ONNX file.
    pub model: Vec<u8>,
    /// What it takes, in order.
    pub inputs: Vec<(String, Tensor)>,
    /// What it should give, in order.
    pub outputs: Vec<(String, Tensor)>,
}

/// The nodes of a model file that make `outputs` of `known`, as a model whose inputs are those of `known` that
/// are read, with the weights that these nodes read.
///
/// Errors: an output that no node of the file makes (one within a function, or of a compiled file), a part
/// beyond 2 GiB, one that can't be read again.
pub fn cut(file: &Path, known: &[(String, Tensor)], outputs: &[(String, Tensor)]) -> Result<Cut> {
    let proto = read_proto(file)?;
    cut_from(&proto, file, known, outputs).map_err(|error| error.in_file(file))
}

fn cut_from(
    proto: &ModelProto,
    file: &Path,
    known: &[(String, Tensor)],
    outputs: &[(String, Tensor)],
) -> Result<Cut> {
    let graph = proto.graph.as_ref().ok_or_else(|| Error::model("holds no graph"))?;
    let part = Part::reach(graph, known, outputs)?;
    let mut files = ExternalFiles::new(Some(folder_of(file)));
    let mut made = GraphProto { name: "part".into(), ..Default::default() };
    let mut total = 0u64;
    for initializer in &graph.initializer {
        if !part.constants.contains(initializer.name.as_str()) {
            continue;
        }
        let mut own = initializer.clone();
        if own.data_location == DataLocation::EXTERNAL.into() {
            own = super::proto_of(&own.name, &super::tensor_of(initializer, &mut files)?)?;
        }
        total = total.saturating_add(own.compute_size());
        if total >= MOST {
            return Err(Error::unsupported(
                "the weights of this part exceed 2 GiB, the most of an ONNX file",
            ));
        }
        made.initializer.push(own);
    }
    let sparse = graph.sparse_initializer.iter();
    made.sparse_initializer =
        sparse.filter(|of| part.constants.contains(sparse::name(of))).cloned().collect();
    made.node = part.nodes.iter().map(|&node| graph.node[node].clone()).collect();
    let inputs: Vec<_> =
        known.iter().filter(|(name, _)| part.inputs.contains(name.as_str())).cloned().collect();
    made.input = inputs.iter().map(|(name, tensor)| info(name, tensor)).collect();
    made.output = outputs.iter().map(|(name, tensor)| info(name, tensor)).collect();
    let model = ModelProto {
        ir_version: proto.ir_version,
        opset_import: proto.opset_import.clone(),
        functions: proto.functions.clone(),
        producer_name: "sardonyx".into(),
        graph: Some(made).into(),
        ..Default::default()
    };
    let model = model
        .write_to_bytes()
        .map_err(|problem| Error::internal(format!("the part could not be encoded: {problem}")))?;
    read_bytes(&model, None, "the part")?;
    Ok(Cut { model, inputs, outputs: outputs.to_vec() })
}

/// What of a graph some outputs take.
struct Part<'a> {
    /// In the graph's order.
    nodes: Vec<usize>,
    constants: HashSet<&'a str>,
    inputs: HashSet<&'a str>,
}

impl<'a> Part<'a> {
    /// Goes back from the outputs to what is known.
    fn reach(
        graph: &'a GraphProto,
        known: &'a [(String, Tensor)],
        outputs: &'a [(String, Tensor)],
    ) -> Result<Self> {
        let known: HashSet<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        let makers: HashMap<&str, usize> = graph
            .node
            .iter()
            .enumerate()
            .flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)))
            .collect();
        let dense = graph.initializer.iter().map(|tensor| tensor.name.as_str());
        let constants: HashSet<&str> =
            dense.chain(graph.sparse_initializer.iter().map(sparse::name)).collect();
        let mut part = Self { nodes: vec![], constants: HashSet::new(), inputs: HashSet::new() };
        let (mut nodes, mut seen) = (HashSet::new(), HashSet::new());
        let owned = |node: &'a NodeProto| -> Vec<String> {
            node.input.iter().cloned().chain(bodies::captures(node)).collect()
        };
        let mut wanted: Vec<(String, bool)> = outputs.iter().map(|(name, _)| (name.clone(), true)).collect();
        while let Some((name, is_output)) = wanted.pop() {
            if name.is_empty() || !seen.insert(name.clone()) {
                continue;
            }
            // An output is made, though its value is known.
            if let Some(&input) = known.get(name.as_str()).filter(|_| !is_output) {
                part.inputs.insert(input);
            } else if let Some(&at) = makers.get(name.as_str()) {
                if nodes.insert(at) {
                    wanted.extend(owned(&graph.node[at]).into_iter().map(|name| (name, false)));
                }
            } else if let Some(&constant) = constants.get(name.as_str()) {
                part.constants.insert(constant);
            } else {
                return Err(Error::unsupported("no node of the file itself makes this value").at_tensor(name));
            }
        }
        part.nodes = nodes.into_iter().collect();
        part.nodes.sort_unstable();
        Ok(part)
    }
}

/// What a model says of a tensor.
fn info(name: &str, tensor: &Tensor) -> ValueInfoProto {
    let size = |&size: &usize| Dimension {
        value: Some(Value::DimValue(i64::try_from(size).unwrap_or(i64::MAX))),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: tensor.shape().iter().map(size).collect(), ..Default::default() };
    let elem_type = DType::onnx(tensor.dtype());
    let kind = type_proto::Tensor { elem_type, shape: Some(shape).into(), ..Default::default() };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(kind)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MLP: &str = "models/tiny/mlp/model.onnx";

    /// Every value of a model's run on ones, by name.
    fn values(file: &str) -> (crate::graph::Graph, Vec<(String, Tensor)>) {
        let graph = super::super::read(Path::new(file)).unwrap().graph;
        let sizes = |id| match &graph.value(id).declared.as_ref().unwrap().dims {
            Some(dims) => {
                dims.iter().map(|dim| if let crate::Dim::Known(n) = dim { *n } else { 2 }).collect()
            }
            None => vec![2],
        };
        let ones = |&id: &crate::ValueId| {
            let shape: Vec<usize> = sizes(id);
            let count = shape.iter().product();
            (id, Tensor::new(shape, vec![1f32; count]).unwrap())
        };
        let inputs: HashMap<_, _> = graph.inputs.iter().map(ones).collect();
        let mut all: Vec<_> =
            inputs.iter().map(|(&id, tensor)| (graph.value(id).name.clone(), tensor.clone())).collect();
        let mut keep =
            |id: crate::ValueId, tensor: &Tensor| all.push((graph.value(id).name.clone(), tensor.clone()));
        crate::cpu::run(&graph, &inputs, crate::base::EvalPrecision::Declared, &mut keep).unwrap();
        (graph, all)
    }

    #[test]
    fn a_node_by_itself_makes_what_it_made() {
        let (graph, all) = values(MLP);
        let find = |name: &String| all.iter().find(|(other, _)| other == name).cloned();
        for node in &graph.nodes {
            let names = |ids: &[Option<crate::ValueId>]| -> Vec<(String, Tensor)> {
                ids.iter().flatten().filter_map(|&id| find(&graph.value(id).name)).collect()
            };
            let part = cut(Path::new(MLP), &names(&node.inputs), &names(&node.outputs)).unwrap();
            let read = read_bytes(&part.model, None, "part").unwrap().graph;
            assert_eq!(read.nodes.len(), 1, "{}", node.name);
            let session = crate::Session::builder();
            let session =
                session.build(super::super::Model { graph: read, info: Default::default() }).unwrap();
            let given: Vec<_> = part.inputs.iter().map(|(name, of)| (name.as_str(), of.clone())).collect();
            assert_eq!(session.run(&given).unwrap(), part.outputs, "{}", node.name);
        }
    }

    #[test]
    fn what_no_node_makes_is_said() {
        let (_, all) = values(MLP);
        let error =
            cut(Path::new(MLP), &[], &[("nothing".into(), all[0].1.clone())]).unwrap_err().to_string();
        assert!(error.contains("'nothing'") && error.contains(MLP), "{error}");
    }
}
