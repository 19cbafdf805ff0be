//! Models with their activations in 8 bits: what onnxruntime's quantiser makes of the same model and samples
//! (`models/quantize`), what the CPU makes of the files, and what is left alone.

#[path = "support/proto.rs"]
mod proto;

use onnx_protobuf::{Message, ModelProto, NodeProto, TensorProto};
use sardonyx::base::EvalPrecision;
use sardonyx::gpu::test_device;
use sardonyx::onnx::quantize::{Form, Quantized, Ranges, Source};
use sardonyx::onnx::{self, read_tensor};
use sardonyx::{Device, Session, Tensor, cpu};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A name's node of a model with an onnxruntime's file beside it.
fn folder(name: &str) -> PathBuf {
    Path::new("models/quantize").join(name)
}

/// The inputs of a sample.
fn sample(folder: &Path, index: usize) -> Vec<(String, Tensor)> {
    let files = std::fs::read_dir(folder.join("samples").join(index.to_string())).unwrap();
    files
        .map(|file| file.unwrap().path())
        .map(|file| (file.file_stem().unwrap().to_string_lossy().into_owned(), read_tensor(&file).unwrap()))
        .collect()
}

/// What a model's values held over samples.
fn ranges(model: &Path, samples: &[Vec<(String, Tensor)>]) -> Ranges {
    let session = Session::builder().load(model).unwrap();
    let graph = session.original();
    let mut ranges = Ranges::default();
    for sample in samples {
        let given: Vec<(&str, Tensor)> = sample.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
        let values = session.bind(&given).unwrap();
        sample.iter().for_each(|(name, x)| ranges.widen(name, x));
        let mut watch = |id, x: &Tensor| ranges.widen(&graph.value(id).name, x);
        cpu::run(graph, &values, EvalPrecision::Declared, &mut watch).unwrap();
    }
    ranges
}

fn of_folder(name: &str, form: &str) -> Quantized {
    let folder = folder(name);
    let model = folder.join("model.onnx");
    let per_channel = name != "convnet11";
    let form = match form {
        "dynamic" => Form::Dynamic { per_channel },
        _ => {
            let samples: Vec<_> = (0..3).map(|index| sample(&folder, index)).collect();
            Form::Static { per_channel, ranges: ranges(&model, &samples) }
        }
    };
    Source::read(&model).unwrap().quantized(&form, &HashSet::new()).unwrap()
}

fn kinds(model: &ModelProto) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    model.graph.node.iter().for_each(|node| *kinds.entry(node.op_type.clone()).or_default() += 1);
    kinds
}

fn constants(bytes: &[u8]) -> BTreeMap<String, Tensor> {
    let graph = onnx::read_bytes(bytes, None, "test").unwrap().graph;
    let held = graph.values.iter().filter_map(|value| Some((value.name.clone(), value.constant.clone()?)));
    held.collect()
}

const FORMS: [(&str, &str); 6] = [
    ("convnet", "static"),
    ("convnet11", "static"),
    ("dense", "static"),
    ("convnet", "dynamic"),
    ("convnet11", "dynamic"),
    ("dense", "dynamic"),
];

/// The longest sum of these models (8 channels of 3 × 3), and float32's half a unit times 4 for each: what the
/// ends of a range differ by where sums are taken in another order, through a handful of layers.
const RANGES_APART: f64 = 72.0 * f32::EPSILON as f64 * 4.0;

