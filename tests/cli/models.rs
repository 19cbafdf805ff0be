//! Small ONNX files, right and wrong ones, made as a test needs them.

use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto,
};
use onnx_protobuf::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};
use std::path::Path;

pub const FLOAT: i32 = 1;
pub const INT64: i64 = 7;
pub const BFLOAT16: i64 = 16;

/// A float input or output; sizes by name are symbols.
pub fn value(name: &str, sizes: &[&str]) -> ValueInfoProto {
    typed(name, FLOAT, sizes)
}

pub fn typed(name: &str, elem_type: i32, sizes: &[&str]) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dimension = |size: &&str| {
        let value = size.parse().map_or_else(|_| Value::DimParam(size.to_string()), Value::DimValue);
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = TensorShapeProto { dim: sizes.iter().map(dimension).collect(), ..Default::default() };
    let tensor = type_proto::Tensor { elem_type, shape: Some(shape).into(), ..Default::default() };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
}

/// A node without a name.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect();
    NodeProto { op_type: op.into(), input: names(inputs), output: names(outputs), ..Default::default() }
}

pub fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.into(),
        i,
        type_: onnx_protobuf::attribute_proto::AttributeType::INT.into(),
        ..Default::default()
    });
    node
}

pub fn int64s(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: INT64 as i32,
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

/// A tensor in a file beside the model.
pub fn external(name: &str, dims: &[i64], location: &str) -> TensorProto {
    let entry =
        StringStringEntryProto { key: "location".into(), value: location.into(), ..Default::default() };
    let data_location = onnx_protobuf::tensor_proto::DataLocation::EXTERNAL.into();
    TensorProto {
        name: name.into(),
        data_type: FLOAT,
        dims: dims.to_vec(),
        external_data: vec![entry],
        data_location,
        ..Default::default()
    }
}

pub fn save(
    path: &Path,
    nodes: Vec<NodeProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    constants: Vec<TensorProto>,
) {
    let graph = GraphProto {
        name: "g".into(),
        node: nodes,
        input: inputs,
        output: outputs,
        initializer: constants,
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version: 17, ..Default::default() };
    let model = ModelProto {
        ir_version: 8,
        graph: Some(graph).into(),
        opset_import: vec![opset],
        ..Default::default()
    };
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, model.write_to_bytes().unwrap()).unwrap();
}

/// `y = Relu(x)` over `[batch, 3]`.
pub fn relu(path: &Path) {
    save(
        path,
        vec![node("Relu", &["x"], &["y"])],
        vec![value("x", &["batch", "3"])],
        vec![value("y", &["batch", "3"])],
        vec![],
    );
}
