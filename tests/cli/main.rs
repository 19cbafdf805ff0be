//! The command line: every verb, its JSON, its errors. Standard output is data, errors are one line, exit
//! codes are 0, 1, 2.
#![cfg(feature = "cli")]

mod bad_input;
mod bundle;
mod ci;
mod compare;
mod contract;
mod elsewhere;
mod embed;
mod eval;
mod generate;
mod matrix;
mod models;
mod precision;
mod quantize;
mod report;
mod tools;
mod transcribe;
mod verify;

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const DIGITS: &str = "models/digits/digits.onnx";
const BRANCHES: &str = "models/tiny/branches/model.onnx";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sardonyx"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG");
    command
}
fn sardonyx(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
/// Standard output as the one JSON document that it must be.
fn json(arguments: &[&str]) -> Value {
    let output = sardonyx(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|problem| panic!("{arguments:?}: {problem}: {}", text(&output.stdout)))
}
/// A run that can't be: exit code 2, nothing on standard output, and a last line `error: …` that holds every
/// part.
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = sardonyx(arguments);
    let talk = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {talk}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let errors: Vec<&str> = talk
        .lines()
        .filter(|line| {
            !["device: ", "note: ", "inputs: ", "planned for: "].iter().any(|talk| line.starts_with(talk))
        })
        .collect();
    assert_eq!(errors.len(), 1, "{arguments:?}: {talk}");
    assert!(
        errors[0].starts_with("error: ") && parts.iter().all(|part| errors[0].contains(part)),
        "{arguments:?}: {talk}"
    );
}
/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
fn floats(path: &std::path::Path, shape: &[usize]) {
    let count = shape.iter().product();
    sardonyx::onnx::write_npy(path, &sardonyx::Tensor::new(shape, vec![0.5f32; count]).unwrap()).unwrap();
}

#[test]
fn every_verb_has_help_with_an_example() {
    let help = text(&sardonyx(&["--help"]).stdout);
    for verb in
        ["devices", "inspect", "run", "bench", "ci", "verify", "classify", "report", "eval", "generate"]
    {
        assert!(help.contains(verb), "{verb}");
        let output = sardonyx(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            text(&output.stdout).contains(&format!("sardonyx {verb} ")),
            "{verb}: {}",
            text(&output.stdout)
        );
    }
    assert!(!help.contains("verify-worker"));
}

#[test]
fn wrong_usage_is_one_line() {
    refused(&[], &["verb"]);
    refused(&["fly"], &["fly"]);
    refused(&["run"], &["MODEL"]);
    refused(&["run", DIGITS, "--wat"], &["--wat"]);
    refused(&["run", DIGITS, "--precision", "f8"], &["f8", "f16"]);
    refused(&["bench", DIGITS, "--runs", "0"], &["--runs"]);
    refused(&["bench", DIGITS, "--duration", "-1"], &["-1"]);
    refused(&["verify"], &["DIR"]);
}

#[test]
fn devices_are_listed() {
    let document = json(&["devices", "--no-measure", "--json", "-"]);
    assert_eq!(document["schema"], 1);
    assert!(document["cpu"]["threads"].as_u64().unwrap() > 0);
    for device in document["devices"].as_array().unwrap() {
        assert!(
            device["name"].is_string()
                && device["limits"]["max_buffer_size"].is_u64()
                && device["measured"].is_null()
        );
    }
    assert!(text(&sardonyx(&["devices", "--no-measure"]).stdout).contains("cpu"));
}

#[test]
fn a_device_that_is_not_there_is_refused() {
    refused(&["run", DIGITS, "--device", "voodoo"], &["voodoo"]);
    refused(&["run", DIGITS, "--device", "gpu:99"], &["99"]);
    refused(&["verify", "models/tiny", "--device", "voodoo"], &["voodoo"]);
    refused(&["run", DIGITS, "--limits", "no-such.json"], &["no-such.json"]);
    for none in ["/dev/null", "/no/such/driver.json"] {
        let hidden = |arguments: &[&str]| {
            let mut command = command(arguments);
            command.env("VK_ICD_FILENAMES", none).env("VK_DRIVER_FILES", none).output().unwrap()
        };
        if cfg!(target_os = "linux") {
            assert_eq!(hidden(&["run", DIGITS, "--device", "gpu"]).status.code(), Some(2));
            let output = hidden(&["run", DIGITS]);
            assert!(output.status.success());
            assert_eq!(
                text(&output.stderr).lines().filter(|line| line.contains("CPU")).count(),
                1,
                "{}",
                text(&output.stderr)
            );
        }
    }
}

