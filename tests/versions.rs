//! Operators in each version of theirs whose meaning or form changed since opset 7: models/versions, whose
//! answers are onnxruntime's, or those of ONNX's reference evaluator where onnxruntime has none.

use onnx_protobuf::{Message, ModelProto, OperatorSetIdProto};
use sardonyx::compare::{Options, Reference, Verdict, compare};
use sardonyx::gpu::{GpuDevice, test_device};
use sardonyx::tensor::cast;
use sardonyx::{DType, Session, Tensor, onnx};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A line of the file, for one of its versions.
struct Case {
    label: String,
    model: Vec<u8>,
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
}

fn tensor(value: &Value) -> (String, Tensor) {
    let kind = value["type"].as_str().unwrap();
    let dtype = (1..27).filter_map(DType::from_onnx).find(|dtype| dtype.name() == kind).unwrap();
    let shape: Vec<usize> =
        value["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
    let elements = value["elements"].as_array().unwrap();
    let whole = |x: &Value| x.as_i64().or_else(|| x.as_bool().map(i64::from)).unwrap();
    let real = |x: &Value| x.as_f64().unwrap_or_else(|| x.as_str().unwrap().parse().unwrap());
    let made = if dtype.is_float() {
        Tensor::new(shape, elements.iter().map(real).collect::<Vec<_>>())
    } else {
        Tensor::new(shape, elements.iter().map(whole).collect::<Vec<_>>())
    };
    (value["name"].as_str().unwrap().into(), cast(&made.unwrap(), dtype, true).unwrap())
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/versions/versions.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let mut all = vec![];
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let hex = line["model"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let tensors = |key: &str| line[key].as_array().unwrap().iter().map(tensor).collect::<Vec<_>>();
        for version in line["versions"].as_array().unwrap() {
            let mut model = ModelProto::parse_from_bytes(&bytes).unwrap();
            let version = version.as_i64().unwrap();
            model.opset_import.push(OperatorSetIdProto { version, ..Default::default() });
            all.push(Case {
                label: format!("{} {version}: {}", line["operator"].as_str().unwrap(), line["shows"]),
                model: model.write_to_bytes().unwrap(),
                inputs: tensors("inputs"),
                outputs: tensors("outputs"),
            });
        }
    }
    all
}

/// What is wrong with a case on a device, and where its node ran.
fn check(case: &Case, device: Option<GpuDevice>) -> Result<&'static str, String> {
    let told = |error: sardonyx::Error| error.to_string();
    let read = onnx::read_bytes(&case.model, None, "model").map_err(told)?;
    let on_gpu = device.is_some();
    let session = Session::builder().device(device).build(read).map_err(told)?;
    let named: Vec<(&str, Tensor)> =
        case.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let values = session.bind(&named).map_err(told)?;
    // Types and shapes first: `compare` reads elements.
    for ((name, made), (_, want)) in session.run(&named).map_err(told)?.iter().zip(&case.outputs) {
        if (made.dtype(), made.shape()) != (want.dtype(), want.shape()) {
            let (is, wanted) = ((made.dtype(), made.shape()), (want.dtype(), want.shape()));
            return Err(format!("{name} is {is:?} instead of {wanted:?}"));
        }
    }
    let reference = Reference::Outputs(case.outputs.clone());
    let options = Options { reference, per_node: false, tolerance: None };
    let report = compare(&session, &values, &options).map_err(told)?;
    if report.verdict == Verdict::Different {
        let wrong = report.outputs.iter().filter(|row| !row.measure.same);
        let wrong: Vec<String> = wrong.map(|row| format!("{}: {:?}", row.name, row.measure)).collect();
        return Err(format!("{}; rewrites: {:?}", wrong.join("; "), report.fused_plan));
    }
    Ok(if !on_gpu {
        "cpu"
    } else if report.fallbacks.is_empty() {
        "gpu"
    } else {
        "fallback"
    })
}

fn on(device: Option<GpuDevice>) {
    let (mut wrong, mut ran, mut fell) = (vec![], BTreeMap::<&str, usize>::new(), BTreeSet::new());
    let all = cases();
    for case in &all {
        match check(case, device.clone()) {
            Ok(place) => {
                *ran.entry(place).or_default() += 1;
                if place == "fallback" {
                    fell.insert(case.label.split(' ').next().unwrap());
                }
            }
            Err(problem) => wrong.push(format!("{}: {problem}", case.label)),
        }
    }
    println!("{} cases: {ran:?}; on the CPU for want of a kernel: {fell:?}", all.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn every_version_on_the_cpu() {
    on(None);
}

#[test]
fn every_version_on_the_gpu() {
    if let Some(device) = test_device() {
        on(Some(device));
    }
}
