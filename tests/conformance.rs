//! The ONNX project's backend suite, exported to folders: SARDONYX_SUITE names them; without it this says
//! that it was left out. What isn't supported is refused; nothing may be wrong, and nothing may crash.

use std::process::Command;

/// Cases whose recorded outputs are off by more than the tolerance of those who hold others to them: where
/// the result is 0, a transform in float32 left up to 2e-7. onnxruntime is off in twice as many elements.
const RECORDED_OFF: [&str; 2] = ["test_dft_inverse", "test_dft_inverse_opset19"];

/// Whether a case's recorded output is what differs.
fn is_recorded_off(case: &serde_json::Value) -> bool {
    let path = case["path"].as_str().unwrap_or_default();
    case["status"] == "failed" && RECORDED_OFF.iter().any(|name| path.ends_with(&format!("/{name}")))
}

/// Runs `verify` over the suite and checks its counts.
fn verify(arguments: &[&str], least: u64) {
    let Some(suite) = std::env::var_os("SARDONYX_SUITE") else {
        eprintln!("skipped: SARDONYX_SUITE names no folder of ONNX test cases");
        return;
    };
    // Six workers share the cores here, and a debug build checks every index: VGG-19 alone takes 40 s of one.
    let patient = ["--timeout", "300", "--json", "-"];
    let done = Command::new(env!("CARGO_BIN_EXE_sardonyx"))
        .arg("verify")
        .arg(suite)
        .args(arguments)
        .args(patient)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|problem| panic!("{problem}: {}", String::from_utf8_lossy(&done.stderr)));
    let count = |status: &str| report["counts"][status].as_u64().unwrap();
    let bad: Vec<String> = report["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["status"] == "failed" || case["status"] == "error")
        .filter(|case| !is_recorded_off(case))
        .map(|case| format!("{} {}: {}", case["status"], case["path"], case["reason"]))
        .collect();
    assert!(bad.is_empty(), "{} cases:\n{}", bad.len(), bad.join("\n"));
    assert!(count("passed") >= least, "only {} cases pass", count("passed"));
}

fn gpu() -> bool {
    sardonyx::gpu::test_device().is_some()
}

#[test]
fn on_the_cpu() {
    verify(&["--device", "cpu"], 1950);
}

#[test]
fn on_the_gpu() {
    if gpu() {
        verify(&["--device", "gpu"], 1950);
    }
}

#[test]
fn on_the_gpu_alone_under_webgpu_limits_with_the_kernels_of_hardware() {
    if gpu() {
        verify(&["--device", "gpu", "--strict", "--limits", "webgpu", "--kernels", "hardware"], 1100);
    }
}