#[test]
fn inspect_tells_what_a_model_is() {
    let document = json(&["inspect", DIGITS, "--set", "batch=2", "--json", "-"]);
    assert_eq!(document["schema"], 1);
    assert_eq!(document["inputs"][0]["shape"], serde_json::json!(["batch", 1, 8, 8]));
    assert_eq!(document["operators"]["Conv"], 3);
    assert_eq!(document["opsets"]["ai.onnx"], 17);
    assert!(document["parameters"].as_u64().unwrap() > 1000 && document["plan"].is_null());
    let once = json(&["inspect", DIGITS, "--json", "-"])["flops"].as_u64().unwrap();
    assert_eq!(document["flops"].as_u64().unwrap(), 2 * once);
}

#[test]
fn inspect_plans_without_a_device() {
    let plan = &json(&["inspect", BRANCHES, "--plan", "--device", "cpu", "--json", "-"])["plan"];
    assert_eq!(plan["assumed"], true);
    assert!(
        plan["pipelines"].as_u64() <= plan["dispatches"].as_u64() && plan["pipelines"].as_u64() > Some(0)
    );
    assert!(plan["activation_bytes"].as_u64() <= plan["unshared_bytes"].as_u64());
    assert!(
        plan["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|node| node["placement"] == "gpu" && node["fused"] == serde_json::json!(["conv_a"]))
    );
    let printed = text(&sardonyx(&["inspect", BRANCHES, "--plan", "--device", "cpu"]).stdout);
    assert!(printed.contains("pipelines: ") && printed.contains("conv"), "{printed}");
}

#[test]
fn inspect_says_what_divides_a_model() {
    let arguments = ["inspect", "models/tiny/in_parts/model.onnx", "--plan", "--device", "cpu"];
    let plan = &json(&[&arguments[..], &["--json", "-"]].concat())["plan"];
    let between = &plan["between_parts"][0];
    assert_eq!((&between["op"], between["on_cpu"].is_null()), (&serde_json::json!("Loop"), true));
    let printed = text(&sardonyx(&arguments).stdout);
    let wanted =
        ["then node 'turns' (Loop): its graphs run on the device", "what follows is planned in a run"];
    assert!(wanted.iter().all(|wanted| printed.contains(wanted)), "{printed}");
}

#[test]
fn run_gives_outputs_as_values_and_as_files() {
    let arguments = ["run", BRANCHES, "--set", "batch=3", "--device", "cpu", "--json", "-"];
    let document = json(&arguments);
    assert_eq!(
        (&document["schema"], &document["device"], &document["adapter"]),
        (&1.into(), &"cpu".into(), &Value::Null)
    );
    assert_eq!(document["fallbacks"], serde_json::json!([]));
    let output = &document["outputs"][0];
    assert_eq!((&output["dtype"], &output["shape"]), (&"float32".into(), &serde_json::json!([3, 15, 8])));
    assert_eq!(output["values"].as_array().unwrap().len(), 3 * 15 * 8);
    assert_eq!(json(&arguments), document, "the same seed gives the same noise");

    let folder = folder("run");
    floats(&folder.join("input.npy"), &[2, 2, 3, 5]);
    let (inputs, outputs) = (folder.to_str().unwrap(), folder.join("new/out"));
    let document = json(&[
        "run",
        BRANCHES,
        "--inputs",
        inputs,
        "--outputs",
        outputs.to_str().unwrap(),
        "--device",
        "cpu",
        "--json",
        "-",
    ]);
    assert!(document["outputs"][0]["values"].is_null());
    let file = document["outputs"][0]["file"].as_str().unwrap();
    assert_eq!(sardonyx::onnx::read_tensor(file.as_ref()).unwrap().shape(), [2, 15, 8]);
}

#[test]
fn pictures_are_inputs() {
    let document =
        json(&["run", DIGITS, "-i", "image=models/digits/7.png", "--device", "cpu", "--json", "-"]);
    let values: Vec<f64> = document["outputs"][0]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect();
    assert!(values[7] > 0.9, "{values:?}");
}

#[test]
fn json_goes_to_a_file_beside_the_text() {
    let path = folder("json").join("result.json");
    let output = sardonyx(&["run", BRANCHES, "--device", "cpu", "--json", path.to_str().unwrap()]);
    assert!(text(&output.stdout).starts_with("output  float32[1, 15, 8]"), "{}", text(&output.stdout));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(document["schema"], 1);
}

#[test]
fn models_that_are_none_are_refused() {
    let folder = folder("models");
    let (empty, other) = (folder.join("empty.onnx"), folder.join("other.onnx"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&other, "this is no model").unwrap();
    let outputs = folder.join("out");
    for verb in ["run", "inspect", "bench"] {
        refused(&[verb, "no/such/model.onnx"], &["no/such/model.onnx"]);
        refused(&[verb, empty.to_str().unwrap()], &["empty.onnx", "is empty"]);
        refused(&[verb, other.to_str().unwrap()], &["other.onnx"]);
        refused(&[verb, folder.to_str().unwrap()], &["cli-models"]);
    }
    refused(&["run", other.to_str().unwrap(), "--outputs", outputs.to_str().unwrap()], &["other.onnx"]);
    assert!(!outputs.exists());
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let folder = folder("inputs");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    floats(&folder.join("right.npy"), &[2, 2, 3, 5]);
    floats(&folder.join("rank.npy"), &[2, 3, 5]);
    floats(&folder.join("size.npy"), &[2, 2, 3, 6]);
    sardonyx::onnx::write_npy(&folder.join("type.npy"), &sardonyx::Tensor::int64s([1])).unwrap();
    let named = |name: &str| format!("input={}", path(name));
    refused(&["run", BRANCHES, "-i", &format!("wrong={}", path("right.npy"))], &["'wrong'", "input"]);
    refused(&["run", BRANCHES, "-i", &named("rank.npy")], &["'input'", "rank 4"]);
    refused(&["run", BRANCHES, "-i", &named("size.npy")], &["'input'", "6", "5"]);
    refused(&["run", BRANCHES, "-i", &named("type.npy")], &["int64", "float32"]);
    refused(&["run", BRANCHES, "-i", &named("missing.npy")], &["missing.npy"]);
    refused(&["run", BRANCHES, "-i", "nonsense"], &["NAME=FILE"]);
    refused(&["run", BRANCHES, "-i", &named("right.npy"), "-i", &named("right.npy")], &["twice"]);
    refused(&["run", BRANCHES, "--inputs", &path("none")], &["none"]);
    refused(&["run", BRANCHES, "--inputs", "src"], &["input.npy"]);
    refused(&["run", BRANCHES, "-i", &named("right.npy"), "--set", "batch=3"], &["'batch' is 2", "3"]);
    refused(&["run", BRANCHES, "--set", "batch=x"], &["batch=x"]);
    refused(&["run", BRANCHES, "--set", "batch=99999999999999999"], &["input"]);
    refused(&["run", BRANCHES, "--outputs", &path("right.npy")], &["right.npy"]);
    let output = sardonyx(&[
        "run",
        BRANCHES,
        "-i",
        &named("right.npy"),
        "--set",
        "batch=2",
        "--set",
        "depth=3",
        "--device",
        "cpu",
    ]);
    assert!(output.status.success() && text(&output.stderr).contains("'depth'"), "{}", text(&output.stderr));
}

#[test]
fn bench_measures() {
    let outputs = folder("bench").join("out");
    let document = json(&[
        "bench",
        BRANCHES,
        "--runs",
        "4",
        "--device",
        "cpu",
        "--set",
        "batch=2",
        "--outputs",
        outputs.to_str().unwrap(),
        "--json",
        "-",
    ]);
    assert_eq!((&document["schema"], document["context"].is_object()), (&1.into(), true));
    let result = &document["results"][0];
    assert_eq!(
        (&result["device"], &result["batch"], &result["precision"]),
        (&"cpu".into(), &2.into(), &"f32".into())
    );
    assert_eq!(result["runs_ms"].as_array().unwrap().len(), 4);
    let number = |pointer: &str| {
        result.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}"))
    };
    let stages = ["device", "parse", "optimise", "plan", "upload", "shaders", "first_run"]
        .map(|stage| number(&format!("/cold_start_ms/{stage}")));
    assert!(stages.iter().sum::<f64>() <= number("/first_inference_ms") + 0.1);
    for statistic in ["min", "mean", "median", "p90", "p95", "p99", "max"] {
        assert!(number("/latency_ms/min") <= number(&format!("/latency_ms/{statistic}")));
    }
    assert!(number("/throughput_per_s") > 0.0 && number("/accuracy/max_rel") < 1e-4);
    assert!(
        result["gpu_ms"].is_null() && result["fallbacks"].is_array() && result["peak_device_bytes"].is_null()
    );
    assert!(outputs.join("output.npy").exists());
    assert_eq!(
        json(&["bench", BRANCHES, DIGITS, "--runs", "1", "--no-accuracy", "--device", "cpu", "--json", "-"])
            ["results"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn a_bench_worker_answers_each_line() {
    let outputs = folder("worker").join("out");
    let mut command =
        command(&["bench", BRANCHES, "--device", "cpu", "--worker", "--outputs", outputs.to_str().unwrap()]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert!(next()["first"].as_f64().unwrap() > 0.0);
    for seconds in [0.0, 0.05] {
        writeln!(stdin, "{seconds}").unwrap();
        let times: Vec<f64> = next().as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
        assert!(!times.is_empty() && times.iter().sum::<f64>() >= seconds * 1e3);
    }
    assert!(!outputs.exists());
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert!(outputs.join("output.npy").exists());
}

/// A copy of a case of models/tiny, to be damaged.
fn copy_case(from: &str, to: &std::path::Path) {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/tiny").join(from);
    std::fs::create_dir_all(to.join("test_data_set_0")).unwrap();
    for file in ["model.onnx", "test_data_set_0/input_0.pb", "test_data_set_0/output_0.pb"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

#[test]
fn verify_counts() {
    let document = json(&["verify", "models/tiny", "--device", "cpu", "--json", "-"]);
    let cases = document["cases"].as_array().unwrap();
    assert_eq!(
        (&document["schema"], &document["device"], &document["strict"]),
        (&1.into(), &"cpu".into(), &false.into())
    );
    assert_eq!(document["counts"]["passed"], cases.len());
    assert!(cases.len() >= 3 && cases[0]["ran_on"]["cpu"].as_u64() > Some(0));

    let folder = folder("verify");
    copy_case("mlp", &folder.join("good"));
    copy_case("mlp", &folder.join("deep/wrong"));
    let other = sardonyx::Tensor::new([2, 3], vec![9f32; 6]).unwrap();
    let expected = sardonyx::onnx::read_pb(&folder.join("good/test_data_set_0/output_0.pb")).unwrap().1;
    let other = if expected.shape() == other.shape() {
        other
    } else {
        sardonyx::Tensor::new(expected.shape(), vec![9f32; expected.len()]).unwrap()
    };
    sardonyx::onnx::write_pb(&folder.join("deep/wrong/test_data_set_0/output_0.pb"), "y", &other).unwrap();
    copy_case("mlp", &folder.join("broken"));
    std::fs::write(folder.join("broken/model.onnx"), "no model").unwrap();
    let output = sardonyx(&["verify", folder.to_str().unwrap(), "--device", "cpu", "--json", "-"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        document["counts"],
        serde_json::json!({ "passed": 1, "failed": 1, "unsupported": 0, "error": 1 })
    );

    // A tolerance from index.tsv makes good what was wrong.
    std::fs::write(folder.join("index.tsv"), "name\trtol\tatol\nwrong\t0\t1000\n").unwrap();
    std::fs::remove_dir_all(folder.join("broken")).unwrap();
    let output = sardonyx(&["verify", folder.to_str().unwrap(), "--device", "cpu"]);
    assert!(
        output.status.success() && text(&output.stdout).contains("passed 2  failed 0"),
        "{}",
        text(&output.stdout)
    );
    std::fs::write(folder.join("index.tsv"), "name\nwrong\n").unwrap();
    refused(&["verify", folder.to_str().unwrap()], &["index.tsv", "rtol"]);
    refused(&["verify", "docs"], &["no case"]);
    refused(&["verify", "no/such/folder"], &["no/such/folder"]);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let mut child = command(&["inspect", BRANCHES, "--plan", "--device", "cpu"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
}

#[test]
fn the_gpu_runs_what_the_cpu_runs() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let document =
        json(&["run", BRANCHES, "--device", "gpu", "--strict", "--limits", "webgpu", "--json", "-"]);
    assert!(
        document["device"] == "gpu"
            && document["adapter"].is_string()
            && document["backend"].is_string()
            && document["driver"].is_string()
    );
    let result = &json(&["bench", BRANCHES, "--device", "gpu", "--runs", "2", "--json", "-"])["results"][0];
    assert!(result["dispatches"].as_u64() > Some(0) && result["peak_device_bytes"].as_u64() > Some(0));
    assert!(result["accuracy"]["max_rel"].as_f64().unwrap() < 1e-4);
    assert!(
        json(&[
            "bench",
            BRANCHES,
            "--device",
            "gpu",
            "--precision",
            "f16",
            "--packed-f16",
            "--runs",
            "1",
            "--json",
            "-"
        ])["results"]
            .is_array()
    );
    let document = json(&["verify", "models/tiny", "--device", "gpu", "--json", "-"]);
    assert!(
        document["cases"].as_array().unwrap().iter().any(|case| case["ran_on"]["gpu"].as_u64() > Some(0))
    );
    // models/tiny/cpu_step has a node without a kernel.
    let document = json(&["run", "models/tiny/cpu_step/model.onnx", "--device", "gpu", "--json", "-"]);
    if document["fallbacks"].as_array().is_some_and(|fallbacks| !fallbacks.is_empty()) {
        assert!(document["fallbacks"][0]["reason"].is_string());
        refused(
            &["bench", "models/tiny/cpu_step/model.onnx", "--device", "gpu", "--strict", "--no-accuracy"],
            &["--strict"],
        );
    }
}
