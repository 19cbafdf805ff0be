//! Adapters of two makers side by side: every verb takes either, by number or by name. SARDONYX_SWIFTSHADER
//! names SwiftShader's ICD file (`.ci/swiftshader.sh`), which is added to the adapters at hand; without it
//! this says that it was left out.

use std::process::{Command, Output};

/// A run of the command line with SwiftShader beside the other adapters.
fn sardonyx(icd: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sardonyx"));
    // The loader's own search, and one more: a list that says which alone would leave the others out.
    command.env_remove("VK_DRIVER_FILES").env_remove("VK_ICD_FILENAMES").env("VK_ADD_DRIVER_FILES", icd);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().unwrap()
}

fn json(icd: &str, arguments: &[&str]) -> serde_json::Value {
    let done = sardonyx(icd, arguments);
    let problem = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {problem}");
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {problem}"))
}

fn swiftshader() -> Option<String> {
    let icd = std::env::var("SARDONYX_SWIFTSHADER").ok();
    if icd.is_none() {
        eprintln!("skipped: SARDONYX_SWIFTSHADER names no ICD file");
    }
    icd
}

#[test]
fn every_verb_takes_either_by_number_or_by_name() {
    let Some(icd) = swiftshader() else { return };
    let devices = json(&icd, &["devices", "--json", "-"]);
    let names: Vec<&str> = devices["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for (part, number) in [("SwiftShader", 0), ("llvmpipe", 1)]
        .map(|(part, _)| (part, names.iter().position(|name| name.contains(part)).unwrap()))
    {
        for device in [part.to_string(), format!("gpu:{number}")] {
            let run = json(&icd, &["run", "models/tiny/mlp/model.onnx", "--device", &device, "--json", "-"]);
            assert!(run["adapter"].as_str().is_some_and(|name| name.contains(part)), "{device}: {run}");
            let compared = json(
                &icd,
                &["compare", "models/tiny/mlp/model.onnx", "--device", &device, "--per-node", "--json", "-"],
            );
            assert!(
                compared["adapter"].as_str().is_some_and(|name| name.contains(part))
                    && compared["verdict"] == "same",
                "{device}: {compared}"
            );
            let verified =
                json(&icd, &["verify", "models/tiny/mlp", "--device", &device, "--strict", "--json", "-"]);
            assert_eq!(verified["counts"]["passed"], 1, "{device}: {verified}");
            let bench = json(
                &icd,
                &["bench", "models/tiny/mlp/model.onnx", "--device", &device, "--runs", "2", "--json", "-"],
            );
            assert!(bench.to_string().contains(part), "{device}: {bench}");
        }
    }
}

#[test]
fn one_is_held_to_the_other() {
    let Some(icd) = swiftshader() else { return };
    for (device, reference) in [("SwiftShader", "llvmpipe"), ("llvmpipe", "SwiftShader")] {
        let arguments = [
            "compare",
            "models/tiny/conv_odd/model.onnx",
            "--device",
            device,
            "--reference",
            reference,
            "--per-node",
            "--json",
            "-",
        ];
        let report = json(&icd, &arguments);
        assert!(
            report["verdict"] == "same"
                && report["reference"].as_str().is_some_and(|name| name.contains(reference)),
            "{report}"
        );
    }
}

#[test]
fn a_name_that_none_has_is_an_error_that_lists_both() {
    let Some(icd) = swiftshader() else { return };
    for device in ["radeon", "gpu:2"] {
        let done = sardonyx(&icd, &["run", "models/tiny/mlp/model.onnx", "--device", device]);
        let problem = String::from_utf8_lossy(&done.stderr);
        assert!(
            !done.status.success() && problem.contains("SwiftShader") && problem.contains("llvmpipe"),
            "{device}: {problem}"
        );
    }
}
