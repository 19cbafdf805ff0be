//! Compiled models: they give what the ONNX file gives, on any device; damaged ones give an error or the same
//! answer, never a panic.

use sardonyx::compiled::{self, is_compiled};
use sardonyx::gpu::test_device;
use sardonyx::graph::{Dim, ValueId};
use sardonyx::plan::{Capabilities, Precision};
use sardonyx::{Session, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const MODELS: &[&str] = &[
    "digits/digits.onnx",
    "tiny/mlp/model.onnx",
    "tiny/conv_odd/model.onnx",
    "tiny/branches/model.onnx",
    "tiny/cpu_step/model.onnx",
    "tiny/decoder/model.onnx",
];

fn path(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model)
}
fn target(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Inputs of small numbers, each symbolic size as 2.
fn inputs(session: &Session) -> HashMap<ValueId, Tensor> {
    let numbers = |port: sardonyx::session::InputOutputInfo| {
        let shape: Vec<usize> = port
            .dims
            .iter()
            .flatten()
            .map(|dim| if let Dim::Known(size) = dim { *size } else { 2 })
            .collect();
        let count = shape.iter().product();
        let tensor =
            Tensor::new(shape, (0..count).map(|k| (k * 7 % 11) as f32 / 8.0 - 0.5).collect()).unwrap();
        (port.name, sardonyx::tensor::cast(&tensor, port.dtype, true).unwrap())
    };
    let named: Vec<(String, Tensor)> = session.inputs().into_iter().map(numbers).collect();
    session
        .bind(&named.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect::<Vec<_>>())
        .unwrap()
}
fn outputs(session: &Session) -> sardonyx::Result<Vec<(String, Tensor)>> {
    let inputs = inputs(session);
    session.run_prepared(&*session.prepare(&inputs)?, &inputs)
}
/// Compiles a model with the constants of a plan for these capabilities.
fn compile(model: &str, capabilities: &Capabilities, precision: Precision, to: &Path) -> compiled::Written {
    let session = Session::builder().precision(precision).load(path(model)).unwrap();
    let plan = session.plan_for(&inputs(&session), capabilities).unwrap();
    session.write_compiled(&path(model), Some(&plan), to).unwrap()
}

#[test]
fn a_compiled_model_gives_the_same_on_every_device() {
    let devices = [None, test_device()];
    for (index, model) in MODELS.iter().enumerate() {
        for device in
            devices.iter().filter(|device| device.is_none() || std::env::var_os("SARDONYX_NO_GPU").is_none())
        {
            for precision in [Precision::F32, Precision::F16] {
                let capabilities =
                    device.as_ref().map_or(Capabilities::webgpu(), |device| device.capabilities().clone());
                let file = target(&format!("same-{index}.sdx"));
                let written = compile(model, &capabilities, precision, &file);
                assert!(is_compiled(&file) && !is_compiled(&path(model)));
                let load = |path: &Path| {
                    Session::builder().device(device.clone()).precision(precision).load(path).unwrap()
                };
                let (plain, compiled) = (load(&path(model)), load(&file));
                assert_eq!(compiled.info(), plain.info());
                assert_eq!(outputs(&compiled).unwrap(), outputs(&plain).unwrap(), "{model} {precision:?}");
                let prepared = compiled.prepare(&inputs(&compiled)).unwrap();
                assert_eq!(compiled.packed_anew(&prepared), None, "{model}: what was packed is used");
                assert!(
                    *model != "digits/digits.onnx" || written.weights > 0 && written.packed > 0,
                    "{written:?}"
                );
            }
        }
    }
}

#[test]
fn what_was_packed_for_another_device_is_packed_anew() {
    let Some(device) = test_device() else { return };
    let file = target("other.sdx");
    compile("digits/digits.onnx", device.capabilities(), Precision::F16, &file);
    let load = |path: &Path| Session::builder().device(Some(device.clone())).load(path).unwrap();
    let (plain, compiled) = (load(&path("digits/digits.onnx")), load(&file));
    assert_eq!(outputs(&compiled).unwrap(), outputs(&plain).unwrap());
    let why = compiled.packed_anew(&compiled.prepare(&inputs(&compiled)).unwrap()).unwrap();
    assert!(why.contains("another form"), "{why}");
    // Packed by another version: the fourth word.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[12] ^= 0x40;
    std::fs::write(&file, bytes).unwrap();
    let compiled = load(&file);
    assert_eq!(outputs(&compiled).unwrap(), outputs(&plain).unwrap());
    let why = compiled.packed_anew(&compiled.prepare(&inputs(&compiled)).unwrap()).unwrap();
    assert!(why.contains("another version"), "{why}");
}

#[test]
fn a_compiled_file_is_not_compiled_again() {
    let (file, again) = (target("once.sdx"), target("twice.sdx"));
    compile("tiny/mlp/model.onnx", &Capabilities::webgpu(), Precision::F32, &file);
    let session = Session::builder().load(&file).unwrap();
    let error = session.write_compiled(&file, None, &again).unwrap_err().to_string();
    assert!(error.contains("once.sdx") && error.contains("compiled already"), "{error}");
    assert!(!again.exists());
}

/// Loads and runs on the CPU, and on a device if there is one. An error names the file.
fn attempt(file: &Path) -> Option<String> {
    for device in [None, test_device()] {
        let result = Session::builder()
            .device(device)
            .load(file)
            .and_then(|session| if session.inputs().len() == 1 { outputs(&session) } else { Ok(vec![]) });
        if let Err(error) = result {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            return Some(text);
        }
    }
    None
}

/// A matrix product by weights that lie in a file beside the model.
#[test]
fn external_data_come_into_the_file() {
    use onnx_protobuf::*;
    let folder = target("external");
    std::fs::create_dir_all(&folder).unwrap();
    let size = |size: i64| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(size)),
        ..Default::default()
    };
    let value = |name: &str, sizes: [i64; 2]| {
        let shape = TensorShapeProto { dim: sizes.map(size).to_vec(), ..Default::default() };
        let tensor = type_proto::Tensor { elem_type: 1, shape: Some(shape).into(), ..Default::default() };
        let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
    };
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    };
    let external = |name: &str, dims: &[i64], offset: &str| TensorProto {
        name: name.into(),
        data_type: 1,
        dims: dims.to_vec(),
        data_location: tensor_proto::DataLocation::EXTERNAL.into(),
        external_data: vec![entry("location", "w.bin"), entry("offset", offset)],
        ..Default::default()
    };
    let node = |op: &str, inputs: [&str; 2], output: &str| NodeProto {
        op_type: op.into(),
        input: inputs.map(String::from).to_vec(),
        output: vec![output.into()],
        ..Default::default()
    };
    let graph = GraphProto {
        name: "g".into(),
        node: vec![node("MatMul", ["x", "w"], "h"), node("Add", ["h", "b"], "y")],
        input: vec![value("x", [2, 32])],
        output: vec![value("y", [2, 24])],
        initializer: vec![external("w", &[32, 24], "0"), external("b", &[24], "3072")],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version: 13, ..Default::default() };
    let model = ModelProto {
        ir_version: 8,
        graph: Some(graph).into(),
        opset_import: vec![opset],
        ..Default::default()
    };
    let (onnx, file) = (folder.join("model.onnx"), folder.join("elsewhere.sdx"));
    std::fs::write(&onnx, model.write_to_bytes().unwrap()).unwrap();
    let weights: Vec<f32> = (0..32 * 24 + 24).map(|k| (k % 13) as f32 - 6.0).collect();
    std::fs::write(folder.join("w.bin"), weights.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        .unwrap();
    let session = Session::builder().load(&onnx).unwrap();
    let expected = outputs(&session).unwrap();
    // The weights are large enough to be laid out; the bias comes into the model's own message.
    assert_eq!(session.write_compiled(&onnx, None, &file).unwrap().weights, 1);
    drop(session);
    std::fs::remove_file(folder.join("w.bin")).unwrap();
    assert!(Session::builder().load(&onnx).is_err());
    assert_eq!(outputs(&Session::builder().load(&file).unwrap()).unwrap(), expected);
}

