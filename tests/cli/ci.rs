//! `ci`: a project's sardonyx.toml, its errors, what it writes, and the example repository's workflow.

use super::{command, folder, refused, sardonyx, text};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A folder with a model and this sardonyx.toml.
fn project(name: &str, config: &str) -> PathBuf {
    let folder = folder(name);
    std::fs::copy("models/digits/digits.onnx", folder.join("digits.onnx")).unwrap();
    std::fs::write(folder.join("sardonyx.toml"), config).unwrap();
    folder.join("sardonyx.toml")
}

fn checks(arguments: &[&str], code: i32) -> Value {
    let output = sardonyx(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn models_are_checked_as_the_file_says() {
    let config = project(
        "ci",
        "devices = [\"cpu\"]\nprecision = [\"f32\", \"f16\"]\nnoise = 2\n[[model]]\nfile = \"digits.onnx\"\n\
         set = { batch = 2 }\nbudget.cpu = { median_ms = 1e6, fallbacks = 0, runs = 2 }\n\
         [[model]]\nfile = \"digits.onnx\"\nname = \"tight\"\nprecision = [\"f16\"]\nnoise = 1\n\
         tolerance.cpu = { rtol = 0.0, atol = 0.0 }\nbudget.cpu = { median_ms = 0.0, runs = 1 }\n",
    );
    let path = config.to_str().unwrap();
    let (junit, markdown) = (config.with_file_name("junit.xml"), config.with_file_name("summary.md"));
    std::fs::write(&markdown, "# What was there\n").unwrap();
    let document = checks(
        &[
            "ci",
            path,
            "--json",
            "-",
            "--junit",
            junit.to_str().unwrap(),
            "--markdown",
            markdown.to_str().unwrap(),
        ],
        1,
    );
    assert_eq!(document["counts"], serde_json::json!({ "passed": 6, "failed": 2, "error": 0 }));
    let tight: Vec<&Value> =
        document["checks"].as_array().unwrap().iter().filter(|check| check["model"] == "tight").collect();
    assert!(tight[0]["message"].as_str().unwrap().contains("first different: node"), "{tight:?}");
    assert!(tight[1]["message"].as_str().unwrap().contains("median_ms is"), "{tight:?}");
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(junit.contains("tests=\"8\" failures=\"2\""), "{junit}");
    let markdown = std::fs::read_to_string(markdown).unwrap();
    assert!(markdown.starts_with("# What was there\n### ❌ sardonyx: 6 passed, 2 failed, 0 could not run\n"));
    assert!(markdown.lines().filter(|line| line.starts_with("| ❌")).count() == 2, "{markdown}");
    // Those that are good alone.
    let document = checks(&["ci", path, "--only", "digits.onnx", "--json", "-", "--device", "cpu"], 1);
    assert_eq!(document["checks"].as_array().unwrap().len(), 8);
    let output = sardonyx(&["ci", path, "--only", "tigh", "--markdown", "-"]);
    assert!(
        text(&output.stdout).starts_with("### ❌ sardonyx: 0 passed, 2 failed"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn speed_is_held_against_a_baseline() {
    let config = project(
        "ci-baseline",
        "devices = [\"cpu\"]\n[[model]]\nfile = \"digits.onnx\"\nbaseline = \"old.json\"\nignore = [\"build\"]\n",
    );
    let model = config.with_file_name("digits.onnx");
    let measured = |slowed: &str| {
        let arguments =
            ["bench", model.to_str().unwrap(), "--device", "cpu", "--no-accuracy", "--slowed", slowed];
        let output = sardonyx(&[&arguments[..], &["--json", "-"]].concat());
        std::fs::write(config.with_file_name("old.json"), output.stdout).unwrap();
    };
    let checked = |code| {
        let document = checks(&["ci", config.to_str().unwrap(), "--json", "-"], code);
        document["checks"][1]["message"].as_str().unwrap().to_string()
    };
    // So far apart that no noise of the machine decides.
    measured("10000");
    assert!(checked(0).starts_with("faster, 0.0"), "{}", checked(0));
    measured("0.0001");
    assert!(checked(1).starts_with("slower, "), "{}", checked(1));
}

#[test]
fn what_cannot_run_is_told_apart_from_what_differs() {
    let config = project(
        "ci-errors",
        "devices = [\"cpu\", \"no such adapter\"]\n[[model]]\nfile = \"digits.onnx\"\n[[model]]\nfile = \"missing.onnx\"\n",
    );
    let document = {
        let output = sardonyx(&["ci", config.to_str().unwrap(), "--json", "-"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("3 of 4 checks could not run"), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let messages: Vec<&str> = document["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["message"].as_str().unwrap())
        .collect();
    assert!(messages[0].starts_with("the same"), "{messages:?}");
    assert!(messages[1].contains("no such adapter") && messages[2].contains("can't be read"), "{messages:?}");
}

#[test]
fn wrong_files_are_one_line() {
    let path = |config: &str| project("ci-wrong", config).to_str().unwrap().to_string();
    refused(&["ci", "no/sardonyx.toml"], &["no/sardonyx.toml", "can't be read", "docs/ci.md"]);
    refused(&["ci", &path("devcies = []")], &["unknown key 'devcies'", "'devices'", "line 1"]);
    refused(&["ci", &path("devices = [\"cpu\"")], &["sardonyx.toml"]);
    refused(&["ci", &path("devices = [\"cpu\"]")], &["nothing to check", "[[model]]"]);
    let stray = "[[model]]\nfile = \"digits.onnx\"\ndevices = [\"cpu\"]\nbudget.gpu = { median_ms = 1 }";
    refused(&["ci", &path(stray)], &["budget for 'gpu'", "its devices are cpu"]);
    let negative = "timeout_s = -1\n[[model]]\nfile = \"digits.onnx\"";
    refused(&["ci", &path(negative)], &["timeout_s = -1"]);
}

/// The steps of a workflow: the text of each `run`.
fn runs(workflow: &str) -> Vec<String> {
    let lines: Vec<&str> = workflow.lines().collect();
    let mut runs = vec![];
    for (index, line) in lines.iter().enumerate() {
        let Some((indent, rest)) = line.split_once("run: ") else { continue };
        if rest != "|" {
            runs.push(rest.to_string());
            continue;
        }
        let inside = |line: &&&str| line.starts_with(&" ".repeat(indent.len() + 2)) || line.trim().is_empty();
        runs.push(
            lines[index + 1..]
                .iter()
                .take_while(inside)
                .map(|line| line.trim())
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    runs
}

#[cfg(unix)]
#[test]
fn the_example_repository_is_green_and_turns_red() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    let folder = folder("ci-example");
    for file in ["digits.onnx", "sardonyx.toml"] {
        std::fs::copy(Path::new("examples/ci").join(file), folder.join(file)).unwrap();
    }
    let workflow = std::fs::read_to_string("examples/ci/.github/workflows/gpu.yml").unwrap();
    let steps = runs(&workflow);
    assert!(steps.iter().any(|step| step.contains("mesa-vulkan-drivers")), "{steps:?}");
    let step = steps.iter().find(|step| step.starts_with("sardonyx ci")).unwrap();
    let run = |step: &str| {
        // What `cargo install` puts into the path.
        let binaries = Path::new(env!("CARGO_BIN_EXE_sardonyx")).parent().unwrap();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        std::process::Command::new("bash")
            .args(["-e", "-c", step])
            .current_dir(&folder)
            .env("PATH", path)
            .env("GITHUB_STEP_SUMMARY", folder.join("summary.md"))
            .output()
            .unwrap()
    };
    let green = run(step);
    assert_eq!(green.status.code(), Some(0), "{}{}", text(&green.stdout), text(&green.stderr));
    let summary = || std::fs::read_to_string(folder.join("summary.md")).unwrap();
    assert!(summary().starts_with("### ✅ sardonyx: 10 passed"), "{}", summary());
    std::fs::remove_file(folder.join("summary.md")).unwrap();
    let red = run(&format!("{step} --plant-fault 3"));
    assert_eq!(red.status.code(), Some(1), "{}{}", text(&red.stdout), text(&red.stderr));
    assert!(summary().contains("first different: node"), "{}", summary());
    assert!(std::fs::read_to_string(folder.join("results.xml")).unwrap().contains("<failure"));
    let help = command(&["ci", "--help"]).output().unwrap();
    assert!(text(&help.stdout).contains("sardonyx ci "));
}
