//! The comparison: green where nothing is wrong, and naming the node where a fault was planted.

#[path = "support/proto.rs"]
mod proto;
#[path = "support/shared.rs"]
mod shared;

use sardonyx::compare::{Options, Planter, Reference, Report, Verdict, compare};
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::plan::Precision;
use sardonyx::{Session, Tensor};
use std::path::{Path, PathBuf};

const OWN: &[&str] = &[
    "tiny/mlp",
    "tiny/conv_odd",
    "tiny/branches",
    "tiny/decoder",
    "tiny/joined",
    "tiny/heads",
    "tiny/contrib",
];

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

/// A real model's folder, where they are: see tests/models.rs.
fn real(name: &str) -> Option<PathBuf> {
    shared::folder(&format!("models/{name}"))
}

/// Inputs recorded with the model, or seeded noise.
fn inputs(session: &Session, folder: &Path) -> Vec<(String, Tensor)> {
    let input = |(k, port): (usize, sardonyx::session::InputOutputInfo)| {
        let tensor = shared::recorded(folder, "input", k).unwrap_or_else(|| noise(&port));
        (port.name, tensor)
    };
    session.inputs().into_iter().enumerate().map(input).collect()
}

fn noise(port: &sardonyx::session::InputOutputInfo) -> Tensor {
    let shape: Vec<usize> = port
        .dims
        .iter()
        .flatten()
        .map(|dim| if let sardonyx::graph::Dim::Known(size) = dim { *size } else { 1 })
        .collect();
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let elements = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::new(shape, elements).unwrap()
}

fn model(folder: &Path) -> PathBuf {
    if folder.join("model.onnx").exists() {
        folder.join("model.onnx")
    } else {
        folder.join(format!("{}.onnx", folder.file_name().unwrap().to_str().unwrap()))
    }
}

fn report(
    folder: &Path,
    device: Option<GpuDevice>,
    precision: Precision,
    fault: Option<u64>,
    reference: Reference,
) -> Report {
    let builder = Session::builder().device(device).precision(precision);
    let planter = fault.map(Planter::new);
    let builder = planter.iter().fold(builder, |builder, planter| planter.applied(builder));
    let session = builder.load(model(folder)).unwrap();
    let inputs = inputs(&session, folder);
    let named: Vec<(&str, Tensor)> =
        inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let values = session.bind(&named).unwrap();
    let mut report =
        compare(&session, &values, &Options { reference, per_node: true, tolerance: None }).unwrap();
    report.planted = planter.and_then(|planter| planter.planted());
    report
}

/// A table of what was measured, for a failure's message.
fn table(report: &Report) -> String {
    let mut text = String::new();
    for row in &report.nodes {
        text += &format!("{} {} [{}] {:?}", row.node, row.op, row.ran_on, row.kernels);
        for (kind, measure) in [("local", &row.local), ("cumulative", &row.cumulative)] {
            if let Some(m) = measure {
                text += &format!(
                    "\n    {kind} {} max {:.2e} tolerance {:.2e} needed {:?} ({})",
                    m.same, m.max_abs, m.tolerance.value, m.needed, m.tolerance.formula
                );
            }
        }
        text.push('\n');
    }
    for row in &report.outputs {
        text += &format!("output {}: {:?}\n", row.name, row.measure);
    }
    text + &format!("fused: {:?}\n", report.fused_plan)
}

fn green(folder: &Path, device: Option<GpuDevice>, precision: Precision) {
    let report = report(folder, device, precision, None, Reference::CpuF64);
    if std::env::var_os("SHOW").is_some() {
        println!("{}", table(&report));
    }
    assert!(
        report.verdict == Verdict::Same && report.first_different.is_none(),
        "{}: {:?}\n{}",
        folder.display(),
        report.first_different,
        table(&report)
    );
}

#[test]
fn models_of_our_own_are_the_same_in_f32() {
    let Some(device) = test_device() else { return };
    OWN.iter()
        .chain(&["digits", "tiny/nbits", "tiny/quantized"])
        .for_each(|name| green(&own(name), Some(device.clone()), Precision::F32));
}

#[test]
fn and_in_f16_stored_natively_and_packed_and_as_hardware_reads_it() {
    let Some(device) = test_device() else { return };
    for device in [device.clone(), device.with_packed_f16(), device.as_hardware()] {
        OWN.iter()
            .chain(&["digits"])
            .for_each(|name| green(&own(name), Some(device.clone()), Precision::F16));
    }
}

