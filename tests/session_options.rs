//! Sessions in which a mechanism is left out, freed buffers are poisoned, or some nodes are held in float32.

use sardonyx::compare::{Options, Verdict, compare};
use sardonyx::gpu::{GpuDevice, test_device};
use sardonyx::plan::{Precision, StepKind};
use sardonyx::random::SplitMix64;
use sardonyx::session::PrecisionFile;
use sardonyx::{Dim, Session, Tensor, ValueId};
use std::collections::HashMap;

const MODELS: &[&str] = &[
    "models/tiny/mlp/model.onnx",
    "models/tiny/conv_odd/model.onnx",
    "models/tiny/branches/model.onnx",
    "models/tiny/decoder/model.onnx",
    "models/tiny/joined/model.onnx",
    "models/tiny/heads/model.onnx",
    "models/digits/digits.onnx",
];

fn inputs(session: &Session) -> HashMap<ValueId, Tensor> {
    let mut random = SplitMix64(7);
    let noise: Vec<(String, Tensor)> = session
        .inputs()
        .into_iter()
        .map(|port| {
            let dims = port.dims.unwrap_or_default();
            let size = |dim: &Dim| if let Dim::Known(size) = dim { *size } else { 2 };
            let shape: Vec<usize> = dims.iter().map(size).collect();
            let elements = (0..shape.iter().product()).map(|_| (random.unit() * 2.0 - 1.0) as f32).collect();
            (port.name, Tensor::new(shape, elements).unwrap())
        })
        .collect();
    session
        .bind(&noise.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect::<Vec<_>>())
        .unwrap()
}

fn session(model: &str, device: &GpuDevice, precision: Precision, held: &[String]) -> Session {
    let builder = Session::builder().device(device.clone()).precision(precision);
    builder.hold_f32(held).load(model).unwrap()
}

fn outputs(session: &Session) -> Vec<Vec<f64>> {
    let inputs = inputs(session);
    let prepared = session.prepare(&inputs).unwrap();
    let made = session.run_prepared(&prepared, &inputs).unwrap();
    made.iter().map(|(_, tensor)| tensor.to_f64s().unwrap()).collect()
}

fn nodes(model: &str, device: &GpuDevice) -> Vec<String> {
    let session = session(model, device, Precision::F32, &[]);
    session.original().nodes.iter().map(|node| node.name.clone()).collect()
}

