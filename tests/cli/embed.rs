//! `embed` on the command line.

use super::{command, folder, json, refused, sardonyx, text};
use std::io::Write;
use std::process::Stdio;

const MODEL: &str = "models/embed";

#[test]
fn vectors_are_printed_written_and_compared() {
    let two = ["embed", MODEL, "A wave came by.", "beach", "--device", "cpu"];
    let output = sardonyx(&two);
    let (out, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{talk}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines.len(), lines[0].split(' ').count()), (2, 32), "{out}");
    let square = |line: &str| line.split(' ').map(|x| x.parse::<f64>().unwrap().powi(2)).sum::<f64>();
    assert!((square(lines[1]) - 1.0).abs() < 1e-5, "modules.json says Normalize");

    let matrix = sardonyx(&[&two[..], &["--similarity"]].concat());
    let matrix = text(&matrix.stdout);
    let rows: Vec<Vec<&str>> = matrix.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!((rows[0][0], rows[1][1], rows[0][1]), ("1.0000", "1.0000", rows[1][0]), "{matrix}");

    let file = folder("embed").join("vectors.npy");
    let output = sardonyx(&[&two[..], &["-o", file.to_str().unwrap()]].concat());
    assert!(output.status.success() && output.stdout.is_empty());
    let written = sardonyx::onnx::read_tensor(&file).unwrap();
    assert_eq!(written.shape(), [2, 32]);
    assert_eq!(lines[0].split(' ').next().unwrap(), written.as_slice::<f32>().unwrap()[0].to_string());
}

#[test]
fn one_document_says_all() {
    let long = "The wave laughed and went home again. ".repeat(8);
    let found = json(&["embed", MODEL, "beach", &long, "--device", "cpu", "--similarity", "--json", "-"]);
    assert_eq!((&found["schema"], &found["device"]), (&1.into(), &"cpu".into()));
    assert_eq!((&found["pooling"][0], &found["normalized"]), (&"mean".into(), &true.into()));
    assert_eq!((&found["dimensions"], &found["max_tokens"]), (&32.into(), &40.into()));
    assert_eq!(found["sentences"][0]["cut_from"], serde_json::Value::Null);
    assert_eq!(found["sentences"][1]["tokens"], 40);
    assert!(found["sentences"][1]["cut_from"].as_u64().unwrap() > 40);
    assert_eq!(found["similarity"][0][1], found["similarity"][1][0]);
    let several = ["embed", MODEL, "beach", "--pooling", "cls,max", "--normalize", "off", "--json", "-"];
    let found = json(&[&several[..], &["--device", "cpu"]].concat());
    assert_eq!((&found["dimensions"], &found["normalized"]), (&64.into(), &false.into()));
}

/// Each line of standard input is a text, and what is cut off is said.
#[test]
fn lines_come_from_a_pipe() {
    let mut child = command(&["embed", MODEL, "--device", "cpu", "--max-tokens", "5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"beach\nOnce upon a time a stone lay there\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, talk) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(out.lines().count(), 2, "{talk}");
    assert!(talk.contains("note: text 2 has") && talk.contains("5 are read"), "{talk}");
}

#[test]
fn what_cannot_be_is_one_line() {
    let with = |more: &[&'static str]| [&["embed", MODEL, "--device", "cpu"], more].concat();
    refused(&with(&["beach", ""]), &["text 2 of 2 is empty"]);
    refused(&with(&["beach", "--pooling", "median"]), &["'median'", "weightedmean"]);
    refused(&with(&["beach", "--max-tokens", "1"]), &["limit of 1 tokens"]);
    refused(&["embed", "no/such", "a", "--device", "cpu"], &["no/such", "can't be read"]);
    let mlp = "models/tiny/mlp/model.onnx";
    refused(&["embed", mlp, "a", "--device", "cpu"], &[mlp, "tokenizer.json"]);
}
