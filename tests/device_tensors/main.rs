//! Inputs and outputs that stay on the device: the same bits as through the host, and nothing copied.

mod left_out;
#[allow(dead_code, reason = "each test binary uses some of it")]
#[path = "../support/shared.rs"]
mod shared;
mod states;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto};
use onnx_protobuf::{TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::session::{AnyTensor, Bindings};
use sardonyx::{DType, Device, DeviceTensor, ErrorKind, Precision, Session, Tensor, onnx};
use std::collections::HashMap;

/// A value's name and sizes.
type Port<'a> = (&'a str, &'a [i64]);

fn port((name, dims): &Port) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension { value: Some(dimension::Value::DimValue(size)), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect(), ..Default::default() };
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(shape).into(), ..Default::default() };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.to_string(), type_: Some(kind).into(), ..Default::default() }
}

/// A node as `Op a b -> c`.
fn node(text: &str, attributes: &[AttributeProto]) -> NodeProto {
    let (left, right) = text.split_once(" -> ").unwrap();
    let words = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
    let mut input = words(left);
    NodeProto {
        name: text.into(),
        op_type: input.remove(0),
        input,
        output: words(right),
        attribute: attributes.to_vec(),
        ..Default::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        type_: AttributeType::INTS.into(),
        ..Default::default()
    }
}
fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, type_: AttributeType::INT.into(), ..Default::default() }
}
fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        s: text.as_bytes().to_vec(),
        type_: AttributeType::STRING.into(),
        ..Default::default()
    }
}

fn indices(name: &str, list: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: 7,
        dims: vec![list.len() as i64],
        int64_data: list.to_vec(),
        ..Default::default()
    }
}
fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>();
    let float_data = (0..count).map(|i| (i % 7) as f32 * 0.25 - 0.5).collect();
    TensorProto { name: name.into(), data_type: 1, dims: dims.to_vec(), float_data, ..Default::default() }
}

fn model(
    inputs: &[Port],
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    outputs: &[&str],
) -> onnx::Model {
    model_of(18, inputs, nodes, constants, outputs)
}

/// The same, of a version of the operators.
fn model_of(
    version: i64,
    inputs: &[Port],
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    outputs: &[&str],
) -> onnx::Model {
    let graph = GraphProto {
        name: "g".into(),
        node: nodes,
        input: inputs.iter().map(port).collect(),
        output: outputs
            .iter()
            .map(|name| ValueInfoProto { name: name.to_string(), ..Default::default() })
            .collect(),
        initializer: constants,
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version, ..Default::default() };
    let model = ModelProto {
        ir_version: 9,
        graph: Some(graph).into(),
        opset_import: vec![opset],
        ..Default::default()
    };
    onnx::read_bytes(&model.write_to_bytes().unwrap(), None, "made here").unwrap()
}

fn tensor(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::new(shape, (0..count).map(|i| (i * 37 % 101) as f32 * 0.07 - 3.0).collect()).unwrap()
}

fn devices() -> Vec<Device> {
    std::iter::once(Device::Cpu).chain(test_device().map(Device::from)).collect()
}

/// The same, with a GPU that no other test copies to or from.
fn own_devices() -> Vec<Device> {
    let own = || GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap();
    std::iter::once(Device::Cpu).chain(test_device().map(|_| own().into())).collect()
}

fn bits(tensor: &Tensor) -> (DType, Vec<usize>, Vec<u8>) {
    (tensor.dtype(), tensor.shape().to_vec(), tensor.bytes().to_vec())
}

fn as_f16(tensor: &Tensor) -> Tensor {
    let cast = |tensor: &Tensor, dtype| sardonyx::tensor::cast(tensor, dtype, true).unwrap();
    if tensor.dtype().is_float() { cast(&cast(tensor, DType::F16), tensor.dtype()) } else { tensor.clone() }
}

fn kept(value: &AnyTensor) -> DeviceTensor {
    match value {
        AnyTensor::Device(tensor) => tensor.clone(),
        AnyTensor::Host(tensor) => panic!("{:?} came to the host", tensor.shape()),
    }
}

/// Runs with every input on the device and the outputs of these names left there.
fn run_kept(session: &Session, inputs: &[(&str, Tensor)], keep: &[String]) -> Vec<(String, AnyTensor)> {
    let mut bindings = Bindings::new();
    for (name, tensor) in inputs {
        bindings = bindings.input(*name, session.upload(tensor).unwrap());
    }
    let bindings = keep.iter().fold(bindings, |bindings, name| bindings.keep(name));
    let prepared = session.prepare_with(&bindings).unwrap();
    session.run_with(&prepared, &bindings).unwrap()
}