fn apart(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

#[test]
fn without_shared_buffers_the_bits_are_the_same_and_the_memory_is_not() {
    let Some(device) = test_device() else { return };
    for model in MODELS {
        let [shared, own] = [false, true].map(|own| {
            let builder = Session::builder().device(device.clone());
            let builder = if own { builder.without_buffer_sharing() } else { builder };
            let session = builder.load(model).unwrap();
            let plan = session.prepare(&inputs(&session)).unwrap().plan.clone().unwrap();
            assert!(!own || plan.activation_bytes() == plan.unshared_bytes(), "{model}");
            (outputs(&session), plan.activation_bytes())
        });
        assert!(shared.0 == own.0 && shared.1 <= own.1, "{model}");
    }
    let digits = "models/digits/digits.onnx";
    let bytes = |session: Session| {
        session.prepare(&inputs(&session)).unwrap().plan.clone().unwrap().activation_bytes()
    };
    let builder = || Session::builder().device(device.clone());
    let (shared, own) = (builder().load(digits), builder().without_buffer_sharing().load(digits));
    assert!(bytes(shared.unwrap()) < bytes(own.unwrap()));
}

#[test]
fn a_buffer_that_is_read_too_late_shows_where_it_is_poisoned() {
    let Some(device) = test_device() else { return };
    let model = "models/tiny/decoder/model.onnx";
    // A plan that doesn't know who reads what frees every buffer at once.
    let run = |poison: bool, forget: bool| {
        let mut builder = Session::builder().device(device.clone());
        if poison {
            builder = builder.poison_freed_buffers();
        }
        if forget {
            builder = builder.without_buffer_sharing().transform_plans(|plan, _| {
                plan.steps.iter_mut().for_each(|step| step.reads.clear());
                Ok(())
            });
        }
        outputs(&builder.load(model).unwrap())
    };
    let right = run(false, false);
    assert!(right == run(true, false) && right == run(false, true));
    assert!(run(true, true).iter().flatten().any(|x| x.is_nan()));
}

#[test]
fn without_winograd_no_convolution_is_taken_that_way() {
    let capabilities =
        sardonyx::plan::Capabilities { software: true, ..sardonyx::plan::Capabilities::webgpu() };
    let Some(folder) = std::env::var_os("SARDONYX_SHARED") else {
        eprintln!("left out: SARDONYX_SHARED names no folder of real models");
        return;
    };
    let model = std::path::Path::new(&folder).join("models/squeezenet_fp32/model.onnx");
    let kernels = |builder: sardonyx::session::SessionBuilder| {
        let session = builder.load(&model).unwrap();
        let prepared = session.plan_for(&inputs(&session), &capabilities).unwrap();
        let plan = prepared.plan.unwrap();
        plan.dispatches().any(|(_, dispatch)| dispatch.kernel == "winograd_input")
    };
    assert!(kernels(Session::builder()) && !kernels(Session::builder().without_winograd()));
}

#[test]
fn any_nodes_may_be_held() {
    let Some(device) = test_device() else { return };
    let mut random = SplitMix64(11);
    for device in [device.clone(), device.with_packed_f16(), device.as_hardware()] {
        for model in MODELS {
            let all = nodes(model, &device);
            let held: Vec<String> = all.into_iter().filter(|_| random.next().is_multiple_of(2)).collect();
            let session = session(model, &device, Precision::F16, &held);
            let inputs = inputs(&session);
            let options = Options { per_node: true, ..Options::default() };
            let report = compare(&session, &inputs, &options).unwrap();
            let wrong: Vec<_> = report.nodes.iter().filter(|row| !row.same).collect();
            assert!(
                report.verdict == Verdict::Same && report.fallbacks.is_empty(),
                "{model} {held:?}: {wrong:#?}"
            );
        }
    }
}

#[test]
fn with_all_of_them_held_it_is_float32() {
    let Some(device) = test_device() else { return };
    for model in MODELS {
        let [single, half] = [Precision::F32, Precision::F16]
            .map(|precision| outputs(&session(model, &device, precision, &[])));
        let held = outputs(&session(model, &device, Precision::F16, &nodes(model, &device)));
        let (far, near) = (apart(&half, &single), apart(&held, &single));
        assert!(far > 0.0 && near < far / 100.0, "{model}: {near:e} of {far:e}");
    }
}

#[test]
fn a_held_node_is_stored_as_float32_and_the_others_are_not() {
    let Some(device) = test_device() else { return };
    let model = "models/digits/digits.onnx";
    let session = session(model, &device, Precision::F16, &["stem_relu".to_string()]);
    let prepared = session.prepare(&inputs(&session)).unwrap();
    let plan = prepared.plan.clone().unwrap();
    let mut sizes = vec![];
    for step in plan.steps.iter().filter(|step| matches!(step.kind, StepKind::Gpu { .. })) {
        let node = step.node.map(|node| &plan.graph.nodes[node]);
        let held = node.is_some_and(|node| {
            node.name == "stem_relu" || node.fused.iter().any(|(name, _)| name == "stem_relu")
        });
        for place in step.writes.iter().map(|id| plan.buffer(*id)).filter(|place| place.value.is_some()) {
            if step.op_type != "copy" {
                assert_eq!(place.storage.element_bytes(), if held { 4 } else { 2 }, "{}", place.label);
                sizes.push(held);
            }
        }
    }
    assert!(sizes.contains(&true) && sizes.contains(&false));
}

#[test]
fn what_can_not_be_held_is_said() {
    let load = |builder: sardonyx::session::SessionBuilder| {
        builder.load("models/digits/digits.onnx").err().map(|error| error.to_string())
    };
    let cpu = load(Session::builder().precision(Precision::F16).hold_f32(["stem_relu"]));
    assert!(cpu.unwrap().contains("on a GPU alone"));
    let unknown = load(Session::builder().hold_f32(["nobody"])).unwrap();
    assert!(unknown.contains("'nobody'") && unknown.contains("no node of this name"), "{unknown}");
    let Some(device) = test_device() else { return };
    let file = PrecisionFile::new(vec!["stem_relu".into()], serde_json::Value::Null);
    assert_eq!(load(Session::builder().device(device).precision_of(&file)), None);
}