/// The same adapter with no optional feature and the limits that WebGPU promises everywhere.
fn webgpu_device() -> Option<GpuDevice> {
    test_device()?;
    GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu).unwrap().map(|device| device.as_hardware())
}

#[test]
fn and_under_the_limits_of_webgpu_with_the_kernels_of_hardware() {
    let Some(device) = webgpu_device() else { return };
    for precision in [Precision::F32, Precision::F16] {
        OWN.iter().chain(&["digits"]).for_each(|name| green(&own(name), Some(device.clone()), precision));
    }
}

#[test]
fn real_models_are_the_same() {
    let Some(device) = test_device() else { return };
    for name in ["mnist_ort", "squeezenet_fp32"] {
        if let Some(folder) = real(name) {
            green(&folder, Some(device.clone()), Precision::F32);
        }
    }
}

/// Its 24 DynamicQuantizeLinear go the other way for a number here and there, layer by layer.
#[test]
fn a_real_model_is_the_same_that_quantises_as_it_runs() {
    let Some(device) = test_device() else { return };
    if let Some(folder) = real("minilm_l6_v2_int8") {
        green(&folder, Some(device), Precision::F32);
    }
}

#[test]
fn and_under_the_limits_of_webgpu_with_the_kernels_of_hardware_too() {
    let Some(device) = webgpu_device() else { return };
    for name in ["mnist_ort", "squeezenet_fp32"] {
        if let Some(folder) = real(name) {
            green(&folder, Some(device.clone()), Precision::F32);
        }
    }
}

/// Each seed's fault is found, first, at the node where it was planted. Returns the kinds that were drawn.
fn faults(folder: &Path, device: &GpuDevice, seeds: std::ops::Range<u64>) -> Vec<String> {
    let mut drawn = vec![];
    for seed in seeds {
        let report = report(folder, Some(device.clone()), Precision::F32, Some(seed), Reference::CpuF64);
        let planted = report.planted.clone().unwrap();
        let found = report.first_different.as_ref().map(|first| first.node.clone());
        let context = || {
            let rows =
                report.nodes.iter().filter(|row| row.node == planted.node || !row.same).collect::<Vec<_>>();
            format!(
                "{} seed {seed}: {planted:?}, found {:?}\n{rows:#?}",
                folder.display(),
                report.first_different
            )
        };
        assert!(
            report.verdict == Verdict::Different && found.as_ref() == Some(&planted.node),
            "{}",
            context()
        );
        drawn.push(format!("{:?}", planted.kind));
    }
    drawn
}

#[test]
fn every_planted_fault_is_named() {
    let Some(device) = test_device() else { return };
    let mut drawn: Vec<String> =
        OWN.iter().chain(&["digits"]).flat_map(|name| faults(&own(name), &device, 0..20)).collect();
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), 5, "{drawn:?}");
}

#[test]
fn and_in_the_kernels_of_hardware() {
    let Some(device) = webgpu_device() else { return };
    OWN.iter().chain(&["digits"]).for_each(|name| drop(faults(&own(name), &device, 0..10)));
}

#[test]
fn and_in_real_models() {
    let Some(device) = test_device() else { return };
    // A comparison of SqueezeNet takes seconds: five of its seeds, one of them a buffer handed on too early.
    for (name, seeds) in [("mnist_ort", 0..20), ("squeezenet_fp32", 14..19)] {
        if let Some(folder) = real(name) {
            faults(&folder, &device, seeds);
        }
    }
}

