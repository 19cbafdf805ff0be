//! Random small cases against brute force written here: each operator's elements are found by walking
//! coordinates, with nothing of the library's index arithmetic. The CPU runs many, the GPU few, as each may
//! compile pipelines.
//!
//! A case is drawn from a *tape* of numbers: shrinking the numbers shrinks the case.

mod array;
mod draw;
mod indices;
mod moves;
mod view;

use array::Trial;
use proptest::prelude::*;
use sardonyx::Session;
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::onnx::{Model, ModelInfo};

/// Runs a trial on a device and holds it to what brute force made.
fn check(trial: &Trial, device: Option<GpuDevice>) -> Result<(), TestCaseError> {
    let place = if device.is_some() { "GPU" } else { "CPU" };
    let (graph, given) = trial.build();
    let model = Model { graph, info: ModelInfo::default() };
    let named: Vec<(&str, sardonyx::Tensor)> =
        given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let results = Session::builder().device(device).build(model).and_then(|session| session.run(&named));
    let results = results.map_err(|error| TestCaseError::fail(format!("on the {place}: {error}")))?;
    let (_, got) = &results[0];
    prop_assert_eq!(
        (got.dtype(), got.shape()),
        (trial.expected.dtype(), trial.expected.shape()),
        "on the {}",
        place
    );
    // As numbers: a product may be −0.
    let numbers = |tensor: &sardonyx::Tensor| tensor.to_f64s().unwrap();
    prop_assert_eq!(numbers(got), numbers(&trial.expected), "on the {}", place);
    Ok(())
}

/// The same adapter with no optional feature and the limits that WebGPU promises everywhere.
fn webgpu_device() -> Option<GpuDevice> {
    static DEVICE: std::sync::OnceLock<Option<GpuDevice>> = std::sync::OnceLock::new();
    test_device()?;
    DEVICE.get_or_init(|| GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu).unwrap()).clone()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() }
}

macro_rules! properties {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn on_the_cpu() {
                proptest!(super::config(300), |(tape in prop::collection::vec(any::<u16>(), 64))| {
                    check(&draw::$name(&mut draw::Tape::new(&tape)), None)?;
                });
            }

            fn on(device: Option<GpuDevice>) {
                let Some(device) = device else { return };
                proptest!(super::config(24), |(tape in prop::collection::vec(any::<u16>(), 64))| {
                    check(&draw::$name(&mut draw::Tape::new(&tape)), Some(device.clone()))?;
                });
            }
            #[test]
            fn on_the_gpu() {
                on(test_device());
            }
            #[test]
            fn within_webgpu_limits() {
                on(webgpu_device());
            }
        }
    )*};
}

properties!(broadcasting, slice, pad, views, gather, gather_elements, concat);