#[test]
fn the_nodes_and_numbers_of_onnxruntime() {
    for (name, form) in FORMS {
        let ours = of_folder(name, form).model;
        let theirs = std::fs::read(folder(name).join(format!("{form}.onnx"))).unwrap();
        let read = |bytes: &[u8]| ModelProto::parse_from_bytes(bytes).unwrap();
        assert_eq!(kinds(&read(&ours)), kinds(&read(&theirs)), "{name}, {form}");
        let (ours, theirs) = (constants(&ours), constants(&theirs));
        let mut compared = 0;
        for (tensor, right) in &theirs {
            let Some(found) = ours.get(tensor) else { panic!("{name}, {form}: no {tensor}") };
            // One number for all is a list there, a scalar in ONNX's text.
            let shape = |of: &Tensor| if of.shape() == [1] { vec![] } else { of.shape().to_vec() };
            assert_eq!((found.dtype(), shape(found)), (right.dtype(), shape(right)), "{name}: {tensor}");
            let (found, right) = (found.to_f64s().unwrap(), right.to_f64s().unwrap());
            // What comes of weights alone is the same to the bit; activations' ranges are sums.
            let of_sums = !tensor.contains(".weight") && !tensor.ends_with("zero_point");
            for (x, y) in found.iter().zip(&right) {
                let integers = if tensor.ends_with("bias_quantized") { 0.5 } else { 0.0 };
                let apart = if of_sums { RANGES_APART * y.abs() + integers } else { 0.0 };
                assert!((x - y).abs() <= apart, "{name}, {form}, {tensor}: {x}, not {y}");
                compared += 1;
            }
        }
        assert!(compared > 800, "{name}, {form}: {compared}");
    }
}

/// The largest difference of two tensors, and the range of the second.
fn apart(x: &Tensor, y: &Tensor) -> (f64, f64) {
    assert_eq!(x.shape(), y.shape());
    let (x, y) = (x.to_f64s().unwrap(), y.to_f64s().unwrap());
    let off = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    let (low, high) = y.iter().fold((0f64, 0f64), |(low, high), &y| (low.min(y), high.max(y)));
    (off, high - low)
}

#[test]
fn the_answers_of_onnxruntime() {
    let devices = [None, test_device()];
    for (name, form) in FORMS {
        let right = read_tensor(&folder(name).join(format!("{form}.npy"))).unwrap();
        let bytes = of_folder(name, form).model;
        for device in devices.iter().enumerate().filter(|(at, device)| *at == 0 || device.is_some()) {
            let mut builder = Session::builder();
            if let Some(device) = device.1 {
                builder = builder.device(Device::from(device.clone()));
            }
            let session = builder.build(onnx::read_bytes(&bytes, None, name).unwrap()).unwrap();
            let given = sample(&folder(name), 0);
            let given: Vec<(&str, Tensor)> =
                given.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
            let found = session.run(&given).unwrap().remove(0).1;
            let (off, range) = apart(&found, &right);
            // Beside a border between two integers one side may take the other one: a step of 8 bits.
            assert!(off <= range / 255.0 * 1.01, "{name}, {form}, device {}: {off} of {range}", device.0);
        }
    }
}

/// How often each operator runs on the CPU.
fn run_kinds(bytes: &[u8]) -> BTreeMap<String, usize> {
    let session = Session::builder().build(onnx::read_bytes(bytes, None, "test").unwrap()).unwrap();
    let mut kinds = BTreeMap::new();
    session.graph().nodes.iter().for_each(|node| *kinds.entry(node.op_type.clone()).or_default() += 1);
    kinds
}

#[test]
fn no_product_of_floats_is_left() {
    for (name, convolutions, products) in [("convnet", 4, 1), ("convnet11", 4, 1), ("dense", 0, 2)] {
        let found = run_kinds(&of_folder(name, "static").model);
        let count = |kind: &str| found.get(kind).copied().unwrap_or(0);
        assert_eq!(
            (count("QLinearConv"), count("QLinearMatMul")),
            // One with a filter to a channel, which the dynamic form leaves in floats.
            (convolutions + usize::from(convolutions > 0), products),
            "{name}: {found:?}"
        );
        assert_eq!((count("MatMul"), count("Gemm"), count("Conv")), (0, 0, 0), "{name}: {found:?}");
        let found = run_kinds(&of_folder(name, "dynamic").model);
        let count = |kind: &str| found.get(kind).copied().unwrap_or(0);
        assert_eq!(
            (count("ConvInteger"), count("MatMulIntegerToFloat") + count("MatMulInteger")),
            (convolutions, products),
            "{name}: {found:?}"
        );
        // A product of rows of a quantised table has no range to find, and its scales are constants.
        assert_eq!(count("MatMulIntegerToFloat"), 1, "{name}: {found:?}");
    }
}

