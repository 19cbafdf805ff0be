//! Whole models, read with a registry that takes any operator: the operators are tested where they are.

use super::*;
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::graph::Dim;
use crate::ops::{NodeView, Operator};
use crate::tensor::Tensor;
use onnx_protobuf::*;
use std::rc::Rc;
use std::sync::Arc;

/// An operator that is only there.
#[derive(Debug)]
struct Stub;
impl Operator for Stub {
    fn infer(&self, _: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(vec![])
    }
    fn eval(&self, _: Operands<'_, Tensor>, _: EvalPrecision) -> Result<Vec<Tensor>> {
        Ok(vec![])
    }
}
fn take_all(view: &mut NodeView) -> Result<Arc<dyn Operator>> {
    while let Some(name) = view.unread().map(str::to_string) {
        view.ignore(&[&name]);
    }
    Ok(Arc::new(Stub))
}
/// Reads what it knows and turns `axes` into an input, as newer versions have it.
fn take_axes(view: &mut NodeView) -> Result<Arc<dyn Operator>> {
    view.expect_inputs(1..=2)?;
    view.ints_to_input("axes", 1)?;
    Ok(Arc::new(Stub))
}
static ANY: OpDef = OpDef { domain: "", name: "Any", since: 1, parse: take_all, cases: &[] };
static NEW: OpDef = OpDef { domain: "", name: "New", since: 20, parse: take_all, cases: &[] };
static SQUEEZE: OpDef = OpDef { domain: "", name: "Squeeze", since: 1, parse: take_axes, cases: &[] };

