//! `compare --bundle`: a difference as a folder that shows it again, through Python's packages where they are.

use super::{DIGITS, folder, refused, sardonyx, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const MLP: &str = "models/tiny/mlp/model.onnx";

/// Whether there is an adapter; says aloud where there is none.
fn has_adapter() -> bool {
    sardonyx::gpu::test_device().is_some()
}

fn arguments<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["compare", model, "--device", "gpu"], more].concat()
}

fn document(bundle: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(bundle.join("dispatch.json")).unwrap()).unwrap()
}

/// Python with numpy and a package, from `SARDONYX_PYTHON` or the path; says aloud where there is none.
fn python(package: &str) -> Option<String> {
    let python = std::env::var("SARDONYX_PYTHON").unwrap_or_else(|_| "python3".into());
    let done = Command::new(&python).args(["-c", &format!("import numpy, {package}")]).output();
    let there = done.is_ok_and(|done| done.status.success());
    if !there {
        eprintln!("left out: {python} has no numpy and {package}; SARDONYX_PYTHON names another Python");
    }
    there.then_some(python)
}

/// Runs a bundle through each package that is there; `wanted` is the exit code.
fn replayed(bundle: &Path, wanted: i32) {
    for package in ["wgpu", "wgpudawn"] {
        let Some(python) = python(package) else { continue };
        let done = Command::new(python).arg(bundle.join("replay.py")).args(["--package", package]).output();
        let done = done.unwrap();
        let talk = text(&done.stdout) + &text(&done.stderr);
        assert_eq!(done.status.code(), Some(wanted), "{package}: {talk}");
    }
}

/// Writes the bundle of a planted fault, and checks that the comparison named the node.
fn faulty(model: &str, seed: &str, name: &str) -> Option<(PathBuf, String)> {
    let bundle = folder(name).join("bundle");
    let path = bundle.to_str().unwrap();
    let output = sardonyx(&arguments(model, &["--plant-fault", seed, "--bundle", path, "--json", "-"]));
    let talk = text(&output.stderr);
    if talk.contains("no fault would show") {
        return None;
    }
    assert_eq!(output.status.code(), Some(1), "{talk}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let node = report["planted"]["node"].as_str().unwrap().to_string();
    assert_eq!(report["first_different"]["node"], node.as_str(), "{model} seed {seed}");
    assert_eq!(report["bundle"], path);
    Some((bundle, node))
}

#[test]
fn a_planted_fault_is_seen_again_and_not_without_it() {
    if !has_adapter() {
        return;
    }
    let mut seen = 0;
    for (model, seed) in
        [(MLP, "1"), ("models/tiny/conv_odd/model.onnx", "2"), ("models/tiny/branches/model.onnx", "3")]
    {
        let Some((bundle, node)) = faulty(model, seed, &format!("bundle-{seed}")) else { continue };
        let found = document(&bundle);
        assert_eq!(
            (&found["schema"], &found["differs"], &found["differs_alone"]),
            (&1.into(), &true.into(), &true.into())
        );
        assert!(
            found["adapter"].is_string() && found["driver"].is_string() && found["cannot_replay"].is_null()
        );
        replayed(&bundle, 1);
        let clean = folder(&format!("bundle-clean-{seed}")).join("bundle");
        let output =
            sardonyx(&arguments(model, &["--bundle", clean.to_str().unwrap(), "--bundle-node", &node]));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(document(&clean)["differs"], false);
        replayed(&clean, 0);
        seen += 1;
    }
    assert!(seen > 0, "no seed planted a fault");
}

#[test]
fn a_buffer_that_is_reused_early_is_seen_by_more_than_its_step() {
    if !has_adapter() {
        return;
    }
    let (bundle, node) = faulty("models/tiny/decoder/model.onnx", "20", "bundle-reused").unwrap();
    let found = document(&bundle);
    assert_eq!(found["differs_alone"], true);
    let nodes: Vec<_> = found["dispatches"].as_array().unwrap().iter().map(|one| &one["node"]).collect();
    // What is written over, and what reads it then.
    assert!(
        nodes.len() > 1 && nodes[0] != &node && nodes.last().unwrap() == &&Value::from(node),
        "{nodes:?}"
    );
    assert!(std::fs::read_to_string(bundle.join("README.md")).unwrap().contains("writes over"));
    replayed(&bundle, 1);
}

#[test]
fn all_files_that_it_names_are_there_and_the_model_runs() {
    if !has_adapter() {
        return;
    }
    let (bundle, _) = faulty(MLP, "1", "bundle-files").unwrap();
    let found = document(&bundle);
    let mut files = vec![];
    for dispatch in found["dispatches"].as_array().unwrap() {
        files.push(&dispatch["params"]);
        let shaders = dispatch["shaders"].as_array().unwrap();
        assert_eq!(shaders[0]["as_run"], true);
        assert!(shaders.iter().any(|one| one["standard"] == true), "{dispatch}");
        files.extend(shaders.iter().map(|one| &one["file"]));
    }
    files.extend(
        found["buffers"].as_array().unwrap().iter().map(|one| &one["file"]).filter(|one| !one.is_null()),
    );
    let result = &found["result"];
    files.extend([&result["positions"], &result["device"]]);
    for answer in result["answers"].as_array().unwrap() {
        files.extend([&answer["values"], &answer["limits"]]);
    }
    for file in files {
        assert!(bundle.join(file.as_str().unwrap()).exists(), "{file}");
    }
    assert!(std::fs::read_to_string(bundle.join("README.md")).unwrap().contains("python replay.py"));
    // The step as ONNX has it: a test case of its own.
    let output = sardonyx(&["verify", bundle.to_str().unwrap(), "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn a_step_on_the_cpu_has_a_model_and_no_dispatches() {
    let bundle = folder("bundle-cpu").join("bundle");
    let path = bundle.to_str().unwrap();
    let output =
        sardonyx(&["compare", DIGITS, "--device", "cpu", "--bundle", path, "--bundle-node", "stem_relu"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(document(&bundle)["cannot_replay"].as_str().unwrap().contains("CPU"));
    assert!(bundle.join("model.onnx").exists());
    if let Some(python) = python("numpy") {
        let done = Command::new(python).arg(bundle.join("replay.py")).output().unwrap();
        assert_eq!(done.status.code(), Some(2));
        assert!(text(&done.stderr).contains("can't run: the session ran on the CPU"));
    }
}

#[test]
fn nothing_is_written_where_nothing_differs_or_something_is_there() {
    let folder = folder("bundle-none");
    let bundle = folder.join("bundle");
    let path = bundle.to_str().unwrap();
    let output = sardonyx(&["compare", DIGITS, "--device", "cpu", "--bundle", path]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("bundle: nothing was written") && !bundle.exists());
    std::fs::write(folder.join("mine"), "x").unwrap();
    refused(
        &["compare", DIGITS, "--device", "cpu", "--bundle", folder.to_str().unwrap()],
        &["is there already"],
    );
    refused(
        &["compare", DIGITS, "--device", "cpu", "--bundle", path, "--bundle-node", "nobody"],
        &["nobody", "--per-node"],
    );
    assert!(!bundle.exists());
    // Only what was there is left, and no half of a bundle.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}