/// A model in a file of its own.
fn written(name: &str, model: &ModelProto) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sardonyx-forms-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.onnx"));
    std::fs::write(&file, model.write_to_bytes().unwrap()).unwrap();
    file
}

fn matrix(name: &str, dims: [i64; 2], list: impl Fn(usize) -> f32) -> TensorProto {
    let list: Vec<f32> = (0..(dims[0] * dims[1]) as usize).map(list).collect();
    TensorProto { dims: dims.to_vec(), ..proto::floats(name, &list) }
}

/// A model over x of 2 × 4 and constants.
fn model(nodes: Vec<NodeProto>, constants: Vec<TensorProto>, outputs: &[&str]) -> ModelProto {
    let outputs: Vec<_> = outputs.iter().map(|name| proto::value(name, proto::F32, &[2, 4])).collect();
    let mut graph = proto::graph(&[proto::value("x", proto::F32, &[2, 4])], nodes, &outputs);
    graph.initializer = constants;
    proto::model(graph)
}

fn x(list: [f32; 8]) -> Vec<(String, Tensor)> {
    vec![("x".into(), Tensor::new([2, 4], list.to_vec()).unwrap())]
}

fn some_x() -> Vec<(String, Tensor)> {
    x([1.0, -2.0, 0.5, 3.0, -1.0, 0.25, 2.0, -0.75])
}

fn weights(name: &str) -> TensorProto {
    matrix(name, [4, 4], |at| ((at * 7) % 11) as f32 / 10.0 - 0.5)
}

/// A model's static form over one sample, but for some nodes.
fn fixed(
    name: &str,
    model: &ModelProto,
    given: Vec<(String, Tensor)>,
    keep: &[&str],
) -> sardonyx::Result<Quantized> {
    let file = written(name, model);
    let form = Form::Static { per_channel: true, ranges: ranges(&file, &[given]) };
    let keep = keep.iter().map(|name| name.to_string()).collect();
    Source::read(&file)?.quantized(&form, &keep)
}

fn nodes(quantized: &Quantized) -> Vec<NodeProto> {
    ModelProto::parse_from_bytes(&quantized.model).unwrap().graph.node.clone()
}

fn named(mut node: NodeProto, name: &str) -> NodeProto {
    node.name = name.into();
    node
}

