//! `compare`: samples, what is measured and stated of outputs, and what one mechanism makes of them.

use super::{DIGITS, folder, json, refused, sardonyx, text};
use sardonyx::{Tensor, onnx};
use serde_json::Value;
use std::path::Path;

const OUTPUT: &str = "probabilities";

fn failed(arguments: &[&str]) -> Value {
    let output = sardonyx(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn picture(level: f32) -> Tensor {
    Tensor::new([1, 1, 8, 8], (0..64).map(|at| level * at as f32 / 64.0).collect::<Vec<_>>()).unwrap()
}

/// ONNX test data of the digits' model: a picture, and what the CPU makes of it, `wrong` by that much.
fn test_data(folder: &Path, level: f32, wrong: f32) {
    std::fs::create_dir_all(folder).unwrap();
    let session = sardonyx::Session::builder().load(DIGITS).unwrap();
    let made = session.run(&[("image", picture(level))]).unwrap().remove(0).1;
    let off: Vec<f32> = made.as_slice::<f32>().unwrap().iter().map(|x| x + wrong).collect();
    let output = Tensor::new(made.shape(), off).unwrap();
    onnx::write_pb(&folder.join("input_0.pb"), "image", &picture(level)).unwrap();
    onnx::write_pb(&folder.join("output_0.pb"), OUTPUT, &output).unwrap();
}

#[test]
fn samples_of_noise_each_have_a_verdict() {
    let found = json(&["compare", DIGITS, "--device", "cpu", "--samples", "3", "--seed", "5", "--json", "-"]);
    let names: Vec<&str> =
        found["samples"].as_array().unwrap().iter().map(|sample| sample["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["seed 5", "seed 6", "seed 7"]);
    assert_eq!((&found["verdict"], &found["sample"]), (&"same".into(), &"seed 5".into()));
    let largest = |sample: &Value| sample["outputs"][0]["max_abs"].as_f64().unwrap();
    let worst = &found["worst"][0];
    let most = found["samples"].as_array().unwrap().iter().find(|sample| sample["name"] == worst["sample"]);
    assert_eq!(worst["max_abs"].as_f64().unwrap(), largest(most.unwrap()));
    let output = &found["outputs"][0];
    for field in
        ["max_ulp_f32", "max_ulp_f16", "quantiles", "psnr_db", "top1", "top5", "nan", "infinite", "needs"]
    {
        assert!(!output[field].is_null(), "{field}: {output}");
    }
    assert_eq!((&output["top1"], &output["nan"]["got"]), (&1.0.into(), &0.into()));
    refused(&["compare", DIGITS, "--samples", "2", "-i", "image=x.npy"], &["--samples"]);
    refused(&["compare", DIGITS, "--samples", "0"], &["0"]);
}

#[test]
fn folders_and_files_of_inputs_are_samples() {
    let root = folder("compare-samples");
    test_data(&root.join("data/test_data_set_0"), 1.0, 0.0);
    test_data(&root.join("data/test_data_set_10"), 0.25, 0.0);
    test_data(&root.join("data/test_data_set_2"), 0.5, 0.0);
    onnx::write_npz(&root.join("one.npz"), &[("image".into(), picture(0.75))]).unwrap();
    let plain = root.join("plain");
    std::fs::create_dir_all(&plain).unwrap();
    onnx::write_npy(&plain.join("image.npy"), &picture(0.1)).unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_string();
    let (data, npz, plain) = (path("data"), path("one.npz"), path("plain"));
    let arguments = [
        "compare", DIGITS, "--device", "cpu", "--json", "-", "--inputs", &data, "--inputs", &npz, "--inputs",
        &plain,
    ];
    let found = json(&arguments);
    let names = found["samples"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|sample| sample["name"].as_str().unwrap()).collect();
    let ends = ["test_data_set_0", "test_data_set_2", "test_data_set_10", "one.npz", "plain"];
    assert!(names.len() == 5 && names.iter().zip(ends).all(|(name, end)| name.ends_with(end)), "{names:?}");
    let empty = folder("compare-empty");
    refused(
        &["compare", DIGITS, "--inputs", empty.to_str().unwrap()],
        &["image.npy", "none of the model's inputs"],
    );
    refused(&["compare", DIGITS, "--inputs", "no/such/folder"], &["no/such/folder"]);
    refused(&["compare", DIGITS, "--inputs", DIGITS], &["no .npz"]);
}

#[test]
fn recorded_outputs_of_a_folder_are_a_reference() {
    let root = folder("compare-recorded");
    test_data(&root.join("test_data_set_0"), 1.0, 0.0);
    test_data(&root.join("test_data_set_1"), 0.5, 0.25);
    let (all, first) =
        (root.to_str().unwrap().to_string(), root.join("test_data_set_0").to_str().unwrap().to_string());
    let base = ["compare", DIGITS, "--device", "cpu", "--json", "-", "--inputs"];
    let found = failed(&[&base[..], &[&all, "--reference", "recorded"]].concat());
    let verdicts: Vec<&Value> =
        found["samples"].as_array().unwrap().iter().map(|one| &one["verdict"]).collect();
    assert_eq!(verdicts, ["same", "different"]);
    assert!(found["sample"].as_str().unwrap().ends_with("test_data_set_1"));
    assert_eq!(found["worst"][0]["sample"], found["sample"]);
    let found = json(&[&base[..], &[&first, "--reference", &first]].concat());
    assert_eq!(found["reference"], "recorded outputs");
    refused(&["compare", DIGITS, "--device", "cpu", "--reference", "recorded"], &["no folder", "--inputs"]);
    let empty = folder("compare-no-outputs");
    let empty = empty.to_str().unwrap();
    refused(
        &["compare", DIGITS, "--device", "cpu", "--reference", empty],
        &["holds no outputs", "output_0.pb"],
    );
}

#[test]
fn a_stated_tolerance_decides() {
    let root = folder("compare-stated");
    test_data(&root.join("test_data_set_0"), 1.0, 1e-3);
    let inputs = root.to_str().unwrap();
    let base =
        ["compare", DIGITS, "--device", "cpu", "--json", "-", "--inputs", inputs, "--reference", "recorded"];
    assert_eq!(failed(&base)["verdict"], "different");
    for (tolerance, same) in [
        ("atol:2e-3", true),
        ("atol:5e-4", false),
        ("topk:1,cosine:0.99", true),
        ("topk:1,ulp:1", false),
        ("psnr:20", true),
    ] {
        let stated = format!("{OUTPUT}={tolerance}");
        let arguments = [&base[..], &["--tolerance", &stated]].concat();
        let found = if same { json(&arguments) } else { failed(&arguments) };
        let row = &found["outputs"][0];
        assert_eq!(
            (&row["same"], row["tolerance"]["formula"].as_str()),
            (&same.into(), Some("stated by --tolerance"))
        );
        let stated = row["stated"].as_array().unwrap();
        assert_eq!(stated.iter().all(|one| one["same"] == true), same, "{tolerance}: {stated:?}");
    }
    refused(&["compare", DIGITS, "--tolerance", "nothing=ulp:1"], &["'nothing'", OUTPUT]);
    refused(&["compare", DIGITS, "--tolerance", "probabilities=far:1"], &["far", "rtol:1e-3"]);
}

#[test]
fn the_same_bits_again_and_one_mechanism_the_other_way() {
    let found = json(&[
        "compare", DIGITS, "--device", "cpu", "--repeat", "5", "--ab", "fusion", "--ab", "f16", "--json", "-",
    ]);
    let hashes = found["repeat"]["hashes"].as_array().unwrap();
    let by: Vec<&str> = hashes.iter().map(|hash| hash["by"].as_str().unwrap()).collect();
    assert_eq!(by, ["same session", "new session", "same session", "same session", "new process"]);
    assert!(
        found["repeat"]["same"] == true
            && hashes.iter().all(|hash| hash["sha256"].as_str().unwrap().len() == 64)
    );
    let ab = found["ab"].as_array().unwrap();
    assert_eq!((ab.len(), &ab[1]["mechanism"], &ab[1]["same_bits"]), (2, &"f16".into(), &false.into()));
    assert!(ab[1]["of_tolerance"].as_f64().unwrap() > ab[0]["of_tolerance"].as_f64().unwrap());
    refused(&["compare", DIGITS, "--device", "cpu", "--ab", "alias"], &["alias", "GPU"]);
}

#[test]
fn mechanisms_of_a_gpu_and_poison() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let found = json(&[
        "compare", DIGITS, "--device", "gpu", "--ab", "alias", "--ab", "winograd", "--ab", "checks",
        "--poison", "--json", "-",
    ]);
    assert_eq!(found["verdict"], "same");
    let ab = found["ab"].as_array().unwrap();
    assert_eq!(ab.len(), 3);
    // Where results lie changes nothing.
    assert_eq!(ab[0]["same_bits"], true);
}

#[test]
fn ranges_are_of_every_node() {
    let found = json(&["compare", DIGITS, "--device", "cpu", "--range", "--samples", "2", "--json", "-"]);
    let rows = found["range"].as_array().unwrap();
    assert_eq!(rows.len(), 15);
    assert!(
        rows.iter().all(|row| row["elements"].as_u64().unwrap() > 0 && row["hold"].is_null()),
        "{rows:?}"
    );
    assert!(rows.iter().all(|row| row["largest"].as_f64() >= row["smallest"].as_f64()));
}

#[test]
fn the_other_forms_are_written_whole() {
    let root = folder("compare-forms");
    let path = |name: &str| root.join(name).to_str().unwrap().to_string();
    let (junit, markdown, maps) = (path("a.xml"), path("a.md"), path("maps"));
    let output = sardonyx(&[
        "compare",
        DIGITS,
        "--device",
        "cpu",
        "--per-node",
        "--junit",
        &junit,
        "--markdown",
        &markdown,
        "--heatmap",
        &maps,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains("failures=\"0\"") && junit.contains("output probabilities") && junit.contains("node ")
    );
    assert!(std::fs::read_to_string(markdown).unwrap().contains("| probabilities | same |"));
    // A row of ten has no two axes to draw.
    assert!(!text(&output.stdout).contains("heat map"));
    let on_stdout = sardonyx(&["compare", DIGITS, "--device", "cpu", "--markdown", "-"]);
    assert!(text(&on_stdout.stdout).starts_with("## models/digits/digits.onnx: same\n"));
    refused(
        &["compare", DIGITS, "--device", "cpu", "--markdown", "-", "--json", "-"],
        &["--markdown", "--json"],
    );
    let output =
        sardonyx(&["compare", "models/tiny/branches/model.onnx", "--device", "cpu", "--heatmap", &maps]);
    let drawn = text(&output.stdout);
    for line in drawn.lines().filter_map(|line| line.strip_prefix("heat map: ")) {
        assert!(sardonyx::image::load(line).unwrap().width() > 0);
    }
}