/// Every output through the host, then kept: all of them, each alone, and all again.
fn same_either_way(make: &dyn Fn() -> onnx::Model, inputs: &[(&str, Tensor)]) {
    for device in devices() {
        for precision in [Precision::F32, Precision::F16] {
            let session =
                Session::builder().device(device.clone()).precision(precision).build(make()).unwrap();
            let expected = session.run(inputs).unwrap();
            let all: Vec<String> = expected.iter().map(|(name, _)| name.clone()).collect();
            let each = all.iter().map(|name| vec![name.clone()]);
            for keep in [all.clone(), vec![]].into_iter().chain(each).chain([all.clone()]) {
                let found = run_kept(&session, inputs, &keep);
                assert_eq!(found.len(), expected.len());
                for ((name, value), (_, wanted)) in found.into_iter().zip(&expected) {
                    let stayed = matches!(value, AnyTensor::Device(_));
                    assert_eq!(stayed, keep.contains(&name), "{device} {precision:?} {name}");
                    assert_eq!((value.dtype(), value.shape()), (wanted.dtype(), wanted.shape()), "{name}");
                    let value = value.into_tensor().unwrap();
                    // What was never computed, an input or a constant, is rounded where it is stored.
                    let rounded = precision == Precision::F16 && bits(&value) == bits(&as_f16(wanted));
                    assert!(
                        rounded || bits(&value) == bits(wanted),
                        "{device} {precision:?} {name} of {keep:?}: {value:?}, not {wanted:?}"
                    );
                }
            }
            assert_eq!(session.run(inputs).unwrap().len(), all.len());
        }
    }
}

#[test]
fn outputs_of_every_kind_may_stay() {
    let make = || {
        let nodes = vec![
            node("Relu x -> read_later", &[]),
            node("Add read_later x -> sum", &[]),
            node("Reshape read_later shape -> view", &[]),
            node("Slice sum zero one zero -> at_start", &[]),
            node("Slice sum one two zero -> behind_it", &[]),
            node("Transpose sum -> turned", &[ints("perm", &[1, 0])]),
            node("Identity x -> the_input", &[]),
            node("Reshape x shape -> view_of_the_input", &[]),
            node("Mul constant constant -> known", &[]),
            node("Concat sum read_later -> joined", &[int("axis", 0)]),
            node("Greater sum x -> truth", &[]),
            node("ArgMax sum -> places", &[int("axis", 1)]),
            node("Cast sum -> whole", &[int("to", 6)]),
        ];
        let constants = vec![
            indices("shape", &[3, 2]),
            indices("zero", &[0]),
            indices("one", &[1]),
            indices("two", &[2]),
            floats("constant", &[2, 3]),
        ];
        let outputs = [
            "read_later",
            "sum",
            "view",
            "at_start",
            "behind_it",
            "turned",
            "the_input",
            "view_of_the_input",
            "known",
            "joined",
            "truth",
            "places",
            "whole",
            "x",
            "constant",
        ];
        model(&[("x", &[2, 3])], nodes, constants, &outputs)
    };
    same_either_way(&make, &[("x", tensor(&[2, 3]))]);
}

#[test]
fn steps_on_the_cpu_take_and_give_what_stays() {
    let make = || {
        let nodes = vec![
            // No GPU holds float64.
            node("Cast x -> wide", &[int("to", 11)]),
            node("Einsum wide -> wide_rows", &[text("equation", "ij->i")]),
            node("Cast wide_rows -> rows", &[int("to", 1)]),
            node("Relu x -> positive", &[]),
            node("Cast positive -> wide_positive", &[int("to", 11)]),
            node("Einsum wide_positive -> wide_columns", &[text("equation", "ij->j")]),
            node("Cast wide_columns -> columns", &[int("to", 1)]),
            node("Exp rows -> grown", &[]),
            node("Add columns positive -> sum", &[]),
        ];
        model(&[("x", &[2, 3])], nodes, vec![], &["rows", "positive", "columns", "grown", "sum"])
    };
    same_either_way(&make, &[("x", tensor(&[2, 3]))]);
}

