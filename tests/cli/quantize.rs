//! `quantize`: what it writes runs, what it says is so, and what it refuses.

use super::{json, refused, sardonyx, text};
use std::path::PathBuf;

fn place(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sardonyx-quantize-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

const MLP: &str = "models/tiny/mlp/model.onnx";

#[test]
fn a_quantised_model_runs_with_nearly_the_same_answers() {
    let file = place("mlp4.onnx");
    let path = file.to_str().unwrap();
    let made =
        json(&["quantize", MLP, "-o", path, "--bits", "4", "--block", "16", "--samples", "3", "--json", "-"]);
    let layers = made["layers"].as_array().unwrap();
    assert!(made["met"] == true && made["samples"] == 3 && !layers.is_empty(), "{made}");
    for layer in layers {
        assert!(layer["after_bytes"].as_u64() < layer["before_bytes"].as_u64(), "{layer}");
        let cost = &layer["cost"];
        // 4 bits: a step of a fifteenth of a block's range.
        let (error, cosine) = (cost["max_rel"].as_f64().unwrap(), cost["cosine"].as_f64().unwrap());
        assert!(error > 0.0 && error < 0.2 && cosine > 0.98, "{layer}");
    }
    assert_eq!(made["after_bytes"].as_u64().unwrap(), std::fs::metadata(&file).unwrap().len());
    let error = made["error"]["max_rel"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.5);
    let inspected = json(&["inspect", path, "--json", "-"]);
    assert!(inspected.to_string().contains("MatMulNBits"), "{inspected}");
    // 8 bits are nearer.
    let eight = place("mlp8.onnx");
    let made = json(&["quantize", MLP, "-o", eight.to_str().unwrap(), "--samples", "3", "--json", "-"]);
    assert!(made["error"]["max_rel"].as_f64().unwrap() < error / 4.0, "{made}");
    // And it runs on the CPU against itself.
    let compared = sardonyx(&["run", path, "--device", "cpu"]);
    assert!(compared.status.success(), "{}", text(&compared.stderr));
}

#[test]
fn a_tolerance_keeps_what_costs_most() {
    let file = place("tolerant.onnx");
    let path = file.to_str().unwrap();
    let all = json(&["quantize", MLP, "-o", path, "--bits", "4", "--block", "16", "--json", "-"]);
    let error = all["error"]["max_rel"].as_f64().unwrap();
    let half = format!("{}", error * 0.9);
    let arguments =
        ["quantize", MLP, "-o", path, "--bits", "4", "--block", "16", "--tolerance", &half, "--json", "-"];
    let output = sardonyx(&arguments);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept = found["layers"].as_array().unwrap().iter().filter(|layer| layer["kept"] == true).count();
    assert!(kept > 0, "{found}");
    if output.status.code() == Some(0) {
        assert!(
            found["met"] == true && found["error"]["max_rel"].as_f64().unwrap() <= error * 0.9,
            "{found}"
        );
    } else {
        // Nothing is left that could be quantised.
        assert_eq!((output.status.code(), &found["met"]), (Some(1), &serde_json::Value::Bool(false)));
    }
    // A node that is named stays.
    let name = all["layers"][0]["node"].as_str().unwrap();
    let found =
        json(&["quantize", MLP, "-o", path, "--bits", "4", "--block", "16", "--keep", name, "--json", "-"]);
    assert_eq!(found["layers"][0]["kept"], true, "{found}");
}

#[test]
fn what_can_not_be_quantised_is_said() {
    let file = place("refused.onnx");
    let path = file.to_str().unwrap();
    refused(&["quantize", MLP, "-o", MLP], &["would replace the model", "elsewhere"]);
    refused(&["quantize", MLP, "-o", path, "--bits", "5"], &["5 bits", "4 or 8"]);
    refused(&["quantize", MLP, "-o", path, "--block", "20"], &["blocks of 20", "power of two"]);
    refused(&["quantize", MLP, "-o", path, "--tolerance=-1"], &["above 0"]);
    refused(&["quantize", MLP, "-o", path, "--keep", "nobody"], &["nobody", "no weights"]);
    refused(&["quantize", "models/tiny/branches/model.onnx", "-o", path], &["nothing to quantise"]);
    refused(&["quantize", "nowhere.onnx", "-o", path], &["nowhere.onnx"]);
    assert!(!file.exists());
}
