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

const CONVNET: &str = "models/quantize/convnet/model.onnx";
const SAMPLES: &str = "models/quantize/convnet/samples";

#[test]
fn activations_in_eight_bits() {
    let file = place("static.onnx");
    let path = file.to_str().unwrap();
    let fixed = ["quantize", CONVNET, "-o", path, "--activations", "static", "--inputs", SAMPLES];
    let with = |more: &[&'static str]| [&fixed[..], more, &["--json", "-"]].concat();
    let made = json(&with(&[]));
    assert!(made["met"] == true && made["samples"] == 3 && made["activations"] == "static", "{made}");
    assert!(
        made["block"].is_null() && made["calibration"] == "minmax" && made["left"] == serde_json::json!([])
    );
    assert_eq!(made["after_bytes"].as_u64().unwrap(), std::fs::metadata(&file).unwrap().len());
    let layers = made["layers"].as_array().unwrap();
    let ops: Vec<&str> = layers.iter().map(|layer| layer["op"].as_str().unwrap()).collect();
    assert_eq!(ops.iter().filter(|op| **op == "Conv").count(), 5, "{ops:?}");
    for op in ["Gemm", "Add", "Mul", "Concat", "GlobalAveragePool"] {
        assert!(ops.contains(&op), "{op} of {ops:?}");
    }
    for layer in layers {
        // Of 255 steps that a range has, inputs, weights and result are half of one off each, weighed by sums.
        let cost = layer["cost"]["max_rel"].as_f64().unwrap();
        assert!(cost > 0.0 && cost < 0.1 && layer["cost"]["cosine"].as_f64().unwrap() > 0.995, "{layer}");
        assert!(layer["sizes"] == serde_json::json!([0, 0]) || layer["after_bytes"] != layer["before_bytes"]);
    }
    let error = made["error"]["max_rel"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.2, "{made}");
    // Nodes that compute can be kept, too, and a tolerance keeps what it takes.
    let kept = json(&with(&["--keep", "add", "--keep", "stem"]));
    let is_kept = |name: &str| {
        kept["layers"].as_array().unwrap().iter().any(|layer| layer["node"] == name && layer["kept"] == true)
    };
    assert!(is_kept("add") && is_kept("stem") && !is_kept("expand"), "{kept}");
    let less = (error * 0.5).to_string();
    let arguments = [&fixed[..], &["--tolerance", &less, "--json", "-"]].concat();
    let found = json(&arguments);
    assert!(found["error"]["max_rel"].as_f64().unwrap() <= error * 0.5, "{found}");
    // A percentile cuts ranges: the model is another one.
    let whole = std::fs::read(&file).unwrap();
    let cut = json(&with(&["--calibration", "percentile", "--percentile", "95"]));
    assert!(cut["percentile"] == 95.0 && std::fs::read(&file).unwrap() != whole, "{cut}");

    let dynamic = place("dynamic.onnx");
    let path = dynamic.to_str().unwrap();
    let made = json(&["quantize", CONVNET, "-o", path, "--activations", "dynamic", "--json", "-"]);
    // The convolution with a filter to a channel stays.
    assert_eq!(made["layers"].as_array().unwrap().len(), 5, "{made}");
    assert!(made["calibration"].is_null() && made["activations"] == "dynamic", "{made}");
    let said = text(&sardonyx(&["quantize", CONVNET, "-o", path, "--activations", "dynamic"]).stdout);
    assert!(said.contains("5 of 5 layers in 8 bits, dynamic activations"), "{said}");
}

#[test]
fn options_of_activations_that_do_not_fit_are_said() {
    let file = place("misfit.onnx");
    let path = file.to_str().unwrap();
    let with = |model: &'static str, more: &[&'static str]| {
        let start = ["quantize", model, "-o", path];
        start.into_iter().chain(more.iter().copied()).map(str::to_string).collect::<Vec<String>>()
    };
    for (more, said) in [
        (&["--activations", "static"][..], &["no samples", "--inputs DIR", "--samples"][..]),
        (&["--activations", "static", "--samples", "1", "--block", "32"], &["--block", "static activations"]),
        (&["--activations", "dynamic", "--bits", "4"], &["--bits", "dynamic activations"]),
        (&["--per-channel"], &["--per-channel", "stay floats"]),
        (&["--calibration", "minmax"], &["--calibration", "--activations static"]),
        (&["--activations", "static", "--samples", "1", "--percentile", "99"], &["--calibration percentile"]),
        (&["--activations", "static", "--percentile", "40"], &["above 50"]),
        (&["--activations", "dynamic", "--keep", "relu0"], &["relu0", "stem"]),
    ] {
        let arguments = with(CONVNET, more);
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), said);
    }
    let old = "models/quantize/convnet11/model.onnx";
    let arguments = with(old, &["--activations", "static", "--samples", "1", "--per-channel"]);
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &["opset 11", "opset 13", "export"]);
    let quantized = "models/quantize/convnet/static.onnx";
    let arguments = with(quantized, &["--activations", "dynamic"]);
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &["quantised already", "of floats"]);
    assert!(!file.exists());
}