/// An image's channels lie innermost on a device: what comes out of a convolution isn't what goes in.
#[test]
fn an_output_in_another_layout_goes_in_again() {
    let make = || {
        let pads = [ints("pads", &[1, 1, 1, 1]), ints("kernel_shape", &[3, 3])];
        let nodes = vec![node("Conv x w b -> y", &pads)];
        let constants = vec![floats("w", &[3, 3, 3, 3]), floats("b", &[3])];
        model(&[("x", &[1, 3, 5, 7])], nodes, constants, &["y"])
    };
    let x = tensor(&[1, 3, 5, 7]);
    same_either_way(&make, &[("x", x.clone())]);
    for device in devices() {
        let session = Session::builder().device(device).build(make()).unwrap();
        let mut host = x.clone();
        let mut state = AnyTensor::from(x.clone());
        for _ in 0..3 {
            host = session.run(&[("x", host)]).unwrap().remove(0).1;
            let bindings = Bindings::new().input("x", state).keep("y");
            let prepared = session.prepare_with(&bindings).unwrap();
            state = session.run_with(&prepared, &bindings).unwrap().remove(0).1;
        }
        assert_eq!(bits(&state.into_tensor().unwrap()), bits(&host));
    }
}

#[test]
fn a_loop_on_the_device_copies_nothing_and_takes_no_more_memory() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny/decoder/model.onnx");
    let first = tensor(&[1, 9, 16]);
    for device in own_devices() {
        let session = Session::builder().device(device).load(path).unwrap();
        let mut host = first.clone();
        for _ in 0..6 {
            host = session.run(&[("input", host)]).unwrap().remove(0).1;
        }
        let mut state = session.upload(&first).unwrap();
        let mut seen = vec![];
        for _ in 0..6 {
            let bindings = Bindings::new().input("input", &state).keep("output");
            let prepared = session.prepare_with(&bindings).unwrap();
            state = kept(&session.run_with(&prepared, &bindings).unwrap().remove(0).1);
            seen.extend(session.gpu().map(|device| (device.bytes_copied(), device.memory_in_use().0)));
        }
        // From the third on there are two buffers, to and fro.
        assert!(seen.iter().skip(2).all(|now| *now == seen[2]), "{seen:?}");
        assert_eq!(bits(&state.download().unwrap()), bits(&host));
    }
}

