//! `--precision auto` and the file that it writes; nodes held in float32.

use super::{DIGITS, folder, json, refused, sardonyx, text};
use serde_json::Value;

fn has_adapter() -> bool {
    sardonyx::gpu::test_device().is_some()
}

fn auto<'a>(tolerance: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let base = [
        "compare",
        DIGITS,
        "--device",
        "gpu",
        "--precision",
        "auto",
        "--json",
        "-",
        "--tolerance",
        tolerance,
    ];
    [&base[..], more].concat()
}

#[test]
fn the_fewest_nodes_that_do_are_found_and_taken() {
    if !has_adapter() {
        return;
    }
    let root = folder("precision");
    let path = |name: &str| root.join(name).to_str().unwrap().to_string();
    let whole = json(&auto("0.5", &[]));
    assert_eq!((&whole["met"], &whole["hold_f32"]), (&true.into(), &Value::Array(vec![])));
    // A fifth of float16's own error takes some nodes, and not all.
    let half = whole["error_f16"].as_f64().unwrap();
    assert!(whole["error_f32"].as_f64().unwrap() < half / 10.0, "{whole}");
    let (tolerance, file) = ((half / 5.0).to_string(), path("digits.json"));
    let found = json(&auto(&tolerance, &["-o", &file]));
    let held: Vec<&str> =
        found["hold_f32"].as_array().unwrap().iter().map(|node| node.as_str().unwrap()).collect();
    assert!(!held.is_empty() && held.len() <= found["nodes"].as_u64().unwrap() as usize, "{found}");
    assert!(found["error"].as_f64().unwrap() <= half / 5.0 && found["file"] == file.as_str());
    // Without one of them it is not met: the search's own number, measured anew.
    for left_out in &held {
        let rest: Vec<String> =
            held.iter().filter(|node| node != &left_out).map(|node| node.to_string()).collect();
        let error = error_with(&rest);
        assert!(error > half / 5.0, "without {left_out}: {error:e}");
    }
    for verb in ["run", "compare"] {
        let output = sardonyx(&[verb, DIGITS, "--device", "gpu", "--precision", &file, "--json", "-"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let document = json(&["run", DIGITS, "--device", "gpu", "--precision", &file, "--json", "-"]);
    assert_eq!(document["precision"], "mixed");
    let none = path("none.json");
    let output = sardonyx(&auto("1e-12", &["-o", &none]));
    assert_eq!(output.status.code(), Some(1));
    assert!(!std::path::Path::new(&none).exists() && text(&output.stderr).contains("no file is written"));
}

/// The largest relative error of the digits' probabilities with these nodes held, as the search has it.
fn error_with(held: &[String]) -> f64 {
    let holds = held.iter().flat_map(|node| ["--hold-f32", node.as_str()]);
    let base = ["compare", DIGITS, "--device", "gpu", "--precision", "f16", "--json", "-"];
    let arguments: Vec<&str> = base.into_iter().chain(holds).collect();
    let output = sardonyx(&arguments);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let off = found["outputs"][0]["max_abs"].as_f64().unwrap();
    // The largest probability, of the same noise.
    let right = json(&["run", DIGITS, "--device", "cpu", "--json", "-"]);
    let values = right["outputs"][0]["values"].as_array().unwrap();
    off / values.iter().map(|x| x.as_f64().unwrap()).fold(0.0, f64::max)
}

#[test]
fn what_is_no_precision_is_refused() {
    let root = folder("precision-wrong");
    let path = |name: &str| root.join(name).to_str().unwrap().to_string();
    let (broken, unknown) = (path("broken.json"), path("unknown.json"));
    std::fs::write(&broken, "{\"schema\": 1, \"precision\": ").unwrap();
    std::fs::write(&unknown, "{\"schema\": 1, \"precision\": \"f16\", \"hold_f32\": [\"nobody\"]}").unwrap();
    refused(&["run", DIGITS, "--precision", &broken], &["broken.json", "no JSON"]);
    refused(&["run", DIGITS, "--precision", "missing.json"], &["missing.json"]);
    refused(&["run", DIGITS, "--precision", "auto"], &["auto is for compare"]);
    refused(
        &["run", DIGITS, "--device", "cpu", "--precision", "f16", "--hold-f32", "stem_relu"],
        &["GPU alone"],
    );
    refused(&["verify", "models/tiny", "--precision", &unknown], &["verify runs many"]);
    refused(&["compare", DIGITS, "--device", "cpu", "--precision", "auto", "--tolerance", "1"], &["GPU"]);
    refused(&["compare", DIGITS, "--precision", "auto"], &["--tolerance T"]);
    refused(&["compare", DIGITS, "--precision", "auto", "--tolerance", "x=ulp:1"], &["--tolerance T"]);
    refused(&["compare", DIGITS, "--device", "cpu", "-o", "x.json"], &["--precision auto"]);
    if has_adapter() {
        refused(
            &["run", DIGITS, "--device", "gpu", "--precision", &unknown],
            &["nobody", "no node of this name"],
        );
    }
}
