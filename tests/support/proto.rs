//! ONNX models written in code, for tests of graphs within graphs.

// Each test takes what it needs of them.
#![allow(dead_code)]

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use sardonyx::{Result, Session, Tensor, onnx};

pub const F32: i32 = 1;
pub const I64: i32 = 7;
pub const BOOL: i32 = 9;
pub const F64: i32 = 11;

pub fn value(name: &str, dtype: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension { value: Some(dimension::Value::DimValue(size)), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect(), ..Default::default() };
    let tensor = type_proto::Tensor { elem_type: dtype, shape: Some(shape).into(), ..Default::default() };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
}
pub fn sequence(name: &str, dtype: i32) -> ValueInfoProto {
    let mut info = value(name, dtype, &[]);
    let of = std::mem::take(&mut info.type_);
    let list = type_proto::Sequence { elem_type: of, ..Default::default() };
    let kind = TypeProto { value: Some(type_proto::Value::SequenceType(list)), ..Default::default() };
    ValueInfoProto { type_: Some(kind).into(), ..info }
}
pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect();
    NodeProto {
        op_type: op.into(),
        name: format!("the {op} of {}", outputs.join("+")),
        input: names(inputs),
        output: names(outputs),
        ..Default::default()
    }
}
pub fn with_graph(mut node: NodeProto, name: &str, graph: GraphProto) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.into(),
        type_: AttributeType::GRAPH.into(),
        g: Some(graph).into(),
        ..Default::default()
    });
    node
}
pub fn graph(inputs: &[ValueInfoProto], nodes: Vec<NodeProto>, outputs: &[ValueInfoProto]) -> GraphProto {
    GraphProto {
        name: "graph".into(),
        input: inputs.to_vec(),
        node: nodes,
        output: outputs.to_vec(),
        ..Default::default()
    }
}
pub fn floats(name: &str, list: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: F32,
        dims: vec![list.len() as i64],
        float_data: list.to_vec(),
        ..Default::default()
    }
}
pub fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { version: 21, ..Default::default() };
    ModelProto { ir_version: 10, graph: Some(graph).into(), opset_import: vec![opset], ..Default::default() }
}
pub fn session(model: &ModelProto) -> Result<Session> {
    Session::builder().build(onnx::read_bytes(&model.write_to_bytes().unwrap(), None, "test")?)
}
pub fn tensor(list: &[f32]) -> Tensor {
    Tensor::new([list.len()], list.to_vec()).unwrap()
}
pub fn truth(value: bool) -> Tensor {
    Tensor::scalar(sardonyx::tensor::Boolean::from(value))
}
pub fn run(session: &Session, inputs: &[(&str, Tensor)]) -> Vec<f32> {
    session.run(inputs).unwrap()[0].1.as_slice::<f32>().unwrap().to_vec()
}

/// A node with an integer attribute.
pub fn with_int(mut node: NodeProto, name: &str, i: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.into(),
        type_: AttributeType::INT.into(),
        i,
        ..Default::default()
    });
    node
}
/// A node with an attribute that is a list of integers.
pub fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.into(),
        type_: AttributeType::INTS.into(),
        ints: ints.to_vec(),
        ..Default::default()
    });
    node
}
/// The same model as read.
pub fn read(model: &ModelProto) -> Result<onnx::Model> {
    onnx::read_bytes(&model.write_to_bytes().expect("a model that can be written"), None, "test")
}