/// Every operator of ai.onnx but those that begin with "No" or "F".
fn any_operator(domain: &str, name: &str) -> Option<&'static OpDef> {
    match name {
        "New" => Some(&NEW),
        "Squeeze" => Some(&SQUEEZE),
        _ => (domain.is_empty() && !name.starts_with(['N', 'F'])).then_some(&ANY),
    }
}
fn all_rooms(_: &str, _: &str) -> Option<&'static OpDef> {
    Some(&ANY)
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |list: &[&str]| list.iter().map(|name| name.to_string()).collect();
    NodeProto { op_type: op.into(), input: names(inputs), output: names(outputs), ..Default::default() }
}
fn typed(name: &str, dims: &[tensor_shape_proto::dimension::Value]) -> ValueInfoProto {
    let dim = |value: &tensor_shape_proto::dimension::Value| tensor_shape_proto::Dimension {
        value: Some(value.clone()),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect(), ..Default::default() };
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(shape).into(), ..Default::default() };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
}
fn model(nodes: Vec<NodeProto>) -> ModelProto {
    use tensor_shape_proto::dimension::Value::{DimParam, DimValue};
    let weight = tensor::write("w", &Tensor::new([2], vec![1f32, 2.0]).unwrap()).unwrap();
    let graph = GraphProto {
        name: "g".into(),
        node: nodes,
        input: vec![
            typed("x", &[DimParam("batch".into()), DimValue(2), DimValue(-1)]),
            typed("w", &[DimValue(2)]),
        ],
        output: vec![typed("y", &[])],
        initializer: vec![weight],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { domain: "ai.onnx".into(), version: 11, ..Default::default() };
    ModelProto { ir_version: 8, graph: Some(graph).into(), opset_import: vec![opset], ..Default::default() }
}
fn load(model: &ModelProto) -> Result<Model> {
    read_with(&model.write_to_bytes().unwrap(), None, any_operator)
}
fn names(model: &Model) -> Vec<&str> {
    model.graph.nodes.iter().map(|node| node.name.as_str()).collect()
}
fn message(model: &ModelProto) -> String {
    load(model).unwrap_err().to_string()
}

#[test]
fn a_model_out_of_order_is_sorted_and_keeps_its_names() {
    let mut last = node("Relu", &["t", ""], &["y"]);
    last.name = "last".into();
    let read = load(&model(vec![last, node("Add", &["x", "w"], &["t", ""])])).unwrap();
    assert_eq!(names(&read), ["t", "last"]);
    let graph = &read.graph;
    assert_eq!(graph.inputs.len(), 1, "an initializer is no input, though declared as one");
    assert_eq!(graph.constant(graph.find("w").unwrap()).unwrap().shape(), [2]);
    assert_eq!(graph.nodes[1].inputs, [graph.find("t"), None]);
    assert_eq!(graph.nodes[0].outputs, [graph.find("t"), None]);
    let dims = graph.value(graph.inputs[0]).declared.as_ref().unwrap().dims.as_ref().unwrap();
    assert_eq!(*dims, [Dim::Symbol("batch".into()), Dim::Known(2), Dim::Unknown]);
    assert_eq!(read.info.opsets, [(String::new(), 11)]);
}

#[test]
fn an_old_attribute_becomes_a_constant() {
    let mut squeeze = node("Squeeze", &["x"], &["y"]);
    let axes = AttributeProto { name: "axes".into(), ints: vec![2], ..Default::default() };
    squeeze.attribute = vec![axes.clone()];
    let read = load(&model(vec![squeeze.clone()])).unwrap();
    let id = read.graph.nodes[0].inputs[1].unwrap();
    assert_eq!(read.graph.constant(id).unwrap().to_i64s().unwrap(), [2]);
    squeeze.attribute.push(AttributeProto { name: "colour".into(), ..axes });
    assert!(
        message(&model(vec![squeeze])).starts_with("node 'y' (Squeeze): attribute 'colour' is not known")
    );
}

#[test]
fn errors_name_the_node_and_the_operator() {
    assert!(
        message(&model(vec![node("Nonsense", &["x"], &["y"])]))
            .starts_with("node 'y' (Nonsense): this operator of the domain ai.onnx")
    );
    assert!(message(&model(vec![node("New", &["x"], &["y"])])).contains("version 20"));
    assert!(
        message(&model(vec![
            node("Relu", &["a"], &["b"]),
            node("Relu", &["b"], &["a"]),
            node("Relu", &["x"], &["y"])
        ]))
        .contains("node 'b' (Relu)")
    );
    assert!(message(&model(vec![node("Relu", &["nowhere"], &["y"])])).contains("'nowhere'"));
    assert!(
        message(&model(vec![node("Relu", &["x"], &["y"]), node("Relu", &["x"], &["y"])]))
            .contains("made twice")
    );
    assert!(message(&model(vec![node("Relu", &["x"], &["x"])])).contains("made twice"));
    assert!(message(&model(vec![])).contains("'y'"));
}

#[test]
fn what_goes_in_and_out_has_a_type_that_is_held() {
    let typed = |value: type_proto::Value| {
        let mut whole = model(vec![node("Relu", &["x"], &["y"])]);
        let kind = TypeProto { value: Some(value), ..Default::default() };
        whole.graph.as_mut().unwrap().output[0].type_ = Some(kind).into();
        whole
    };
    let sparse = typed(type_proto::Value::SparseTensorType(Default::default()));
    assert!(message(&sparse).starts_with("'y': is a sparse tensor"));
    let item = typed_as_tensor(1);
    let list = type_proto::Sequence { elem_type: Some(item).into(), ..Default::default() };
    let read = load(&typed(type_proto::Value::SequenceType(list))).unwrap().graph;
    let kind = read.value(read.outputs[0]).other.as_ref().map(ToString::to_string);
    assert_eq!(kind.as_deref(), Some("sequence(float32 tensor)"));
    let mut untyped = model(vec![node("Relu", &["x"], &["y"])]);
    untyped.graph.as_mut().unwrap().input[0].type_ = None.into();
    assert!(message(&untyped).starts_with("'x': the graph input has no type"));
}

fn typed_as_tensor(elem_type: i32) -> TypeProto {
    let tensor = type_proto::Tensor { elem_type, ..Default::default() };
    TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }
}

fn function(name: &str, body: Vec<NodeProto>) -> FunctionProto {
    let opset = OperatorSetIdProto { version: 21, ..Default::default() };
    let strings = |name: &str| vec![name.to_string()];
    FunctionProto {
        name: name.into(),
        input: strings("a"),
        output: strings("b"),
        node: body,
        opset_import: vec![opset],
        ..Default::default()
    }
}
fn reference(attribute: &str, to: &str) -> AttributeProto {
    AttributeProto {
        name: attribute.into(),
        ref_attr_name: to.into(),
        type_: attribute_proto::AttributeType::FLOAT.into(),
        ..Default::default()
    }
}

