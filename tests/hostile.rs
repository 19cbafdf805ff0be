//! Files that are damaged or built to harm: reading gives `Ok` or an error of one line, never a panic, and
//! never asks for memory that the file doesn't justify.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
};
use onnx_protobuf::{TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use proptest::prelude::*;
use sardonyx::onnx::{read, read_bytes, read_npz, read_tensor};
use std::path::PathBuf;

/// A model with something of everything: inputs, initializers of several kinds, a sparse one, an old
/// attribute.
fn model() -> ModelProto {
    let value = |name: &str| {
        let tensor = type_proto::Tensor { elem_type: 1, ..Default::default() };
        let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
    };
    let tensor = |name: &str, data_type: i32, dims: &[i64]| TensorProto {
        name: name.into(),
        data_type,
        dims: dims.to_vec(),
        ..Default::default()
    };
    let floats = TensorProto { raw_data: vec![0; 24], ..tensor("floats", 1, &[2, 3]) };
    let typed = TensorProto { int64_data: vec![1, -2, 3], ..tensor("typed", 7, &[3]) };
    let packed = TensorProto { int32_data: vec![0x21, 3], ..tensor("packed", 22, &[3]) };
    let strings =
        TensorProto { string_data: vec![b"a".to_vec(), b"b".to_vec()], ..tensor("strings", 8, &[2]) };
    let sparse = SparseTensorProto {
        values: Some(TensorProto { float_data: vec![1.0], ..tensor("sparse", 1, &[1]) }).into(),
        indices: Some(TensorProto { int64_data: vec![2], ..tensor("", 7, &[1]) }).into(),
        dims: vec![4],
        ..Default::default()
    };
    let node = NodeProto {
        op_type: "Add".into(),
        input: vec!["x".into(), "floats".into()],
        output: vec!["y".into()],
        ..Default::default()
    };
    // A loop around a branch, which reads what is around both.
    let inside = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|name| name.to_string()).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    let held = |name: &str, graph: GraphProto| AttributeProto {
        name: name.into(),
        type_: AttributeType::GRAPH.into(),
        g: Some(graph).into(),
        ..Default::default()
    };
    let branch = |op: &str| GraphProto {
        name: op.into(),
        node: vec![inside(op, &["carried"], "made")],
        output: vec![value("made")],
        ..Default::default()
    };
    let mut choose = inside("If", &["on"], "next");
    choose.attribute = vec![held("then_branch", branch("Neg")), held("else_branch", branch("Relu"))];
    let body = GraphProto {
        name: "body".into(),
        input: vec![value("turn"), value("on"), value("carried")],
        node: vec![choose, inside("Identity", &["on"], "goes_on")],
        output: vec![value("goes_on"), value("next")],
        ..Default::default()
    };
    let mut turns = inside("Loop", &["typed", "", "y"], "z");
    turns.attribute = vec![held("body", body)];
    let graph = GraphProto {
        name: "g".into(),
        node: vec![node, turns],
        input: vec![value("x")],
        output: vec![value("y")],
        initializer: vec![floats, typed, packed, strings],
        sparse_initializer: vec![sparse],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version: 13, ..Default::default() };
    ModelProto { ir_version: 8, graph: Some(graph).into(), opset_import: vec![opset], ..Default::default() }
}

fn bytes(model: &ModelProto) -> Vec<u8> {
    model.write_to_bytes().unwrap()
}

/// Reads, and holds an error to its form.
fn attempt(bytes: &[u8]) -> Option<String> {
    let error = read_bytes(bytes, None, "hostile.onnx").err()?.to_string();
    assert!(error.starts_with("hostile.onnx: ") && !error.contains('\n'), "{error}");
    Some(error)
}

/// The model with its first initializer changed.
fn with_initializer(change: impl FnOnce(&mut TensorProto)) -> Option<String> {
    let mut model = model();
    change(&mut model.graph.as_mut().unwrap().initializer[0]);
    attempt(&bytes(&model))
}