/// A language model's cache: what each token adds to it stays where it is. Only tokens go up and logits come down.
#[test]
fn a_language_models_cache_stays_on_the_device() {
    let Some(folder) = shared::folder("models/charlm_llama") else { return };
    let caches: Vec<(String, String)> = (0..4)
        .flat_map(|layer| {
            ["k", "v"].map(|kind| (format!("past_{layer}_{kind}"), format!("present_{layer}_{kind}")))
        })
        .collect();
    let tokens = [18i64, 47, 56, 57, 58];
    let empty = || Tensor::new([1, 2, 0, 32], Vec::<f32>::new()).unwrap();
    let token = |id: i64| Tensor::new([1, 1], vec![id]).unwrap();
    for device in own_devices() {
        let session = Session::builder().device(device).load(folder.join("model.onnx")).unwrap();
        let mut past: HashMap<&str, Tensor> = caches.iter().map(|(past, _)| (&**past, empty())).collect();
        let mut expected = vec![];
        for id in tokens {
            let mut inputs: Vec<(&str, Tensor)> =
                past.iter().map(|(name, cache)| (*name, cache.clone())).collect();
            inputs.push(("input_ids", token(id)));
            let mut outputs: HashMap<String, Tensor> = session.run(&inputs).unwrap().into_iter().collect();
            expected.push(outputs.remove("logits").unwrap());
            past = caches.iter().map(|(past, present)| (&**past, outputs.remove(present).unwrap())).collect();
        }
        let mut states: Vec<AnyTensor> =
            caches.iter().map(|_| session.upload(&empty()).unwrap().into()).collect();
        for (id, wanted) in tokens.into_iter().zip(&expected) {
            let mut bindings = Bindings::new().input("input_ids", token(id));
            for ((past, present), state) in caches.iter().zip(states.drain(..)) {
                bindings = bindings.input(past, state).keep(present);
            }
            let prepared = session.prepare_with(&bindings).unwrap();
            session.warm(&prepared).unwrap();
            let before = session.gpu().map(GpuDevice::bytes_copied);
            let mut outputs: HashMap<String, AnyTensor> =
                session.run_with(&prepared, &bindings).unwrap().into_iter().collect();
            let copied = session.gpu().map(|device| device.bytes_copied() - before.unwrap());
            // A token as it is stored, logits, and what kernels tell of indices.
            let logits = (wanted.len() as u64 * 4).next_multiple_of(32);
            assert!(copied.is_none_or(|copied| copied <= 32 + logits + 16), "{copied:?} bytes");
            assert_eq!(bits(&outputs.remove("logits").unwrap().into_tensor().unwrap()), bits(wanted));
            states = caches.iter().map(|(_, present)| kept(&outputs[present]).into()).collect();
        }
        for (state, (name, _)) in states.into_iter().zip(&caches) {
            assert_eq!(bits(&state.into_tensor().unwrap()), bits(&past[&**name]), "{name}");
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error_of_one_line() {
    let make = || model(&[("x", &[2, 3])], vec![node("Relu x -> y", &[])], vec![], &["y"]);
    let open = |device: Device, precision| {
        Session::builder().device(device).precision(precision).build(make()).unwrap()
    };
    for device in devices() {
        let session = open(device, Precision::F32);
        let x = session.upload(&tensor(&[2, 3])).unwrap();
        let refused = |bindings: Bindings| {
            let error = session.prepare_with(&bindings).err().expect("refused");
            assert_eq!(error.kind(), ErrorKind::Input, "{error}");
            error.to_string()
        };
        assert!(refused(Bindings::new()).contains("missing"));
        assert!(refused(Bindings::new().input("z", &x)).contains("no such input"));
        assert!(refused(Bindings::new().input("x", &x).keep("z")).contains("its outputs are: y"));
        let long = session.upload(&tensor(&[4, 3])).unwrap();
        assert!(refused(Bindings::new().input("x", &long)).contains("found size 4"));
        let whole = session.upload(&Tensor::new([2, 3], vec![1i32; 6]).unwrap()).unwrap();
        assert!(refused(Bindings::new().input("x", &whole)).contains("found type int32"));
        // Types that no device stores lie on the host.
        let double = session.upload(&Tensor::new([1], vec![1f64]).unwrap()).unwrap();
        assert_eq!(double.download().unwrap().as_slice::<f64>().unwrap(), [1.0]);
    }
    let Some(device) = test_device() else { return };
    let session = open(device.clone().into(), Precision::F32);
    let own = session.upload(&tensor(&[2, 3])).unwrap();
    let prepared = session.prepare_with(&Bindings::new().input("x", &own)).unwrap();
    let refused = |tensor: &DeviceTensor, part: &str| {
        let error = session.run_with(&prepared, &Bindings::new().input("x", tensor)).expect_err("refused");
        assert!(error.kind() == ErrorKind::Input && error.to_string().starts_with("'x': "), "{error}");
        assert!(error.to_string().contains(part) && !error.to_string().contains('\n'), "{error}");
    };
    let half = open(device.into(), Precision::F16);
    refused(&half.upload(&tensor(&[2, 3])).unwrap(), "another precision");
    let second = GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap();
    let other = open(second.into(), Precision::F32);
    refused(&other.upload(&tensor(&[2, 3])).unwrap(), "another device");
    assert_eq!(session.run_with(&prepared, &Bindings::new().input("x", &own)).unwrap().len(), 1);
}

/// An output that somebody holds is not written over, however many runs follow.
#[test]
fn what_is_held_stays_as_it_is() {
    let make = || model(&[("x", &[40])], vec![node("Exp x -> y", &[])], vec![], &["y"]);
    for device in devices() {
        let session = Session::builder().device(device).build(make()).unwrap();
        let input = |k: usize| Tensor::new([40], vec![k as f32 * 0.25; 40]).unwrap();
        let mut held = vec![];
        for k in 0..8 {
            let bindings = Bindings::new().input("x", input(k)).keep("y");
            let prepared = session.prepare_with(&bindings).unwrap();
            held.push(session.run_with(&prepared, &bindings).unwrap().remove(0).1);
            if k == 4 {
                held.remove(0);
            }
        }
        for (value, k) in held.into_iter().zip([1, 2, 3, 4, 5, 6, 7]) {
            let wanted = session.run(&[("x", input(k))]).unwrap().remove(0).1;
            assert_eq!(bits(&value.into_tensor().unwrap()), bits(&wanted), "{k}");
        }
    }
}