#[test]
fn an_activation_is_part_of_a_range_only_where_that_says_the_same() {
    let clip = |low: f32| {
        let nodes = vec![
            named(proto::node("MatMul", &["x", "w"], &["y"]), "product"),
            named(proto::node("Clip", &["y", "low", "high"], &["z"]), "clip"),
        ];
        let mut ends = [proto::floats("low", &[low]), proto::floats("high", &[6.0])];
        ends.iter_mut().for_each(|end| end.dims = vec![]);
        model(nodes, [weights("w")].into_iter().chain(ends).collect(), &["z"])
    };
    let count = |quantized: &Quantized| nodes(quantized).iter().filter(|node| node.op_type == "Clip").count();
    assert_eq!(count(&fixed("clip0", &clip(0.0), some_x(), &[]).unwrap()), 0);
    // A range holds 0, which is none of Clip's results.
    assert_eq!(count(&fixed("clip1", &clip(0.1), some_x(), &[]).unwrap()), 1);
    // Whoever reads what is before it, reads it still: another node, the model's caller, a graph within a node.
    let relu = || {
        vec![
            named(proto::node("MatMul", &["x", "w"], &["y"]), "product"),
            named(proto::node("Relu", &["y"], &["z"]), "relu"),
        ]
    };
    let relus = |name: &str, model: &ModelProto, keep: &[&str]| {
        let made = fixed(name, model, some_x(), keep).unwrap();
        Session::builder().build(onnx::read_bytes(&made.model, None, name).unwrap()).unwrap();
        nodes(&made).iter().filter(|node| node.op_type == "Relu").count()
    };
    assert_eq!(relus("relu", &model(relu(), vec![weights("w")], &["z"]), &[]), 0);
    assert_eq!(relus("relu-out", &model(relu(), vec![weights("w")], &["z", "y"]), &[]), 1);
    assert_eq!(relus("relu-kept", &model(relu(), vec![weights("w"), weights("v")], &["z"]), &["relu"]), 1);
    let mut captured = relu();
    let body = |from: &str| {
        proto::graph(
            &[],
            vec![proto::node("Neg", &[from], &["n"])],
            &[proto::value("n", proto::F32, &[2, 4])],
        )
    };
    let choice = proto::with_graph(proto::node("If", &["c"], &["chosen"]), "then_branch", body("y"));
    captured.push(proto::with_graph(choice, "else_branch", body("x")));
    let mut captured = model(captured, vec![weights("w")], &["z", "chosen"]);
    captured.graph.as_mut().unwrap().input.push(proto::value("c", proto::BOOL, &[]));
    let file = written("captured", &captured);
    let given = some_x().into_iter().chain([("c".to_string(), proto::truth(true))]).collect();
    let form = Form::Static { per_channel: true, ranges: ranges(&file, &[given]) };
    let made = Source::read(&file).unwrap().quantized(&form, &HashSet::new()).unwrap();
    assert_eq!(nodes(&made).iter().filter(|node| node.op_type == "Relu").count(), 1);
    let session = Session::builder().build(onnx::read_bytes(&made.model, None, "captured").unwrap()).unwrap();
    let given = [("x", some_x().remove(0).1), ("c", proto::truth(true))];
    // The graph in the If reads the product's result, with another sign.
    let outputs: HashMap<String, Tensor> = session.run(&given).unwrap().into_iter().collect();
    let (z, chosen) = (outputs["z"].to_f64s().unwrap(), outputs["chosen"].to_f64s().unwrap());
    let most = chosen.iter().fold(0f64, |most, x| most.max(x.abs()));
    assert!(
        z.iter().zip(&chosen).all(|(z, n)| (z - (-n).max(0.0)).abs() <= most / 127.0),
        "{z:?} {chosen:?}"
    );
}

#[test]
fn what_no_integer_stands_for_stays() {
    // A mask of minus infinity is a constant; added, it gives infinities.
    let masked = |mask: f32| {
        let nodes = vec![
            named(proto::node("MatMul", &["x", "w"], &["y"]), "product"),
            named(proto::node("Add", &["y", "mask"], &["z"]), "masked"),
        ];
        let mask = proto::floats("mask", &[0.0, mask, 0.0, 0.0]);
        model(nodes, vec![weights("w"), mask], &["z"])
    };
    let made = fixed("mask", &masked(f32::NEG_INFINITY), some_x(), &[]).unwrap();
    assert_eq!(made.left.len(), 1);
    assert!(made.left[0].node == "masked" && made.left[0].reason.contains("'mask'"), "{:?}", made.left);
    let made = fixed("no-mask", &masked(-1.0), some_x(), &[]).unwrap();
    assert!(made.left.is_empty() && made.layers.iter().any(|layer| layer.node == "masked"));
    // Zeros in all samples say nothing of what comes later.
    let made = fixed("zeros", &masked(-1.0), x([0.0; 8]), &[]).unwrap();
    assert!(made.left.iter().any(|left| left.reason.contains("'x' was 0")), "{:?}", made.left);
    // No number at all is an error that names the tensor, unless the nodes stay.
    let error = fixed("nan", &masked(-1.0), x([f32::NAN; 8]), &[]).err().unwrap().to_string();
    assert!(error.contains("'x'") && error.contains("finite number") && error.contains("--keep"), "{error}");
    assert!(fixed("nan-kept", &masked(-1.0), x([f32::NAN; 8]), &["product", "masked"]).is_ok());
    // Weights that are none are an error too.
    let odd = matrix("w", [4, 4], |at| if at == 3 { f32::NAN } else { 1.0 });
    let mut bad = masked(-1.0);
    bad.graph.as_mut().unwrap().initializer[0] = odd;
    let file = written("odd", &bad);
    let form = Form::Dynamic { per_channel: false };
    let error = Source::read(&file).unwrap().quantized(&form, &HashSet::new()).err().unwrap().to_string();
    assert!(error.contains("'w'") && error.contains("NaN") && error.contains("product"), "{error}");
}