#[test]
fn functions_are_inlined_within_each_other_and_names_stay_unique() {
    let inner = function("F1", vec![node("Relu", &["a"], &["t"]), node("New", &["t"], &["b"])]);
    let outer = function("F2", vec![node("F1", &["a"], &["t"]), node("F1", &["t"], &["b"])]);
    let mut whole = model(vec![node("F2", &["x"], &["t"]), node("F2", &["t"], &["y"])]);
    whole.functions = vec![inner, outer];
    let read = load(&whole).unwrap();
    assert_eq!(names(&read), ["t/t/t", "t/t", "t/t.2", "t", "y/t/t", "y/t", "y/t.2", "y"]);
    assert!(read.graph.nodes.iter().all(|node| node.op_type == "Relu" || node.op_type == "New"));
}

#[test]
fn attribute_references_take_the_callers_value_or_the_default() {
    let body = |name: &str| {
        let mut elu = node("Elu", &["a"], &["b"]);
        elu.attribute = vec![reference("alpha", name)];
        let mut all = function("F", vec![elu]);
        all.attribute_proto = vec![AttributeProto { name: "slope".into(), f: 3.0, ..reference("", "") }];
        all
    };
    let expanded = |function: FunctionProto, given: Option<f32>| {
        let mut call = node("F", &["x"], &["y"]);
        call.attribute = given
            .map(|f| AttributeProto { name: "slope".into(), f, ..reference("", "") })
            .into_iter()
            .collect();
        let scope = functions::Scope {
            functions: &[function],
            opsets: Default::default(),
            calls: Rc::from([]),
            cost: &Default::default(),
            find: any_operator,
            missing: None,
        };
        let known = |_: &str| Default::default();
        let nodes = functions::inline(vec![call], &scope, Default::default(), &known).unwrap();
        nodes[0].node.attribute.first().map(|attribute| (attribute.name.clone(), attribute.f))
    };
    assert_eq!(expanded(body("slope"), Some(2.0)), Some(("alpha".into(), 2.0)));
    assert_eq!(expanded(body("slope"), None), Some(("alpha".into(), 3.0)));
    assert_eq!(expanded(body("absent"), None), None);
}

#[test]
fn functions_can_neither_recurse_nor_explode_nor_shadow_a_room() {
    let mut whole = model(vec![node("F", &["x"], &["y"])]);
    whole.functions = vec![function("F", vec![node("F", &["a"], &["b"])])];
    assert!(message(&whole).contains("calls itself"));
    let double = |n: usize| {
        let next = if n == 0 { "Relu".to_string() } else { format!("F{}", n - 1) };
        function(&format!("F{n}"), vec![node(&next, &["a"], &["t"]), node(&next, &["t"], &["b"])])
    };
    whole.functions = (0..25).map(double).collect();
    whole.graph.as_mut().unwrap().node[0].op_type = "F24".into();
    assert_eq!(load(&whole).unwrap_err().kind(), ErrorKind::Memory);
    whole.functions = vec![function("Relu", vec![node("Nonsense", &["a"], &["b"])])];
    whole.graph.as_mut().unwrap().node[0].op_type = "Relu".into();
    assert_eq!(load(&whole).unwrap().graph.nodes.len(), 1);
    // A function that hands its input through.
    whole.functions = vec![FunctionProto { output: vec!["a".into()], ..function("F", vec![]) }];
    whole.graph.as_mut().unwrap().node[0].op_type = "F".into();
    assert_eq!(load(&whole).unwrap().graph.nodes[0].op_type, "Identity");
}

