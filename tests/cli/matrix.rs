//! Several models, devices, precisions and batch sizes in one `bench`.

use super::{DIGITS, folder, json, refused, sardonyx, text};
use serde_json::Value;

fn cells(document: &Value) -> Vec<(&str, &str, i64)> {
    let rows = document["results"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            (
                row["asked"].as_str().unwrap(),
                row["precision"].as_str().unwrap(),
                row["batch"].as_i64().unwrap_or(-1),
            )
        })
        .collect()
}

#[test]
fn every_cell_is_a_row_with_its_verdict() {
    let arguments = [
        "bench",
        DIGITS,
        "--device",
        "cpu,cpu,CPU",
        "--precision",
        "f32,f16",
        "--batch",
        "1,3",
        "--runs",
        "7",
        "--rounds",
        "3",
        "--note",
        "on the bench",
        "--json",
        "-",
    ];
    let document = json(&arguments);
    assert_eq!(document["schema"], 1);
    let context = &document["context"];
    assert_eq!((&context["note"], &context["options"]["runs"]), (&"on the bench".into(), &7.into()));
    assert!(context["memory_bytes"].as_u64().unwrap() > 0 && context["os"].is_string());
    // A device that is named twice in the same words is one.
    assert_eq!(cells(&document).len(), 8);
    assert_eq!(
        &cells(&document)[..4],
        [("cpu", "f32", 1), ("cpu", "f32", 3), ("cpu", "f16", 1), ("cpu", "f16", 3)]
    );
    for row in document["results"].as_array().unwrap() {
        assert!(row["error"].is_null() && row["split_ms"].is_null(), "{row}");
        let rounds: Vec<usize> = row["rounds_ms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|round| round.as_array().unwrap().len())
            .collect();
        assert_eq!(rounds, [3, 2, 2]);
        assert_eq!(row["runs_ms"].as_array().unwrap().len(), 7);
        let latency = &row["latency_ms"];
        assert!(latency["std"].as_f64().unwrap() >= 0.0 && latency["cv"].is_number());
        let verdict = if row["precision"] == "f32" { "OK" } else { "ROUNDING" };
        assert_eq!(row["verdict"], verdict, "{row}");
        assert_eq!(row["agreement"]["top1"], 1.0);
        assert_eq!(row["model_sha256"].as_str().unwrap().len(), 64);
        assert!(row["peak_host_bytes"].is_u64() && row["first_inference_ms"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_cell_that_cannot_run_is_a_row_with_its_reason() {
    let output = sardonyx(&[
        "bench",
        DIGITS,
        "models/no.onnx",
        "--device",
        "cpu,no such adapter",
        "--runs",
        "1",
        "--json",
        "-",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let errors: Vec<Option<&str>> =
        document["results"].as_array().unwrap().iter().map(|row| row["error"].as_str()).collect();
    assert_eq!(errors.len(), 4);
    assert_eq!(errors[0], None);
    assert!(errors[1].unwrap().contains("no such adapter"), "{errors:?}");
    assert!(errors[2].unwrap().contains("can't be read") && errors[3].is_some(), "{errors:?}");
    assert!(document["results"][1]["latency_ms"].is_null());
    // Where nothing can be measured, nothing was.
    let output = sardonyx(&["bench", "models/no.onnx", "models/none.onnx", "--device", "cpu"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no cell could be measured"));
}

#[test]
fn batch_sizes_that_a_model_does_not_leave_open_are_refused() {
    let fixed = "models/tiny/quantized/model.onnx";
    refused(&["bench", fixed, "--device", "cpu", "--batch", "7"], &["the batch size is fixed at", "--batch"]);
    refused(&["bench", DIGITS, "--batch", "2", "-i", "image=models/digits/7.png"], &["--batch"]);
    refused(&["bench", DIGITS, "--device", ","], &["no device"]);
    refused(&["bench", DIGITS, "--device", "cpu,gpu", "--outputs", "/tmp/x"], &["one model on one device"]);
}

#[test]
fn a_measurement_is_held_against_an_earlier_one() {
    let folder = folder("baseline");
    let path = folder.join("old.json");
    let old = path.to_str().unwrap();
    let base = ["bench", DIGITS, "--device", "cpu", "--runs", "15", "--no-accuracy"];
    let document = json(&[&base[..], &["--json", "-"]].concat());
    std::fs::write(&path, document.to_string()).unwrap();
    let slower = sardonyx(
        &[&base[..], &["--slowed", "10000", "--baseline", old, "--ignore", "build", "--json", "-"]].concat(),
    );
    assert_eq!(slower.status.code(), Some(1), "{}", text(&slower.stderr));
    let slower: Value = serde_json::from_slice(&slower.stdout).unwrap();
    let cell = &slower["baseline"]["cells"][0];
    assert_eq!(cell["judgement"], "slower", "{cell}");
    assert!(cell["ratio"].as_f64().unwrap() > 100.0, "{cell}");
    // Other options are another measurement; a wrong file is told before anything is measured.
    let other = ["--seed", "1", "--baseline", old, "--ignore", "build"];
    refused(&[&base[..], &other].concat(), &["can be compared", "seed"]);
    refused(&["bench", DIGITS, "--baseline", "no.json"], &["no.json", "can't be read"]);
    std::fs::write(&path, "{\"schema\": 1, \"results\": [").unwrap();
    refused(&["bench", DIGITS, "--baseline", old], &["old.json", "not one whole JSON document"]);
}

#[test]
fn a_planted_fault_makes_its_cell_different() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let folder = folder("matrix");
    let trace = folder.join("trace.json");
    let document = json(&[
        "bench",
        DIGITS,
        "--device",
        "cpu,gpu",
        "--runs",
        "2",
        "--plant-fault",
        "3",
        "--profile",
        "--trace",
        trace.to_str().unwrap(),
        "--json",
        "-",
    ]);
    let rows = document["results"].as_array().unwrap();
    assert_eq!((&rows[0]["verdict"], &rows[1]["verdict"]), (&"OK".into(), &"DIFFERENT".into()));
    let split = &rows[1]["split_ms"];
    let part = |name: &str| split[name]["median"].as_f64().unwrap();
    assert!(part("compute") > 0.0 && part("enqueue") > 0.0 && part("readback") > 0.0, "{split}");
    assert!(rows[1]["peak_gflops"].as_f64().unwrap() > 0.0);
    let trace: Value = serde_json::from_slice(&std::fs::read(trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().filter(|event| event["ph"] == "M").count() == 2, "{events:?}");
    assert!(events.iter().any(|event| event["ph"] == "X" && event["dur"].as_f64().unwrap() > 0.0));
}