#[test]
fn models_that_can_not_be_are_refused() {
    let product = || vec![named(proto::node("MatMul", &["x", "w"], &["y"]), "product")];
    let of_opset = |version: i64| {
        let mut model = model(product(), vec![weights("w")], &["y"]);
        model.opset_import[0].version = version;
        Source::read(&written(&format!("opset{version}"), &model)).unwrap()
    };
    let fixed = |per_channel| Form::Static { per_channel, ranges: Ranges::default() };
    let refusal = |source: &Source, form: &Form| source.fits(form).err().map(|error| error.to_string());
    let dynamic = Form::Dynamic { per_channel: true };
    for (opset, form, said) in [
        (10, &dynamic, Some("opset 10: DynamicQuantizeLinear is there from opset 11 on")),
        (11, &dynamic, None),
        (9, &fixed(false), Some("opset 9: QuantizeLinear is there from opset 10 on")),
        (10, &fixed(false), None),
        (12, &fixed(true), Some("opset 12: --per-channel takes QuantizeLinear with an axis, of opset 13")),
        (13, &fixed(true), None),
    ] {
        let found = refusal(&of_opset(opset), form);
        match said {
            None => assert_eq!(found, None),
            Some(said) => assert!(found.as_ref().is_some_and(|text| text.contains(said)), "{found:?}"),
        }
    }
    // A quantised model, and one without weights.
    for form in ["static", "dynamic"] {
        let source = Source::read(&folder("dense").join(format!("{form}.onnx"))).unwrap();
        let said = refusal(&source, &dynamic).unwrap();
        assert!(said.contains("quantised already"), "{said}");
    }
    let none = model(vec![proto::node("Relu", &["x"], &["y"])], vec![], &["y"]);
    let said = refusal(&Source::read(&written("none", &none)).unwrap(), &fixed(false)).unwrap();
    assert!(said.contains("nothing to quantise"), "{said}");
}

#[test]
fn shared_weights_and_large_biases() {
    // Two products of one matrix, with a bias that would leave int32 in units of the scales as they are.
    let gemm = |bias: &str, y: &str| proto::node("Gemm", &["x", "w", bias], &[y]);
    let nodes = vec![named(gemm("small", "y"), "first"), named(gemm("large", "z"), "second")];
    let small = proto::floats("small", &[0.1, -0.2, 0.3, 0.0]);
    let large = proto::floats("large", &[1e6, -1e6, 0.0, 1.0]);
    let tiny = matrix("w", [4, 4], |at| (at as f32 - 7.0) * 1e-5);
    let model = model(nodes, vec![tiny, small, large], &["y", "z"]);
    let made = fixed("shared", &model, some_x(), &[]).unwrap();
    let count = |kind: &str| nodes_of(&made, kind);
    // One set of codes, and a bias each.
    assert_eq!((count("Gemm"), count("QuantizeLinear"), count("DequantizeLinear")), (2, 3, 6));
    let session = Session::builder().build(onnx::read_bytes(&made.model, None, "shared").unwrap()).unwrap();
    let z = session.run(&[("x", some_x().remove(0).1)]).unwrap()[1].1.to_f64s().unwrap();
    // A step of z's range is 2e6 / 255.
    assert!((z[0] - 1e6).abs() < 8e3 && (z[1] + 1e6).abs() < 8e3 && z[2].abs() < 8e3, "{z:?}");
}

fn nodes_of(quantized: &Quantized, kind: &str) -> usize {
    nodes(quantized).iter().filter(|node| node.op_type == kind).count()
}