#[test]
fn every_reference_and_the_shape_of_the_json() {
    let Some(device) = test_device() else { return };
    let folder = own("tiny/conv_odd");
    let other = GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap();
    for reference in [Reference::Cpu, Reference::CpuF16, Reference::Adapter(other)] {
        let precision = if matches!(reference, Reference::CpuF16) { Precision::F16 } else { Precision::F32 };
        let report = report(&folder, Some(device.clone()), precision, None, reference.clone());
        assert!(report.verdict == Verdict::Same, "{}\n{}", reference.name(), table(&report));
    }
    let output = shared::recorded(&folder, "output", 0).unwrap();
    let recorded = |shift: f32| {
        let moved = output.as_slice::<f32>().unwrap().iter().map(|x| x + shift).collect();
        let name = Session::builder().load(model(&folder)).unwrap().outputs()[0].name.clone();
        Reference::Outputs(vec![(name, Tensor::new(output.shape(), moved).unwrap())])
    };
    assert!(
        report(&folder, Some(device.clone()), Precision::F32, None, recorded(0.0)).verdict == Verdict::Same
    );
    let off = report(&folder, Some(device), Precision::F32, None, recorded(0.1));
    assert!(off.verdict == Verdict::Different);
    let json = serde_json::to_value(&off).unwrap();
    assert_eq!(
        (json["schema"].as_u64(), json["verdict"].as_str(), json["device"].as_str()),
        (Some(1), Some("different"), Some("gpu"))
    );
    let node = json["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["ran_on"] == "gpu" && node["op"] == "Conv")
        .unwrap();
    for measure in [&node["local"], &node["cumulative"], &json["outputs"][0]] {
        for key in ["max_abs", "max_rel", "mean_abs", "cosine", "needed"] {
            assert!(measure[key].is_number(), "{key}: {measure}");
        }
        assert!(
            measure["tolerance"]["value"].is_number()
                && measure["tolerance"]["formula"].is_string()
                && measure["same"].is_boolean()
        );
    }
    assert!(
        json["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|node| node["fused_into"].is_string() && node["ran_on"] == "fused")
    );
}

#[test]
fn the_cpu_alone_agrees_with_its_oracle() {
    OWN.iter()
        .chain(&["digits", "tiny/nbits", "tiny/quantized"])
        .for_each(|name| green(&own(name), None, Precision::F32));
}

/// Rows and columns of what [`whole_numbers`] takes.
const ROWS: i64 = 4096;
const COLUMNS: i64 = 4;

/// `y = trunc(10⁴ · exp(x)) · w`, w all ones: where the exponential lies beside a whole number, y's elements of
/// that row are one more or one less, a hundred times what a product of four numbers may be off.
fn whole_numbers() -> onnx_protobuf::ModelProto {
    use proto::{F32, floats, graph, model, node, value, with_int};
    let nodes = vec![
        node("Exp", &["x"], &["e"]),
        node("Mul", &["e", "scale"], &["large"]),
        with_int(node("Cast", &["large"], &["whole"]), "to", 6),
        with_int(node("Cast", &["whole"], &["number"]), "to", F32 as i64),
        node("MatMul", &["number", "w"], &["y"]),
    ];
    let (x, y) = (value("x", F32, &[ROWS, COLUMNS]), value("y", F32, &[ROWS, COLUMNS]));
    let mut all = graph(&[x], nodes, &[y]);
    let mut w = floats("w", &[1.0; (COLUMNS * COLUMNS) as usize]);
    w.dims = vec![COLUMNS, COLUMNS];
    all.initializer = vec![w, floats("scale", &[1e4])];
    model(all)
}

/// Numbers beside a whole one go either way, and what follows is right for the way that they went. A fault behind
/// them is still found.
#[test]
fn whole_numbers_that_went_the_other_way_are_carried_on() {
    let Some(device) = test_device() else { return };
    let compared = |fault: Option<u64>| {
        let builder = Session::builder().device(Some(device.clone()));
        let planter = fault.map(Planter::new);
        let builder = planter.iter().fold(builder, |builder, planter| planter.applied(builder));
        let session = builder.build(proto::read(&whole_numbers()).unwrap()).unwrap();
        let x = noise(&session.inputs()[0]);
        let values = session.bind(&[("x", x)]).unwrap();
        let options = Options { reference: Reference::CpuF64, per_node: true, tolerance: None };
        (compare(&session, &values, &options).unwrap(), planter.and_then(|planter| planter.planted()))
    };
    let (report, _) = compared(None);
    assert_eq!(report.verdict, Verdict::Same, "{}", table(&report));
    assert!(report.outputs[0].measure.max_abs > 0.5, "no number went the other way: {}", table(&report));
    for seed in 0..10 {
        let (report, planted) = compared(Some(seed));
        let found = report.first_different.as_ref().map(|first| &first.node);
        let planted = planted.unwrap();
        assert_eq!(
            (report.verdict, found),
            (Verdict::Different, Some(&planted.node)),
            "seed {seed}: {planted:?}"
        );
    }
}
