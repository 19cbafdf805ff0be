//! `generate` on the command line.

use super::{command, folder, json, refused, sardonyx, text};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

const MODEL: &str = "models/text/genai";
const CPU: [&str; 2] = ["--device", "cpu"];

fn document(arguments: &[&str]) -> Value {
    json(&[&["generate", MODEL, "--json", "-"], &CPU[..], arguments].concat())
}

#[test]
fn text_is_streamed_and_the_rest_is_talk() {
    let arguments =
        ["generate", MODEL, "--prompt", "Once upon a time", "--device", "cpu", "--max-tokens", "24"];
    let output = sardonyx(&arguments);
    let (out, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{talk}");
    assert!(out.starts_with(" a sardonyx lay on a beach.") && out.ends_with('\n'), "{out:?}");
    assert!(talk.contains("device: CPU"), "{talk}");
    let said = talk.find("keys and values take").unwrap();
    assert!(said < talk.find("first token after").unwrap(), "memory is said before it is taken: {talk}");
    assert!(talk.contains("ended with the most tokens asked for") && talk.contains("tokens/s"), "{talk}");
}

#[test]
fn one_document_says_all() {
    let found = document(&["--prompt", "Once upon a time", "--max-tokens", "9", "--logprobs", "2"]);
    assert_eq!(
        (&found["schema"], &found["device"], &found["cache"]),
        (&1.into(), &"cpu".into(), &"fixed".into())
    );
    let tokens = found["tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), &found["finish"]), (9, &"length".into()));
    let joined: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!(found["text"], joined);
    assert_eq!(tokens[0]["id"], tokens[0]["top"][0]["id"]);
    assert_eq!(tokens[0]["top"].as_array().unwrap().len(), 2);
    for key in ["first_token_ms", "prefill_tokens_per_s", "decode_tokens_per_s", "kv_bytes"] {
        assert!(found[key].as_f64().unwrap() > 0.0, "{key}");
    }
    for key in ["adapter", "backend", "driver", "context", "prompt_tokens", "sampling", "seed", "fallbacks"] {
        assert!(found.get(key).is_some(), "{key}");
    }
    let stopped = document(&["--prompt", "Once upon a time", "--stop", " on a"]);
    assert_eq!((&stopped["finish"], &stopped["finish_by"]), (&"stop".into(), &" on a".into()));
    assert_eq!(stopped["text"], " a sardonyx lay");
    let turn = document(&["--chat", "--prompt", "Who are you?"]);
    assert_eq!((&turn["text"], &turn["finish_by"]), (&"I am a small stone.".into(), &"<|im_end|>".into()));
    let drawn = ["--prompt", "Once", "--temperature", "2", "--seed", "7", "--max-tokens", "12"];
    assert_eq!(document(&drawn)["text"], document(&drawn)["text"]);
}

#[test]
fn prompts_come_from_files_and_pipes() {
    let folder = folder("generate");
    let file = folder.join("prompt.txt");
    std::fs::write(&file, "Once upon a time").unwrap();
    let found = document(&["--prompt-file", file.to_str().unwrap(), "--max-tokens", "3"]);
    assert_eq!(found["text"], " a sardonyx lay"[..found["text"].as_str().unwrap().len()]);
    std::fs::write(&file, b"Once \xff").unwrap();
    let wrong = ["generate", MODEL, "--device", "cpu", "--prompt-file", file.to_str().unwrap()];
    refused(&wrong, &["prompt.txt", "byte 5", "UTF-8"]);
}

/// Two turns and the end, as a script would have them.
#[test]
fn a_conversation_is_a_line_a_turn() {
    let mut child = command(&["generate", MODEL, "--chat", "--device", "cpu", "--max-tokens", "20"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Who are you?\n\n/reset\nWho are you?\n/exit\nnever\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{talk}");
    assert_eq!(out, "I am a small stone.\nI am a small stone.\n");
    assert_eq!(talk.matches("first token after").count(), 2, "{talk}");
}

#[test]
fn what_cannot_be_is_one_line() {
    let with = |more: &[&'static str]| [&["generate", MODEL, "--device", "cpu"], more].concat();
    refused(&with(&[]), &["--prompt", "--chat"]);
    refused(&with(&["--prompt", ""]), &["no tokens"]);
    refused(&with(&["--prompt", "a", "--prompt-file", "b"]), &["--prompt-file"]);
    refused(&with(&["--chat", "--json", "-"]), &["--json"]);
    refused(&with(&["--system", "x", "--prompt", "a"]), &["--chat"]);
    refused(&with(&["--prompt", "a", "--context", "131072"]), &["131072", "256"]);
    refused(&with(&["--prompt", "Once upon a time", "--context", "2"]), &["--context", "--window"]);
    refused(&with(&["--prompt", "a", "--temperature", "-1"]), &["temperature"]);
    refused(&with(&["--prompt", "a", "--top-p", "nan"]), &["top-p is NaN"]);
    refused(&["generate", "no/such", "--prompt", "a"], &["no/such", "can't be read"]);
    refused(&["generate", "src", "--prompt", "a", "--device", "cpu"], &["src", "holds no ONNX file"]);
    let mlp = "models/tiny/mlp/model.onnx";
    refused(&["generate", mlp, "--prompt", "a", "--device", "cpu"], &[mlp, "tokenizer.json"]);
}

#[test]
fn language_models_are_measured() {
    let bench = |tests: &str| {
        ["bench", MODEL, "--device", "cpu", "--rounds", "2", "--generate", tests].map(String::from)
    };
    let arguments = bench("pp40,tg6");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--json", "-"]).collect();
    let found = json(&arguments);
    assert_eq!((&found["schema"], found["context"]["os"].is_string()), (&1.into(), true));
    let rows = found["generation"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, (name, tokens)) in rows.iter().zip([("pp40", 40), ("tg6", 6)]) {
        assert_eq!(
            (&row["test"], &row["tokens"], &row["error"]),
            (&name.into(), &tokens.into(), &Value::Null)
        );
        let times = row["times_ms"].as_array().unwrap();
        assert_eq!(times.len(), 2);
        let mean: f64 =
            times.iter().map(|ms| f64::from(tokens) * 1e3 / ms.as_f64().unwrap()).sum::<f64>() / 2.0;
        assert!((row["tokens_per_s"]["mean"].as_f64().unwrap() / mean - 1.0).abs() < 1e-9);
    }
    refused(&["bench", MODEL, "--generate", "xx5"], &["ppN", "tgN"]);
}

#[test]
fn two_devices_read_the_same_text() {
    if sardonyx::gpu::test_device().is_none() {
        return;
    }
    for model in [MODEL, "models/text/plain"] {
        let arguments = ["compare", model, "--device", "gpu", "--generate", "40", "--json", "-"];
        let found = json(&[&arguments[..], &["--prompt", "Once upon a time"]].concat());
        assert_eq!((&found["verdict"], &found["partings"]), (&"same".into(), &0.into()), "{found}");
        assert_eq!(
            found["tokens"].as_array().unwrap().len() as u64,
            found["prompt_tokens"].as_u64().unwrap() + 40
        );
        let (apart, largest) = (found["max_abs"].as_f64().unwrap(), found["largest"].as_f64().unwrap());
        // Sums of up to 140 terms, eight of them in a row.
        let allowed = largest * f64::from(f32::EPSILON) * 140.0 * 8.0;
        assert!(apart <= allowed, "{apart} of {largest}");
    }
    let wrong = ["compare", MODEL, "--device", "gpu", "--generate", "4000"];
    refused(&wrong, &["beyond the model's context of 256"]);
}

/// The window slides where it is asked to.
#[test]
fn a_window_slides() {
    let arguments = ["--prompt", "Once upon a time", "--context", "16", "--max-tokens", "60", "--ignore-eos"];
    assert_eq!(document(&arguments)["finish"], "context");
    let slid = document(&[&arguments[..], &["--window"]].concat());
    assert_eq!((&slid["finish"], slid["tokens"].as_array().unwrap().len()), (&"length".into(), 60));
}

/// A folder with an encoder: the prompt is what it reads.
#[test]
fn a_model_in_two_parts_reads_the_prompt() {
    let model = "models/t5/merged";
    let with = |more: &[&'static str]| [&["generate", model, "--device", "cpu"], more].concat();
    let found = json(&with(&["--prompt", "beach", "--max-tokens", "5", "--json", "-"]));
    let recorded: Value = serde_json::from_slice(&std::fs::read("models/t5/greedy.json").unwrap()).unwrap();
    let one = &recorded["greedy"][2];
    assert_eq!(one["prompt"], "beach");
    let ids: Vec<&Value> = found["tokens"].as_array().unwrap().iter().map(|token| &token["id"]).collect();
    let expected: Vec<&Value> = one["tokens"].as_array().unwrap().iter().take(ids.len()).collect();
    assert_eq!(ids, expected);
    assert_eq!(found["prompt_tokens"], one["ids"].as_array().unwrap().len());
    assert_eq!((&found["cache"], &found["finish"]), (&"growing".into(), &"length".into()));
    assert!(found["encoder_ms"].as_f64().unwrap() > 0.0);
    let talk = text(&sardonyx(&with(&["--prompt", "beach"])).stderr);
    assert!(talk.contains("the encoder read") && talk.contains("ended by </s>"), "{talk}");
    refused(&with(&["--prompt", " "]), &["the prompt is empty"]);
    refused(&with(&["--chat"]), &[model, "--chat", "has an encoder"]);
    refused(&with(&["--prompt", "a", "--window"]), &["--window"]);
    refused(&["generate", "models/whisper", "--prompt", "a", "--device", "cpu"], &["transcribe"]);
}
