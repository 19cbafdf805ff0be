//! Messages of ONNX, written short.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use sardonyx::ops::Attribute;
use sardonyx::{DType, Tensor};
use std::collections::BTreeSet;

/// The version of ONNX's operators that graphs are written in: that of the operators' cases.
pub const OPSET: i64 = 24;
const ML_OPSET: i64 = 5;
const IR: i64 = 11;

/// An attribute by its name.
pub fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.into(), ..Default::default() };
    let kind = match value {
        Attribute::Int(value) => {
            proto.i = value;
            AttributeType::INT
        }
        Attribute::Float(value) => {
            proto.f = value;
            AttributeType::FLOAT
        }
        Attribute::Ints(list) => {
            proto.ints = list;
            AttributeType::INTS
        }
        Attribute::Floats(list) => {
            proto.floats = list;
            AttributeType::FLOATS
        }
        Attribute::String(text) => {
            proto.s = text.into_bytes();
            AttributeType::STRING
        }
        Attribute::Strings(list) => {
            proto.strings = list.into_iter().map(String::into_bytes).collect();
            AttributeType::STRINGS
        }
        Attribute::Tensor(value) => {
            proto.t = Some(tensor("", &value)).into();
            AttributeType::TENSOR
        }
        other => panic!("no attribute of a random graph: {other:?}"),
    };
    proto.type_ = kind.into();
    proto
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    attribute(name, Attribute::Int(value))
}
pub fn float(name: &str, value: f32) -> AttributeProto {
    attribute(name, Attribute::Float(value))
}
pub fn ints(name: &str, list: &[i64]) -> AttributeProto {
    attribute(name, Attribute::Ints(list.to_vec()))
}
pub fn text(name: &str, value: &str) -> AttributeProto {
    attribute(name, Attribute::String(value.into()))
}
pub fn body(name: &str, graph: GraphProto) -> AttributeProto {
    let kind = AttributeType::GRAPH.into();
    AttributeProto { name: name.into(), type_: kind, g: Some(graph).into(), ..Default::default() }
}

/// A tensor's message, with raw data; 4-bit and 2-bit elements share bytes.
pub fn tensor(name: &str, tensor: &Tensor) -> TensorProto {
    let raw_data = match tensor.dtype().packed_bits() {
        None => tensor.bytes().to_vec(),
        Some(bits) => {
            let mask = u8::MAX >> (8 - bits);
            let pack = |group: &[u8]| {
                group.iter().enumerate().fold(0, |byte, (at, code)| byte | (code & mask) << (at * bits))
            };
            tensor.bytes().chunks(8 / bits).map(pack).collect()
        }
    };
    let dims = tensor.shape().iter().map(|&size| size as i64).collect();
    TensorProto { name: name.into(), data_type: tensor.dtype().onnx(), dims, raw_data, ..Default::default() }
}

/// A value's declaration: its type, and its sizes where they are given.
pub fn declared(name: &str, dtype: DType, dims: Option<&[usize]>) -> ValueInfoProto {
    let dim = |&size: &usize| Dimension {
        value: Some(dimension::Value::DimValue(size as i64)),
        ..Default::default()
    };
    let shape =
        dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect(), ..Default::default() });
    let of = type_proto::Tensor { elem_type: dtype.onnx(), shape: shape.into(), ..Default::default() };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(of)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
}

pub fn node(
    domain: &str,
    op: &str,
    inputs: &[&str],
    attributes: Vec<AttributeProto>,
    outputs: Vec<String>,
) -> NodeProto {
    let count = inputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    NodeProto {
        name: format!("{op} {}", outputs.join("+")),
        op_type: op.into(),
        domain: domain.into(),
        input: inputs[..count].iter().map(|name| name.to_string()).collect(),
        output: outputs,
        attribute: attributes,
        ..Default::default()
    }
}

/// What a node reads: its inputs, and what its graphs read of those around them.
pub fn reads(node: &NodeProto) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = node.input.iter().filter(|name| !name.is_empty()).cloned().collect();
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        let mut own: BTreeSet<&str> = graph.input.iter().map(|value| value.name.as_str()).collect();
        own.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
        own.extend(graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str)));
        let inner = graph.node.iter().flat_map(reads);
        // A graph may give out what is around it as it is.
        let given = graph.output.iter().map(|value| value.name.clone());
        names.extend(inner.chain(given).filter(|name| !own.contains(name.as_str())));
    }
    names
}

pub fn model(graph: GraphProto) -> ModelProto {
    let opset =
        |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version, ..Default::default() };
    ModelProto {
        ir_version: IR,
        producer_name: "sardonyx's random graphs".into(),
        graph: Some(graph).into(),
        opset_import: vec![opset("", OPSET), opset("ai.onnx.ml", ML_OPSET)],
        ..Default::default()
    }
}