#[test]
fn a_truncated_file_is_an_error() {
    let file = target("whole.sdx");
    compile(
        "tiny/mlp/model.onnx",
        &test_device().map_or(Capabilities::webgpu(), |device| device.capabilities().clone()),
        Precision::F32,
        &file,
    );
    let whole = std::fs::read(&file).unwrap();
    let cut = target("cut.sdx");
    for length in (8..whole.len()).step_by((whole.len() / 60).max(1)) {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let error = attempt(&cut).unwrap_or_else(|| panic!("{length} bytes of {} are taken", whole.len()));
        assert!(error.contains("cut.sdx"), "{error}");
    }
}

#[test]
fn a_header_that_lies_is_an_error_or_ignored() {
    let file = target("honest.sdx");
    compile("tiny/mlp/model.onnx", &Capabilities::webgpu(), Precision::F32, &file);
    let whole = std::fs::read(&file).unwrap();
    let lie = target("lie.sdx");
    // Every byte of the front, and of the header that it points to.
    let at = u64::from_le_bytes(whole[16..24].try_into().unwrap()) as usize;
    let places = (8..32).chain(at..whole.len());
    for place in places {
        for change in [0x01u8, 0x80, 0x0f] {
            let mut bytes = whole.clone();
            bytes[place] ^= change;
            std::fs::write(&lie, bytes).unwrap();
            attempt(&lie);
        }
    }
    for (from, to) in [
        ("\"start\":", "\"start\":9"),
        ("\"bytes\":", "\"bytes\":99999999999999"),
        ("\"args\":[", "\"args\":[18446744073709551615,"),
    ] {
        let text = String::from_utf8_lossy(&whole[at..]).replace(from, to);
        let mut bytes = whole[..at].to_vec();
        bytes.extend(text.as_bytes());
        bytes[24..32].copy_from_slice(&(text.len() as u64).to_le_bytes());
        std::fs::write(&lie, bytes).unwrap();
        attempt(&lie);
    }
}

