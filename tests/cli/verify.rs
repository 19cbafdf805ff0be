//! `verify`: which folders are cases, how each counts, and that one that goes wrong leaves the others alone.

use super::models::*;
use super::*;
use sardonyx::{Tensor, onnx};
use std::path::Path;

/// A case `y = Relu(x)` with data sets of these inputs, each with the right output moved by `shift`.
fn case(path: &Path, sets: &[&[f32]], shift: f32) {
    relu(&path.join("model.onnx"));
    for (index, input) in sets.iter().enumerate() {
        let set = path.join(format!("test_data_set_{index}"));
        std::fs::create_dir_all(&set).unwrap();
        let tensor = |elements: Vec<f32>| Tensor::new([elements.len() / 3, 3], elements).unwrap();
        onnx::write_pb(&set.join("input_0.pb"), "x", &tensor(input.to_vec())).unwrap();
        onnx::write_pb(
            &set.join("output_0.pb"),
            "y",
            &tensor(input.iter().map(|x| x.max(0.0) + shift).collect()),
        )
        .unwrap();
    }
}

/// The document and the exit code of a run on the CPU.
fn verified(arguments: &[&str]) -> (Value, Option<i32>) {
    let output = sardonyx(&[&["verify", "--json", "-"], arguments].concat());
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|problem| panic!("{problem}: {}", text(&output.stderr)));
    (document, output.status.code())
}
fn status<'a>(document: &'a Value, name: &str) -> (&'a str, String) {
    let found = document["cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["path"].as_str().unwrap().ends_with(name))
        .unwrap();
    for key in ["path", "status", "reason", "ran_on", "dispatches"] {
        assert!(found.get(key).is_some(), "{key}");
    }
    assert!(["gpu", "cpu", "plan"].iter().all(|place| found["ran_on"][place].is_u64()));
    (found["status"].as_str().unwrap(), found["reason"].as_str().unwrap_or_default().to_string())
}

#[test]
fn all_data_sets_count_and_counts_sum_to_the_cases() {
    let folder = folder("verify-sets");
    case(&folder.join("a/good"), &[&[1.0, -2.0, 3.0], &[0.0, 0.5, -1.0, 2.0, 2.0, 2.0]], 0.0);
    case(&folder.join("second_wrong"), &[&[1.0, -2.0, 3.0], &[1.0, 1.0, 1.0]], 0.0);
    let wrong = Tensor::new([1, 3], vec![1f32, 1.0, 1.1]).unwrap();
    onnx::write_pb(&folder.join("second_wrong/test_data_set_1/output_0.pb"), "y", &wrong).unwrap();
    case(&folder.join("near"), &[&[1.0, -2.0, 3.0]], 5e-4);
    case(&folder.join("shape"), &[&[1.0, -2.0, 3.0]], 0.0);
    onnx::write_pb(
        &folder.join("shape/test_data_set_0/output_0.pb"),
        "y",
        &Tensor::new([3], vec![1f32, 0.0, 3.0]).unwrap(),
    )
    .unwrap();
    case(&folder.join("type"), &[&[1.0, -2.0, 3.0]], 0.0);
    onnx::write_pb(
        &folder.join("type/test_data_set_0/output_0.pb"),
        "y",
        &Tensor::new([1, 3], vec![1f64, 0.0, 3.0]).unwrap(),
    )
    .unwrap();
    save(
        &folder.join("unknown/model.onnx"),
        vec![node("Frobnicate", &["x"], &["y"])],
        vec![value("x", &["3"])],
        vec![value("y", &["3"])],
        vec![],
    );
    std::fs::create_dir_all(folder.join("unknown/test_data_set_0")).unwrap();
    relu(&folder.join("bare/model.onnx"));
    std::fs::create_dir_all(folder.join("no_model/test_data_set_0")).unwrap();
    case(&folder.join("cut"), &[&[1.0, -2.0, 3.0]], 0.0);
    std::fs::write(folder.join("cut/test_data_set_0/input_0.pb"), [8, 3]).unwrap();

    let (document, code) = verified(&[folder.to_str().unwrap(), "--device", "cpu"]);
    assert_eq!(code, Some(1));
    assert_eq!(status(&document, "good").0, "passed");
    // Within rtol 1e-3 where the recorded value is not 0, beyond atol 1e-7 where it is.
    assert_eq!(status(&document, "near").0, "failed");
    let (word, reason) = status(&document, "second_wrong");
    assert!(word == "failed" && reason.contains("test_data_set_1") && reason.contains("'y'"), "{reason}");
    assert!(
        reason.contains("1 of 3 elements differ; the worst, element 2, is 1, recorded is 1.1"),
        "{reason}"
    );
    assert_eq!((status(&document, "shape").0, status(&document, "type").0), ("failed", "failed"));
    let (word, reason) = status(&document, "unknown");
    assert!(word == "unsupported" && reason.contains("Frobnicate"), "{reason}");
    assert_eq!((status(&document, "bare").0, status(&document, "cut").0), ("error", "error"));
    let counts = &document["counts"];
    let sum: u64 =
        ["passed", "failed", "unsupported", "error"].iter().map(|key| counts[key].as_u64().unwrap()).sum();
    assert_eq!((sum as usize, document["cases"].as_array().unwrap().len()), (8, 8));

    // Several folders, each with tolerances of its own.
    std::fs::write(folder.join("index.tsv"), "kind\tname\tatol\tops\trtol\nx\tnear\t0.001\tRelu\t0\n")
        .unwrap();
    let (near, good) = (folder.join("near"), folder.join("a"));
    let (document, _) = verified(&[folder.to_str().unwrap(), "--device", "cpu"]);
    assert_eq!(status(&document, "near").0, "passed");
    let (document, code) = verified(&[near.to_str().unwrap(), good.to_str().unwrap(), "--device", "cpu"]);
    assert_eq!(
        (code, status(&document, "near").0, status(&document, "good").0),
        (Some(1), "failed", "passed")
    );
}

#[test]
fn a_case_that_takes_too_long_is_an_error_and_the_others_run() {
    let folder = folder("verify-slow");
    case(&folder.join("quick"), &[&[1.0, -2.0, 3.0]], 0.0);
    let slow = folder.join("slow");
    let names: Vec<String> = (0..=400).map(|k| format!("v{k}")).collect();
    let nodes = names.windows(2).map(|pair| node("MatMul", &[&pair[0], "v0"], &[&pair[1]])).collect();
    save(
        &slow.join("model.onnx"),
        nodes,
        vec![value("v0", &["1024", "1024"])],
        vec![value("v400", &["1024", "1024"])],
        vec![],
    );
    std::fs::create_dir_all(slow.join("test_data_set_0")).unwrap();
    let zeros = Tensor::new([1024, 1024], vec![0f32; 1 << 20]).unwrap();
    onnx::write_pb(&slow.join("test_data_set_0/input_0.pb"), "v0", &zeros).unwrap();
    onnx::write_pb(&slow.join("test_data_set_0/output_0.pb"), "v400", &zeros).unwrap();
    let (document, code) =
        verified(&[folder.to_str().unwrap(), "--device", "cpu", "--timeout", "1", "--jobs", "1"]);
    assert_eq!(code, Some(1));
    let (word, reason) = status(&document, "slow");
    assert!(word == "error" && reason.contains("time-out"), "{reason}");
    assert_eq!(status(&document, "quick").0, "passed");
}

#[test]
fn strict_counts_a_fallback_as_unsupported() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let (document, code) = verified(&["models/tiny", "--device", "gpu", "--strict"]);
    assert_eq!((&document["strict"], code), (&Value::Bool(true), Some(0)));
    let (word, reason) = status(&document, "cpu_step");
    assert!(word == "unsupported" && reason.contains("float64"), "{reason}");
    let (document, _) = verified(&["models/tiny", "--device", "gpu"]);
    assert_eq!((&document["strict"], status(&document, "cpu_step").0), (&Value::Bool(false), "passed"));
    let found = document["cases"]
        .as_array()
        .unwrap()
        .iter()
        .find(|case| case["path"].as_str().unwrap().ends_with("conv_odd"))
        .unwrap();
    assert!(found["dispatches"].as_u64() > Some(0) && found["ran_on"]["gpu"].as_u64() > Some(0));
}