#[test]
fn every_truncation_is_an_answer() {
    let whole = bytes(&model());
    (0..whole.len()).for_each(|length| drop(attempt(&whole[..length])));
    assert!(attempt(&[]).unwrap().contains("is empty"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_an_answer(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let mut whole = bytes(&model());
        for (at, byte) in changes {
            let at = at.index(whole.len());
            whole[at] = byte;
        }
        attempt(&whole);
    }

    #[test]
    fn any_bytes_are_an_answer(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        attempt(&noise);
    }
}

#[test]
fn nesting_and_groups_are_refused_before_they_are_decoded() {
    // Field 15 of a message, as a group, a million times: a decoder that recurses into groups overflows its
    // stack.
    assert!(attempt(&vec![0x7b; 1 << 20]).unwrap().contains("group"));
    // Types of sequences of types, a hundred thousand deep, each wrapped by hand: lengths are written from
    // the inside.
    let mut inner = vec![];
    for _ in 0..20_000 {
        for tag in [1u8, 4] {
            let mut length = inner.len();
            let mut wrapped = vec![tag << 3 | 2];
            while length > 127 {
                wrapped.push(length as u8 | 128);
                length >>= 7;
            }
            wrapped.push(length as u8);
            wrapped.append(&mut inner);
            inner = wrapped;
        }
        if inner.len() > 1 << 16 {
            break;
        }
    }
    // Model.graph, Graph.input, ValueInfo.type.
    for tag in [2u8, 11, 7] {
        let mut wrapped = vec![tag << 3 | 2];
        let mut length = inner.len();
        while length > 127 {
            wrapped.push(length as u8 | 128);
            length >>= 7;
        }
        wrapped.push(length as u8);
        wrapped.append(&mut inner);
        inner = wrapped;
    }
    assert!(attempt(&inner).unwrap().contains("nested"));
}

#[test]
fn shapes_that_no_data_fill_are_refused() {
    for dims in [
        vec![i64::MAX],
        vec![1 << 40],
        vec![1 << 32, 1 << 32],
        vec![-1],
        vec![i64::MIN, 2],
        vec![1 << 20, 1 << 20, 1 << 20, 1 << 20],
        vec![1; 10_000],
    ] {
        let error = with_initializer(|tensor| tensor.dims = dims.clone()).unwrap();
        assert!(error.contains("'floats'"), "{error}");
    }
    for number in [0, 14, 15, 27, 99, -1, i32::MAX] {
        assert!(
            with_initializer(|tensor| tensor.data_type = number).unwrap().contains("element type"),
            "{number}"
        );
    }
    // A few bytes that claim a dense tensor of a terabyte.
    let mut model = model();
    model.graph.as_mut().unwrap().sparse_initializer[0].dims = vec![1 << 38];
    assert!(attempt(&bytes(&model)).unwrap().contains("'sparse'"));
}

#[test]
fn external_data_can_not_leave_the_folder() {
    for location in ["../x", "/etc/passwd", "a/../../x", ".."] {
        let error = with_initializer(|tensor| {
            tensor.raw_data.clear();
            tensor.data_location = onnx_protobuf::tensor_proto::DataLocation::EXTERNAL.into();
            tensor.external_data = vec![onnx_protobuf::StringStringEntryProto {
                key: "location".into(),
                value: location.into(),
                ..Default::default()
            }];
        });
        assert!(error.unwrap().contains("'floats'"), "{location}");
    }
}

#[test]
fn tensor_files_can_be_anything() {
    let folder = std::env::temp_dir().join(format!("sardonyx-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let place = |name: &str, content: &[u8]| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let tensor = sardonyx::Tensor::new([2, 3], vec![1f32; 6]).unwrap();
    let archive = folder.join("whole.npz");
    sardonyx::onnx::write_npz(&archive, &[("a".to_string(), tensor.clone())]).unwrap();
    let whole = std::fs::read(&archive).unwrap();
    for length in 0..whole.len() {
        assert!(read_npz(&place("cut.npz", &whole[..length])).is_err(), "{length}");
    }
    let mut seed = 7u64;
    for _ in 0..2000 {
        let mut changed = whole.clone();
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (seed >> 33) as usize % changed.len();
        changed[at] = (seed >> 24) as u8;
        let _ = read_npz(&place("changed.npz", &changed));
    }
    let proto = TensorProto { data_type: 1, dims: vec![2], float_data: vec![1.0, 2.0], ..Default::default() }
        .write_to_bytes()
        .unwrap();
    read_tensor(&place("whole.pb", &proto)).unwrap();
    for length in 0..proto.len() {
        assert!(read_tensor(&place("cut.pb", &proto[..length])).is_err(), "{length}");
    }
    for (name, content) in
        [("a.npy", &b"\x93NUMPY"[..]), ("b.npy", b""), ("c.txt", b"1 2 3"), ("d.pb", b"\xff\xff")]
    {
        let error = read_tensor(&place(name, content)).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains('\n'), "{error}");
    }
    assert!(read(&folder).unwrap_err().to_string().contains("is not a file"));
    assert!(read(&folder.join("none.onnx")).unwrap_err().to_string().contains("check the path"));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// onnxruntime's own operators with any number of inputs and outputs, attributes that are missing or mean
/// nothing, and inputs of any number of axes or an unknown one.
#[test]
fn operators_of_onnxruntime_with_anything() {
    let attributes = |value: i64| {
        let int = |name: &str| AttributeProto {
            name: name.into(),
            i: value,
            type_: AttributeType::INT.into(),
            ..Default::default()
        };
        let activation = AttributeProto {
            name: "activation".into(),
            s: b"Clip".to_vec(),
            type_: AttributeType::STRING.into(),
            ..Default::default()
        };
        ["num_heads", "transA", "transB", "transBatchA", "group", "colour"]
            .into_iter()
            .map(int)
            .chain([activation])
            .collect::<Vec<_>>()
    };
    for (domain, name) in sardonyx::onnx::contrib::names() {
        for (inputs, outputs, odd) in (0..11)
            .flat_map(|inputs| (0..5).flat_map(move |outputs| (0..6).map(move |odd| (inputs, outputs, odd))))
        {
            let mut model = model();
            let graph = model.graph.as_mut().unwrap();
            if odd > 0 {
                let dims = vec![
                    Dimension { value: Some(dimension::Value::DimValue(2)), ..Default::default() };
                    odd - 1
                ];
                let shape = TensorShapeProto { dim: dims, ..Default::default() };
                let kind =
                    type_proto::Tensor { elem_type: 1, shape: Some(shape).into(), ..Default::default() };
                graph.input[0].type_ = Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(kind)),
                    ..Default::default()
                })
                .into();
            }
            let mut attribute = attributes([0, -1, 2, i64::MAX][odd % 4]);
            attribute.truncate((inputs + outputs) % 8);
            let input =
                (0..inputs).map(|k| if (k + odd) % 5 == 4 { String::new() } else { "x".into() }).collect();
            let output = (0..outputs).map(|k| format!("z{k}")).collect();
            graph.node.push(NodeProto {
                domain: domain.into(),
                op_type: name.into(),
                input,
                output,
                attribute,
                ..Default::default()
            });
            model.opset_import.push(OperatorSetIdProto {
                domain: "com.microsoft".into(),
                version: 1,
                ..Default::default()
            });
            attempt(&bytes(&model));
        }
    }
}