/// What the packings make, and the rewrites at load: a change of it must raise `PACKINGS` in
/// src/compiled/mod.rs, or files of before would be taken for right ones. Then write the new sums here.
#[test]
fn what_is_packed_is_what_this_version_promises() {
    let software = Capabilities {
        software: true,
        translates_late: true,
        shader_int64: true,
        max_immediate_bytes: 256,
        ..Capabilities::webgpu()
    };
    let mut sums = vec![];
    for model in MODELS {
        for capabilities in [&Capabilities::webgpu(), &software] {
            let file = target("sum.sdx");
            let session = Session::builder().load(path(model)).unwrap();
            let plan = session.plan_for(&inputs(&session), capabilities).unwrap();
            let written = session.write_compiled(&path(model), Some(&plan), &file).unwrap();
            let bytes = std::fs::read(&file).unwrap();
            // All but the front and the header, which names the version: FNV-1a.
            let end = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
            let sum = bytes[32..end]
                .iter()
                .fold(0xcbf29ce484222325u64, |sum, &byte| (sum ^ byte as u64).wrapping_mul(0x100000001b3));
            sums.push((written.packed, format!("{sum:016x}")));
        }
    }
    let found: Vec<String> = sums.iter().map(|(packed, sum)| format!("{packed} {sum}")).collect();
    assert_eq!(found, PROMISED);
}

const PROMISED: [&str; 12] = [
    "3 06c878f7ff625e66",
    "3 cfcf27503c58f37a",
    "1 77e46d37d36e9f04",
    "1 e61370227f19c910",
    "1 d604b15fe6617573",
    "1 90096ac37f4606db",
    "0 e09b30928c5f6c5f",
    "0 e09b30928c5f6c5f",
    "0 d3ce901765d3cca6",
    "0 d3ce901765d3cca6",
    "5 cbeac8147c1fff78",
    "5 cfa66263e052ca28",
];
