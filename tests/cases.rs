//! Small models from public bug reports of other engines, which lie in ../shared/cases (see SARDONYX_SHARED):
//! each gives what its about.txt says, or the error that it asks for, and the comparison finds nothing where
//! nothing is wrong.

#[path = "support/shared.rs"]
mod shared;

use sardonyx::compare::{Options, Reference, Verdict, compare};
use sardonyx::gpu::{GpuDevice, test_device};
use sardonyx::{Session, Tensor};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cases for which an error is right, with what its text has to name.
const ERRORS: &[(&str, &str)] = &[
    ("89_gather_oob", "index"),
    ("97_reshape_allowzero_m1", "allowzero"),
    ("A4_range_zero_delta", "delta"),
    ("D9_oob_scatternd", "index"),
];

/// The cases' folders, where they are.
fn folders() -> Vec<PathBuf> {
    let Some(all) = shared::folder("cases") else { return vec![] };
    let entries = std::fs::read_dir(all).unwrap();
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("model.onnx").exists())
        .collect();
    folders.sort();
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn error_of(folder: &Path) -> Option<&'static str> {
    ERRORS.iter().find(|(case, _)| *case == name(folder)).map(|(_, text)| *text)
}

/// `verify` of every case: passed, or an error that names what is wrong.
fn verified(device: &str) {
    let mut wrong = vec![];
    for folder in folders() {
        let done = Command::new(env!("CARGO_BIN_EXE_sardonyx"))
            .args(["verify", "--device", device, "--json", "-"])
            .arg(&folder)
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let case = &report["cases"][0];
        let right = match error_of(&folder) {
            Some(text) => {
                case["status"] == "error"
                    && case["reason"].as_str().is_some_and(|reason| reason.contains(text))
            }
            None => case["status"] == "passed",
        };
        if !right {
            wrong.push(format!("{}: {} {}", name(&folder), case["status"], case["reason"]));
        }
    }
    assert!(wrong.is_empty(), "{} on {device}:\n{}", wrong.len(), wrong.join("\n"));
}

/// `compare --per-node` of every case that runs.
fn compared(device: Option<GpuDevice>) {
    let mut wrong = vec![];
    for folder in folders().iter().filter(|folder| error_of(folder).is_none()) {
        let session = Session::builder().device(device.clone()).load(folder.join("model.onnx")).unwrap();
        let read = |(k, port): (usize, sardonyx::session::InputOutputInfo)| {
            (port.name, shared::recorded(folder, "input", k).unwrap())
        };
        let inputs: Vec<(String, Tensor)> = session.inputs().into_iter().enumerate().map(read).collect();
        let named: Vec<(&str, Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let values = session.bind(&named).unwrap();
        let report = compare(
            &session,
            &values,
            &Options { reference: Reference::CpuF64, per_node: true, tolerance: None },
        )
        .unwrap();
        if report.verdict != Verdict::Same {
            let output = report.outputs.iter().find(|row| !row.measure.same).map(|row| &row.measure);
            wrong.push(format!("{}: {:?} {output:?}", name(folder), report.first_different));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn as_their_texts_say_on_the_cpu() {
    verified("cpu");
}

#[test]
fn as_their_texts_say_on_the_gpu() {
    if test_device().is_some() {
        verified("gpu");
    }
}

#[test]
fn the_comparison_finds_nothing_on_the_cpu() {
    compared(None);
}

#[test]
fn the_comparison_finds_nothing_on_the_gpu() {
    if let Some(device) = test_device() {
        compared(Some(device));
    }
}