#[test]
fn external_data_stay_in_the_folder() {
    let folder = std::env::temp_dir().join(format!("sardonyx-external-{}", std::process::id()));
    let inside = folder.join("model");
    std::fs::create_dir_all(&inside).unwrap();
    let bytes: Vec<u8> = [0f32, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(inside.join("w.bin"), &bytes).unwrap();
    std::fs::write(folder.join("secret.bin"), &bytes).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret.bin", inside.join("link.bin")).unwrap();
    let load = |entries: &[(&str, &str)]| {
        let mut whole = model(vec![node("Relu", &["x"], &["y"])]);
        let weight = &mut whole.graph.as_mut().unwrap().initializer[0];
        weight.raw_data = vec![];
        weight.data_location = tensor_proto::DataLocation::EXTERNAL.into();
        weight.external_data = entries
            .iter()
            .map(|(k, v)| StringStringEntryProto {
                key: (*k).into(),
                value: (*v).into(),
                ..Default::default()
            })
            .collect();
        read_with(&whole.write_to_bytes().unwrap(), Some(&inside), any_operator)
    };
    let read = load(&[("location", "w.bin"), ("offset", "4"), ("length", "8")]).unwrap();
    assert_eq!(
        read.graph.constant(read.graph.find("w").unwrap()).unwrap().as_slice::<f32>().unwrap(),
        [1.0, 2.0]
    );
    for location in ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "link.bin"] {
        assert!(
            load(&[("location", location)]).unwrap_err().message().contains("outside the model's folder"),
            "{location}"
        );
    }
    assert!(load(&[("location", "gone.bin")]).unwrap_err().message().contains("gone.bin"));
    assert!(load(&[("location", "w.bin"), ("offset", "8")]).unwrap_err().to_string().contains("truncated"));
    assert!(load(&[("location", "w.bin"), ("length", "4")]).is_err());
    assert!(load(&[("location", "w.bin"), ("offset", "-4")]).is_err());
    assert!(load(&[("location", ".")]).is_err());
    assert!(load(&[]).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Every truncation and many changed bytes of a model that uses most of the format, with operators that take
/// anything.
#[test]
fn damaged_models_never_panic() {
    let mut call = node("F", &["x"], &["t"]);
    call.attribute = vec![AttributeProto { name: "slope".into(), f: 3.0, ..reference("", "") }];
    let mut whole = model(vec![call, node("Squeeze", &["t"], &["y"])]);
    let mut body = node("Elu", &["a"], &["b"]);
    body.attribute = vec![
        reference("alpha", "slope"),
        AttributeProto { name: "axes".into(), ints: vec![1, 2], ..Default::default() },
    ];
    whole.functions = vec![function("F", vec![body])];
    let bytes = whole.write_to_bytes().unwrap();
    read_with(&bytes, None, any_operator).unwrap();
    let mut seed = 1u64;
    for length in 0..bytes.len() {
        let _ = read_with(&bytes[..length], None, all_rooms);
        for _ in 0..20 {
            let mut changed = bytes.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % changed.len();
                changed[at] = (seed >> 24) as u8;
            }
            let _ = read_with(&changed, None, any_operator);
        }
    }
}

#[test]
fn what_is_not_onnx_is_said_so() {
    for bytes in [&b""[..], b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"hello world, this is text", &[8, 7]] {
        let error = read_bytes(bytes, None, "some.file").unwrap_err().to_string();
        assert!(
            error.starts_with("some.file: ") && error.contains("not ONNX") && !error.contains('\n'),
            "{error}"
        );
    }
    assert!(
        read(Path::new("/nowhere/at.onnx"))
            .unwrap_err()
            .to_string()
            .starts_with("/nowhere/at.onnx: can't be read")
    );
}

/// A transposed operand of onnxruntime's product: its axes are declared, follow from a Reshape's constant
/// shape, or are asked for.
#[test]
fn the_axes_of_an_operand_are_known_or_asked_for() {
    let product = |operand: &str| {
        let trans = AttributeProto {
            name: "transA".into(),
            i: 1,
            type_: attribute_proto::AttributeType::INT.into(),
            ..Default::default()
        };
        NodeProto {
            domain: "com.microsoft".into(),
            attribute: vec![trans],
            ..node("FusedMatMul", &[operand, "x"], &["y"])
        }
    };
    let types = |model: &ModelProto| -> Vec<String> {
        load(model).unwrap().graph.nodes.iter().map(|node| node.op_type.clone()).collect()
    };
    assert_eq!(types(&model(vec![product("x")])), ["Transpose", "MatMul"]);
    let add = || node("Add", &["x", "w"], &["t"]);
    assert_eq!(
        types(&model(vec![add(), node("Reshape", &["t", "w"], &["u"]), product("u")])),
        ["Add", "Reshape", "Transpose", "MatMul"]
    );
    let text = message(&model(vec![add(), product("t")]));
    assert!(text.contains("'t'") && text.contains("FusedMatMul") && text.contains("how many axes"), "{text}");
}
