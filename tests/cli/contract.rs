//! The contract's clauses that the tests of main.rs don't hold: devices, limits, fallbacks, names of files,
//! every field of a document.

use super::models::*;
use super::*;
use serde_json::json;

/// The keys of an object, all of which must be there; null counts.
fn has(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no '{key}' in {value}");
    }
}
fn arguments<'a>(list: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [list, more].concat()
}
fn talk_of(arguments: &[&str]) -> String {
    let output = sardonyx(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn every_document_says_its_schema_and_device() {
    let cpu = ["--device", "cpu", "--json", "-"];
    for verb in [&["run", BRANCHES][..], &["compare", BRANCHES], &["verify", "models/tiny"]] {
        let document = json(&arguments(verb, &cpu));
        assert_eq!((&document["schema"], &document["device"]), (&json!(1), &json!("cpu")), "{verb:?}");
        has(&document, &["adapter", "backend", "driver"]);
    }
    assert_eq!(json(&["inspect", BRANCHES, "--json", "-"])["schema"], 1);
    let bench = json(&arguments(&["bench", BRANCHES, "--runs", "1", "--no-accuracy"], &cpu));
    has(
        &bench["results"][0],
        &[
            "model",
            "device",
            "adapter",
            "backend",
            "driver",
            "precision",
            "batch",
            "gpu_ms",
            "peak_host_bytes",
            "peak_device_bytes",
        ],
    );
    has(
        &bench["results"][0],
        &["dispatches", "pipelines", "fallbacks", "throughput_per_s", "runs_ms", "first_inference_ms"],
    );
    let classify = json(&arguments(
        &["classify", DIGITS, "models/digits/7.png", "models/digits/3.png", "--top", "2"],
        &cpu,
    ));
    for (answer, digit) in classify.as_array().unwrap().iter().zip([7, 3]) {
        has(answer, &["image", "device", "adapter"]);
        assert_eq!(answer["top"].as_array().unwrap().len(), 2);
        has(&answer["top"][1], &["index", "label", "probability"]);
        assert_eq!(answer["top"][0]["index"], digit);
    }
}

#[test]
fn every_verb_says_on_standard_error_which_device_ran() {
    for verb in [
        &["run", BRANCHES][..],
        &["compare", BRANCHES],
        &["verify", "models/tiny"],
        &["classify", DIGITS, "models/digits/7.png"],
    ] {
        assert!(
            talk_of(&arguments(verb, &["--device", "cpu", "--json", "-"])).contains("device: CPU"),
            "{verb:?}"
        );
    }
    assert!(
        talk_of(&["bench", BRANCHES, "--runs", "1", "--no-accuracy", "--device", "cpu"])
            .contains("device: CPU")
    );
}

#[test]
fn a_gpu_by_a_part_of_its_name_and_its_number() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let first = json(&["devices", "--no-measure", "--json", "-"])["devices"][0].clone();
    let name = first["name"].as_str().unwrap();
    let part: String = name.chars().take(5).collect::<String>().to_uppercase();
    for device in [part.as_str(), "gpu:0", "gpu"] {
        let document = json(&["run", BRANCHES, "--device", device, "--json", "-"]);
        assert_eq!(document["adapter"], name, "{device}");
        has(&document, &["backend", "driver"]);
    }
    for (given, checks) in [("on", true), ("off", false)] {
        let document = json(&["run", BRANCHES, "--device", "gpu", "--checks", given, "--json", "-"]);
        assert_eq!(document["checks"], checks);
    }
    // A software adapter is never taken unasked.
    if first["software"] == true {
        assert_eq!(json(&["run", BRANCHES, "--json", "-"])["device"], "cpu");
    }
}

#[test]
fn limits_from_a_file() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let folder = folder("limits");
    let path = folder.join("limits.json");
    let path = path.to_str().unwrap();
    let run = ["run", BRANCHES, "--device", "gpu", "--limits", path];
    std::fs::write(path, "{}").unwrap();
    let silent = json(&arguments(&run, &["--json", "-"]));
    let webgpu = json(&["run", BRANCHES, "--device", "gpu", "--limits", "webgpu", "--json", "-"]);
    assert_eq!(silent["outputs"], webgpu["outputs"]);
    std::fs::write(path, r#"{"limits": {"max_storage_buffers_per_shader_stage": 7}}"#).unwrap();
    assert_eq!(json(&arguments(&run, &["--json", "-"]))["device"], "gpu");
    for (limits, part) in [
        (r#"{"features": ["SHADER_F61"]}"#, "SHADER_F61"),
        (r#"{"limits": {"max_buffer_size": 1e30}}"#, "max_buffer_size"),
        (r#"{"limits": {"max_buffer_size": 9000000000000000}}"#, "max_buffer_size"),
        (r#"{"limit": {}}"#, "limit"),
        ("webgpu", "JSON"),
    ] {
        std::fs::write(path, limits).unwrap();
        refused(&run, &[part]);
    }
    assert_eq!(
        json(&["verify", "models/tiny", "--device", "gpu", "--limits", "webgpu", "--json", "-"])["counts"]["failed"],
        0
    );
}

#[test]
fn inputs_and_outputs_keep_their_types_in_f16() {
    let document = json(&["run", BRANCHES, "--device", "cpu", "--precision", "f16", "--json", "-"]);
    assert_eq!(document["outputs"][0]["dtype"], "float32");
    // Every stored tensor is rounded: so are the outputs.
    let exact = |value: &Value| {
        value.as_f64().is_some_and(|x| f64::from(half::f16::from_f64(x)) == f64::from(x as f32))
    };
    assert!(document["outputs"][0]["values"].as_array().unwrap().iter().all(exact));
}

#[test]
fn a_fallback_is_said_refused_and_goes_by_an_output() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let folder = folder("fallback");
    let path = folder.join("model.onnx");
    // No GPU holds float64.
    let wide = with_int(node("Cast", &["x"], &["the sums"]), "to", 11);
    let narrow = with_int(node("Cast", &["less"], &["narrow"]), "to", 1);
    save(
        &path,
        vec![wide, node("Neg", &["the sums"], &["less"]), narrow, node("Relu", &["narrow"], &["y"])],
        vec![value("x", &["2", "3"])],
        vec![value("y", &["2", "3"])],
        vec![],
    );
    let model = path.to_str().unwrap();
    let document = json(&["run", model, "--device", "gpu", "--json", "-"]);
    assert_eq!(
        (&document["fallbacks"][0]["node"], &document["fallbacks"][0]["op"]),
        (&json!("the sums"), &json!("Cast"))
    );
    assert!(document["fallbacks"][0]["reason"].is_string());
    for verb in [&["run"][..], &["compare"], &["bench", "--runs", "1", "--no-accuracy"]] {
        assert!(
            talk_of(&arguments(verb, &[model, "--device", "gpu"])).contains("node 'the sums' (Cast)"),
            "{verb:?}"
        );
    }
    for verb in ["run", "bench", "compare"] {
        refused(&[verb, model, "--device", "gpu", "--strict"], &["the sums", "Cast", "--strict"]);
    }
    assert_eq!(
        json(&["run", model, "--device", "cpu", "--strict", "--json", "-"])["fallbacks"],
        json!([]),
        "the CPU that was asked for is none"
    );
    has(
        &json(&["compare", model, "--device", "gpu", "--json", "-"])["fallbacks"][0],
        &["node", "op", "reason"],
    );
}

/// What follows from shapes alone, or from a small integer input that is needed by value, is computed with
/// the plan.
#[test]
fn what_the_plan_computes_is_no_fallback() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let folder = folder("planned");
    let path = folder.join("model.onnx");
    let nodes = vec![
        node("Shape", &["x"], &["s"]),
        node("Add", &["s", "n"], &["t"]),
        node("Expand", &["x", "t"], &["y"]),
    ];
    let inputs = vec![value("x", &["1", "3"]), typed("n", INT64 as i32, &["2"])];
    save(&path, nodes, inputs, vec![value("y", &["a", "b"])], vec![]);
    sardonyx::onnx::write_npy(&folder.join("n.npy"), &sardonyx::Tensor::int64s([1, 0])).unwrap();
    floats(&folder.join("x.npy"), &[1, 3]);
    let given = ["--inputs", folder.to_str().unwrap(), "--device", "gpu", "--strict", "--json", "-"];
    let document = json(&arguments(&["run", path.to_str().unwrap()], &given));
    assert_eq!((&document["fallbacks"], &document["outputs"][0]["shape"]), (&json!([]), &json!([2, 3])));
}

#[test]
fn names_become_file_names() {
    let folder = folder("names");
    let (path, outputs) = (folder.join("model.onnx"), folder.join("out"));
    let (model, out) = (path.to_str().unwrap(), outputs.to_str().unwrap());
    let cast = with_int(node("Cast", &["in/a:0"], &["b c"]), "to", BFLOAT16);
    save(
        &path,
        vec![node("Relu", &["in/a:0"], &["out/y"]), cast],
        vec![value("in/a:0", &["3"])],
        vec![value("out/y", &["3"]), typed("b c", BFLOAT16 as i32, &["3"])],
        vec![],
    );
    floats(&folder.join("in_a_0.npy"), &[3]);
    for _ in 0..2 {
        // The second time overwrites.
        let document = json(&[
            "run",
            model,
            "--inputs",
            folder.to_str().unwrap(),
            "--outputs",
            out,
            "--device",
            "cpu",
            "--json",
            "-",
        ]);
        let files: Vec<&str> = document["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| output["file"].as_str().unwrap())
            .collect();
        assert!(files[0].ends_with("out_y.npy") && files[1].ends_with("b_c.pb"), "{files:?}");
        assert_eq!(document["outputs"][1]["dtype"], "bfloat16");
    }
    assert_eq!(sardonyx::onnx::read_pb(&outputs.join("b_c.pb")).unwrap().0, "b c");
    assert_eq!(std::fs::read_dir(&outputs).unwrap().count(), 2, "nothing else is left there");

    let twins = |first: &str, second: &str| {
        vec![node("Add", &["a/b", "a:b"], &[first]), node("Sub", &["a/b", "a:b"], &[second])]
    };
    let inputs = || vec![value("a/b", &["1"]), value("a:b", &["1"])];
    save(&path, twins("p", "q"), inputs(), vec![value("p", &["1"]), value("q", &["1"])], vec![]);
    refused(&["run", model, "--inputs", folder.to_str().unwrap()], &["'a/b'", "'a:b'", "a_b"]);
    save(&path, twins("p/q", "p:q"), inputs(), vec![value("p/q", &["1"]), value("p:q", &["1"])], vec![]);
    for verb in ["run", "bench"] {
        refused(
            &[verb, model, "--device", "cpu", "--outputs", folder.join("twins").to_str().unwrap()],
            &["'p/q'", "'p:q'", "p_q"],
        );
    }
    assert!(!folder.join("twins").exists());
}

#[test]
fn symbolic_sizes() {
    let folder = folder("set");
    let path = folder.join("model.onnx");
    relu(&path);
    let model = path.to_str().unwrap();
    let shape = |more: &[&str]| {
        json(&arguments(&["run", model, "--device", "cpu", "--json", "-"], more))["outputs"][0]["shape"]
            .clone()
    };
    assert_eq!(
        (shape(&[]), shape(&["--set", "batch=4"]), shape(&["--set", "batch=0"])),
        (json!([1, 3]), json!([4, 3]), json!([0, 3]))
    );
    floats(&folder.join("x.npy"), &[2, 3]);
    let given = format!("x={}", folder.join("x.npy").display());
    assert_eq!(shape(&["-i", &given]), json!([2, 3]));
    assert_eq!(shape(&["-i", &given, "--set", "batch=2"]), json!([2, 3]));
    // A capacity: noise fills it, and a given input may have any size up to it.
    assert_eq!(shape(&["--set", "batch=..4"]), json!([4, 3]));
    assert_eq!(shape(&["-i", &given, "--set", "batch=..2"]), json!([2, 3]));
    refused(
        &["run", model, "--device", "cpu", "-i", &given, "--set", "batch=..1"],
        &["'batch' of size 2", "capacity of 1", "--set K=..V"],
    );
    refused(&["run", model, "--set", "batch=..x"], &["--set batch=..x", "K=..V"]);
    refused(&["run", model, "--set", "batch=..4", "--set", "batch=2"], &["'batch' two sizes"]);
    for verb in ["run", "bench", "compare", "inspect"] {
        refused(&[verb, model, "--device", "cpu", "-i", &given, "--set", "batch=3"], &["'batch' is 2", "3"]);
    }
    assert!(talk_of(&["inspect", model, "--set", "width=3"]).contains("'width'"));
    let seeded = |seed: &str| {
        json(&["run", model, "--device", "cpu", "--seed", seed, "--json", "-"])["outputs"][0]["values"]
            .clone()
    };
    assert!(seeded("3") == seeded("3") && seeded("3") != seeded("4"));
}

#[test]
fn bench_runs_as_long_as_it_is_told() {
    let result = |more: &[&str]| {
        json(&arguments(&["bench", BRANCHES, "--no-accuracy", "--device", "cpu", "--json", "-"], more))["results"][0].clone()
    };
    let timed = result(&["--duration", "0.2", "--warmup", "0"]);
    let times: f64 = timed["runs_ms"].as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).sum();
    assert!((190.0..5000.0).contains(&times), "{times}");
    // The last timed run's outputs are those of `run` over the same inputs.
    let folder = folder("bench-outputs");
    let (bench, run) = (folder.join("bench"), folder.join("run"));
    result(&["--runs", "2", "--seed", "5", "--outputs", bench.to_str().unwrap()]);
    json(&[
        "run",
        BRANCHES,
        "--seed",
        "5",
        "--device",
        "cpu",
        "--outputs",
        run.to_str().unwrap(),
        "--json",
        "-",
    ]);
    assert_eq!(
        std::fs::read(bench.join("output.npy")).unwrap(),
        std::fs::read(run.join("output.npy")).unwrap()
    );
    refused(&["bench", BRANCHES, DIGITS, "--worker"], &["one model"]);
    let mut child = command(&["bench", BRANCHES, "--device", "cpu", "--worker"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"soon\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.code() == Some(2) && text(&output.stderr).contains("'soon'"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn compare_answers_by_its_exit_code() {
    let cpu = json(&["compare", BRANCHES, "--device", "cpu", "--json", "-"]);
    has(&cpu, &["verdict", "first_different", "outputs", "nodes", "reference"]);
    assert_eq!((&cpu["verdict"], &cpu["first_different"]), (&json!("same"), &Value::Null));
    for reference in ["cpu", "cpu-f64"] {
        assert_eq!(
            sardonyx(&["compare", BRANCHES, "--device", "cpu", "--reference", reference]).status.code(),
            Some(0)
        );
    }
    refused(&["compare", BRANCHES, "--device", "cpu", "--reference", "voodoo"], &["voodoo"]);
    refused(&["compare", BRANCHES, "--device", "cpu", "--reference", "no/such.npz"], &["no/such.npz"]);
    refused(&["compare", BRANCHES, "--device", "cpu", "--rtol=-1"], &["rtol"]);
    // Recorded outputs that are wrong are different: by their name, and by tolerances that say how much is
    // allowed.
    let folder = folder("compare");
    let path = folder.join("recorded.npz");
    let zeros = sardonyx::Tensor::new([1, 15, 8], vec![0f32; 120]).unwrap();
    sardonyx::onnx::write_npz(&path, &[("output".to_string(), zeros)]).unwrap();
    let against = ["compare", BRANCHES, "--device", "cpu", "--reference", path.to_str().unwrap()];
    let output = sardonyx(&arguments(&against, &["--json", "-"]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["verdict"], "different");
    has(&document["outputs"][0], &["max_abs", "max_rel", "mean_abs", "cosine", "tolerance", "needed"]);
    assert_eq!(sardonyx(&arguments(&against, &["--atol", "1"])).status.code(), Some(0));
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let planted = sardonyx(&[
        "compare",
        BRANCHES,
        "--device",
        "gpu",
        "--per-node",
        "--plant-fault",
        "1",
        "--json",
        "-",
    ]);
    assert_eq!(planted.status.code(), Some(1), "{}", text(&planted.stderr));
    let document: Value = serde_json::from_slice(&planted.stdout).unwrap();
    has(&document["first_different"], &["node", "op", "output"]);
    has(&document["planted"], &["node", "kind"]);
    for row in document["nodes"].as_array().unwrap() {
        has(row, &["node", "op", "output", "ran_on", "fused_into", "local", "cumulative", "same"]);
    }
}

#[test]
fn what_is_newer_than_what_is_known_is_noted() {
    use onnx_protobuf::{Message, ModelProto};
    let folder = folder("newer");
    let (old, new) = (folder.join("old.onnx"), folder.join("new.onnx"));
    relu(&old);
    let mut model = ModelProto::parse_from_bytes(&std::fs::read(&old).unwrap()).unwrap();
    model.ir_version = 99;
    model.opset_import[0].version = 1_000;
    std::fs::write(&new, model.write_to_bytes().unwrap()).unwrap();
    for verb in [&["inspect"][..], &["run", "--device", "cpu"]] {
        let of = |path: &std::path::Path| {
            text(&sardonyx(&[verb, &[path.to_str().unwrap(), "--json", "-"]].concat()).stderr)
        };
        let (old, new) = (of(&old), of(&new));
        assert!(!old.contains("newest"), "{old}");
        let notes: Vec<&str> =
            new.lines().filter(|line| line.starts_with("note: the model is of ")).collect();
        assert!(
            notes.len() == 2 && notes[0].contains("opset 1000") && notes[1].contains("IR version 99"),
            "{new}"
        );
        // Standard output stays one document.
        json(&[verb, &[folder.join("new.onnx").to_str().unwrap(), "--json", "-"]].concat());
    }
}

/// A driver that takes longer than allowed ends in an error and an exit code, and the process does end.
#[test]
fn a_driver_that_takes_too_long_is_an_error() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let ended = |device: &str, variable: &str, value: &str| {
        // So many pictures that the device isn't done before anybody asks.
        let run = ["run", DIGITS, "--device", device, "--set", "batch=2000"];
        let output = command(&run).env(variable, value).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let adapter = sardonyx::gpu::test_device().unwrap().info().name.clone();
    for (variable, what) in [
        ("SARDONYX_COMPILE_TIMEOUT", "didn't compile the kernel '"),
        ("SARDONYX_RUN_TIMEOUT", "didn't finish "),
    ] {
        let (code, said) = ended("gpu", variable, "0");
        assert_eq!(code, Some(2), "{said}");
        for part in [&adapter, what, "kernel '", "within 0ns", "--device cpu", variable] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let (code, said) = ended("gpu", variable, "soon");
        assert!(
            code == Some(2) && said.contains(&format!("{variable} is 'soon', not a number of seconds")),
            "{said}"
        );
        assert_eq!(ended("cpu", variable, "0").0, Some(0));
        assert_eq!(ended("gpu", variable, "600.5").0, Some(0));
    }
    // The opening of a device has the time of both.
    let output = command(&["run", DIGITS, "--device", "gpu"])
        .envs([("SARDONYX_COMPILE_TIMEOUT", "0"), ("SARDONYX_RUN_TIMEOUT", "0")])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in [&adapter, "was not opened within 0ns", "--device cpu", "SARDONYX_RUN_TIMEOUT"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// As `verify` has it, each input by its number.
#[test]
fn a_test_cases_data_set_is_a_folder_of_inputs() {
    let (model, data) = ("models/tiny/mlp/model.onnx", "models/tiny/mlp/test_data_set_0");
    let run = |given: &[&str]| json(&arguments(&["run", model, "--device", "cpu", "--json", "-"], given));
    let own = format!("input={data}/input_0.pb");
    assert_eq!(run(&["--inputs", data]), run(&["-i", &own]));
    assert_ne!(run(&["--inputs", data]), run(&[]));
}
