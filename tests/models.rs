//! Real models with recorded outputs, on the CPU and on the GPU. They live outside the repository:
//! SARDONYX_SHARED names their folder (../shared by default); without it these tests say that they were left
//! out.

#[path = "support/shared.rs"]
mod shared;

use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::plan::Precision;
use sardonyx::{Session, Tensor};
use std::path::PathBuf;

/// A model's file, recorded inputs and outputs, rtol and atol.
type Recorded = (PathBuf, Vec<Tensor>, Vec<Tensor>, f64, f64);

/// The model's recorded inputs and outputs, and its tolerances from index.tsv.
fn case(name: &str) -> Option<Recorded> {
    let folder = shared::folder("models")?;
    let index = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let header: Vec<&str> = index.lines().next().unwrap().split('\t').collect();
    let column = |key: &str| header.iter().position(|cell| *cell == key).unwrap();
    let row: Vec<&str> =
        index.lines().map(|line| line.split('\t').collect::<Vec<_>>()).find(|row| row[0] == name).unwrap();
    let read = |kind: &str| (0..).map_while(|k| shared::recorded(&folder.join(name), kind, k)).collect();
    Some((
        folder.join(name).join("model.onnx"),
        read("input"),
        read("output"),
        row[column("rtol")].parse().unwrap(),
        row[column("atol")].parse().unwrap(),
    ))
}

/// The same adapter with no optional feature and the limits that WebGPU promises everywhere.
fn webgpu_device() -> Option<GpuDevice> {
    static DEVICE: std::sync::OnceLock<Option<GpuDevice>> = std::sync::OnceLock::new();
    test_device()?;
    DEVICE
        .get_or_init(|| {
            GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu)
                .unwrap()
                .map(|device| device.as_hardware())
        })
        .clone()
}

fn check(name: &str, device: Option<GpuDevice>) {
    let Some((path, inputs, outputs, rtol, atol)) = case(name) else { return };
    let session = Session::builder().device(device).precision(Precision::F32).load(&path).unwrap();
    let ports = session.inputs();
    let named: Vec<(&str, Tensor)> =
        ports.iter().zip(inputs).map(|(port, tensor)| (port.name.as_str(), tensor)).collect();
    let results = session.run(&named).unwrap();
    for ((output, result), expected) in results.iter().zip(&outputs) {
        assert_eq!((result.shape(), result.dtype()), (expected.shape(), expected.dtype()), "{name} {output}");
        let (x, y) = (result.to_f64s().unwrap(), expected.to_f64s().unwrap());
        let worst = x.iter().zip(&y).map(|(x, y)| (x - y).abs() - rtol * y.abs()).fold(f64::MIN, f64::max);
        assert!(worst <= atol, "{name} {output}: off by {worst} beyond rtol {rtol}, atol {atol}");
    }
}

/// Dynamically quantised: hidden states differ by 0.16 even between onnxruntime's own settings, so that the
/// sentence's embedding is judged by its direction.
fn embedding(device: Option<GpuDevice>) {
    let Some((path, inputs, outputs, ..)) = case("minilm_l6_v2_int8") else { return };
    let session = Session::builder().device(device).precision(Precision::F32).load(&path).unwrap();
    let ports = session.inputs();
    let named: Vec<(&str, Tensor)> =
        ports.iter().zip(inputs).map(|(port, tensor)| (port.name.as_str(), tensor)).collect();
    let results = session.run(&named).unwrap();
    let at = results.iter().position(|(name, _)| name == "sentence_embedding").unwrap();
    let (x, y) = (results[at].1.to_f64s().unwrap(), outputs[at].to_f64s().unwrap());
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let cosine = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
    assert!(x.len() == y.len() && cosine >= 0.99, "{cosine}");
}

#[test]
fn minilm_l6_v2_int8_on_the_cpu() {
    embedding(None);
}

#[test]
fn minilm_l6_v2_int8_on_the_gpu() {
    if let Some(device) = test_device() {
        embedding(Some(device));
    }
}

macro_rules! models {
    ($($name:ident),*) => {
        mod on_the_cpu { $(#[test] fn $name() { super::check(stringify!($name), None); })* }
        mod on_the_gpu { $(#[test] fn $name() { if let Some(device) = super::test_device() { super::check(stringify!($name), Some(device)); } })* }
        mod within_webgpu_limits {
            $(#[test] fn $name() { if let Some(device) = super::webgpu_device() { super::check(stringify!($name), Some(device)); } })*
        }
    };
}
models!(
    mnist_ort,
    squeezenet_fp32,
    squeezenet_fp16,
    ultraface_rfb320,
    yolox_nano,
    fastestdet,
    deeplab_v3,
    superres_prepost,
    style_candy,
    ppocr_det_v3,
    ppocr_cls,
    lgbm_classifier,
    charlm_llama,
    dtln_1,
    dtln_2,
    magika_v3_3,
    bilstm_bytes,
    gtcrn,
    squeezenet_int8_qdq,
    smart_turn_v3_int8,
    silero_vad,
    silero_vad_ifless,
    xgb_regressor,
    treecl
);
