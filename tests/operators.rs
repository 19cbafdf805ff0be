//! Every case of every operator: `infer` agrees with `eval`; the GPU agrees with the CPU in f32, in
//! native and in packed f16, and under WebGPU's limits; and each case runs where it says.

#[path = "support/cases.rs"]
mod support;

use sardonyx::base::{Fact, Operands};
use sardonyx::gpu::{GpuDevice, test_device};
use sardonyx::onnx::{Model, ModelInfo};
use sardonyx::ops::operators;
use sardonyx::plan::Precision;
use sardonyx::tensor::{DType, cast};
use sardonyx::{Session, Tensor, cpu};
use support::{build, cases, operands};

#[test]
fn infer_says_what_eval_makes() {
    for (def, case, label) in cases() {
        let (graph, given) = build(def, case, 1);
        let node = &graph.nodes[0];
        let tensors = operands(&graph, &given);
        let facts: Vec<Option<Fact>> = tensors.iter().map(|tensor| tensor.map(Fact::of)).collect();
        let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let inferred =
            node.op.infer(Operands::new(&refs)).unwrap_or_else(|problem| panic!("{label}: {problem:?}"));
        let made = cpu::eval_node(&*node.op, &tensors, sardonyx::base::EvalPrecision::Declared)
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        for (fact, tensor) in inferred.iter().zip(&made) {
            assert_eq!((fact.dtype, &fact.shape[..]), (tensor.dtype(), tensor.shape()), "{label}");
        }
    }
}

/// Runs every case on a device and compares with the CPU at the same precision.
fn on_device(device: GpuDevice, precision: Precision, check_placement: bool) {
    let mut wrong = vec![];
    for (def, case, label) in cases() {
        let (graph, given) = build(def, case, 2);
        let model = || Model { graph: graph.clone(), info: ModelInfo::default() };
        let cpu = Session::builder().precision(precision).build(model()).unwrap();
        let gpu = Session::builder()
            .device(Some(device.clone()))
            .precision(precision)
            .without_rewrites()
            .build(model())
            .unwrap();
        let inputs: Vec<(&str, Tensor)> =
            given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let expected = cpu.run(&inputs).unwrap_or_else(|error| panic!("{label}: {error}"));
        let values = gpu.bind(&inputs).unwrap();
        let prepared = gpu.prepare(&values).unwrap_or_else(|error| panic!("{label}: {error}"));
        let plan = prepared.plan.clone();
        if check_placement {
            let ran = plan.as_ref().map_or("cpu", |plan| plan.placements[0].name());
            if ran != case.runs {
                wrong.push(format!("{label}: ran on {ran}, not {} {:?}", case.runs, prepared.fallbacks()));
            }
        }
        let results = match gpu.run_prepared(&prepared, &values) {
            Ok(results) => results,
            Err(error) => {
                wrong.push(format!("{label}: {error}"));
                continue;
            }
        };
        for ((_, got), (_, want)) in results.iter().zip(&expected) {
            if let Some(problem) = differs(got, want, precision) {
                wrong.push(format!("{label}: {problem}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Sums here have at most some hundred terms of size 4: 1e-4 in float32; in float16 the storage of inputs and
/// results rules.
fn differs(got: &Tensor, want: &Tensor, precision: Precision) -> Option<String> {
    if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
        return Some(format!(
            "{} {:?} instead of {} {:?}",
            got.dtype(),
            got.shape(),
            want.dtype(),
            want.shape()
        ));
    }
    if !got.dtype().is_float() {
        return (got != want).then(|| format!("{:?}\n  instead of {:?}", got.to_i64s(), want.to_i64s()));
    }
    let epsilon = match want.dtype() {
        DType::BF16 => 8e-3,
        DType::F16 => 4e-3,
        _ if precision == Precision::F16 => 4e-3,
        _ => 2e-5,
    };
    let (x, y) = (cast(got, DType::F64, true).ok()?.to_f64s().ok()?, want.to_f64s().ok()?);
    let scale = y.iter().filter(|y| y.is_finite()).fold(1.0f64, |high, y| high.max(y.abs()));
    let bad = x
        .iter()
        .zip(&y)
        .position(|(x, y)| !(x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= epsilon * scale))?;
    Some(format!(
        "element {bad} is {} instead of {} (of {})\n  got  {:?}\n  want {:?}",
        x[bad],
        y[bad],
        x.len(),
        &x[..x.len().min(12)],
        &y[..y.len().min(12)]
    ))
}

#[test]
fn the_gpu_agrees_in_f32() {
    if let Some(device) = test_device() {
        on_device(device, Precision::F32, true);
    }
}

/// `vec4<f16>` in the shader: a software adapter reads halves by 64-bit words otherwise.
#[test]
fn the_gpu_agrees_in_native_f16() {
    if let Some(device) = test_device() {
        on_device(device.as_hardware(), Precision::F16, false);
    }
}

#[test]
fn the_gpu_agrees_in_f16_as_the_adapter_likes_it() {
    if let Some(device) = test_device() {
        on_device(device, Precision::F16, false);
    }
}

#[test]
fn the_gpu_agrees_in_packed_f16() {
    if let Some(device) = test_device() {
        on_device(device.with_packed_f16(), Precision::F16, false);
    }
}

#[test]
fn the_gpu_agrees_under_webgpu_limits() {
    use sardonyx::gpu::{LimitsOption, Selection};
    if test_device().is_some() {
        let device =
            GpuDevice::open(&"gpu".parse::<Selection>().unwrap(), &LimitsOption::WebGpu).unwrap().unwrap();
        on_device(device, Precision::F32, true);
    }
}

/// What hardware runs: with subgroups where the adapter has them, and without.
#[test]
fn the_gpu_agrees_with_the_kernels_of_hardware() {
    use sardonyx::gpu::{LimitsOption, Selection};
    if let Some(device) = test_device() {
        on_device(device.as_hardware(), Precision::F32, true);
        let device =
            GpuDevice::open(&"gpu".parse::<Selection>().unwrap(), &LimitsOption::WebGpu).unwrap().unwrap();
        on_device(device.as_hardware(), Precision::F32, true);
    }
}

/// Operators on graphs, sequences, optionals, maps and strings, which cases don't hold: ONNX's suite and
/// tests/control_flow.rs judge them.
const ON_OTHER_VALUES: [&str; 23] = [
    "CastMap",
    "ConcatFromSequence",
    "DictVectorizer",
    "If",
    "Loop",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "RegexFullMatch",
    "Scan",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
    "ZipMap",
];

#[test]
fn every_operator_has_cases() {
    let bare: Vec<&str> = operators().filter(|def| def.cases.is_empty()).map(|def| def.name).collect();
    let unknown: Vec<_> = bare.iter().filter(|name| !ON_OTHER_VALUES.contains(name)).collect();
    assert!(unknown.is_empty(), "operators without cases: {unknown:?}");
    let with_cases: Vec<_> = ON_OTHER_VALUES.iter().filter(|name| !bare.contains(name)).collect();
    assert!(with_cases.is_empty(), "they have cases: {with_cases:?}");
}
