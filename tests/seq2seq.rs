//! Text from the tiny encoder and decoder of models/t5, in both of optimum's layouts and on both devices:
//! the tokens that transformers generates.
#![cfg(feature = "generate")]

use sardonyx::generate::{CacheKind, Finish, Limits, ModelFiles, Options, Seq2Seq};
use sardonyx::gpu::test_device;
use sardonyx::{Device, ErrorKind, Result, Session};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder(form: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/t5").join(form)
}
fn load(folder: &Path, device: Device) -> Result<Seq2Seq> {
    let files = ModelFiles::find_pair(folder)?.expect("an encoder");
    Seq2Seq::load(files, Session::builder().device(device), &Limits::default())
}
fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read(folder("greedy.json")).unwrap()).unwrap()
}
fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}
fn most(count: usize) -> Options {
    Options { max_tokens: Some(count), ..Options::default() }
}
/// An answer's tokens, its text and why it ended.
fn answer(model: &mut Seq2Seq, prompt: &str, options: &Options) -> (Vec<u32>, String, Finish) {
    let source = model.tokenizer().encode(prompt, true).unwrap();
    let mut generator = model.generate(&source, options).unwrap();
    let tokens: Vec<_> = generator.by_ref().collect::<Result<_>>().unwrap();
    let ids = tokens.iter().map(|token| token.id).collect();
    let text = tokens.iter().map(|token| token.text.as_str()).collect();
    (ids, text, generator.finish().unwrap().clone())
}

/// Greedy text is transformers', token by token.
fn as_recorded(model: &mut Seq2Seq, list: &Value) {
    for one in list.as_array().unwrap() {
        let prompt = one["prompt"].as_str().unwrap();
        assert_eq!(model.tokenizer().encode(prompt, true).unwrap(), numbers(&one["ids"]), "the tokenizer");
        let expected = numbers(&one["tokens"]);
        let (ids, _, finish) = answer(model, prompt, &most(expected.len()));
        assert_eq!(ids, expected, "{prompt}");
        assert_eq!(model.tokenizer().decode(&ids).unwrap(), one["text"].as_str().unwrap());
        let ends = expected.last() == Some(&1);
        assert_eq!(finish, if ends { Finish::EndOfText(1) } else { Finish::Length });
    }
}

#[test]
fn greedy_text_is_transformers_on_the_cpu() {
    for form in ["merged", "pair"] {
        let mut model = load(&folder(form), Device::Cpu).unwrap();
        assert_eq!(model.decoder().kind(), CacheKind::Growing);
        as_recorded(&mut model, &recorded()["greedy"]);
    }
}

/// On a device nothing of the decoder falls back: the branch is decided when a plan is made.
#[test]
fn greedy_text_is_transformers_on_the_gpu() {
    let Some(device) = test_device() else { return };
    for form in ["merged", "pair"] {
        let mut model = load(&folder(form), device.clone().into()).unwrap();
        as_recorded(&mut model, &recorded()["greedy"]);
        assert_eq!(model.decoder().prepared().unwrap().fallbacks(), [], "{form}");
    }
}

/// A folder with the files of one of the forms, and some changed or left out.
fn changed(form: &str, name: &str, files: &[(&str, Option<&[u8]>)]) -> PathBuf {
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("seq2seq-{name}"));
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(folder(form)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    for (file, content) in files {
        match content {
            Some(content) => std::fs::write(to.join(file), content).unwrap(),
            None => std::fs::remove_file(to.join(file)).unwrap(),
        }
    }
    to
}

#[test]
fn an_answers_first_token_may_be_forced() {
    let recorded = recorded();
    let config = std::fs::read_to_string(folder("merged/config.json")).unwrap();
    let forced = format!("{{\"forced_bos_token_id\": {}, {}", recorded["forced_bos_token_id"], &config[1..]);
    let at = changed("merged", "forced", &[("config.json", Some(forced.as_bytes()))]);
    as_recorded(&mut load(&at, Device::Cpu).unwrap(), &recorded["forced_bos"]);
}

/// Without decoder_with_past_model the whole text is read again for every token: the same answer.
#[test]
fn a_decoder_without_a_cache_says_the_same() {
    let at = changed("pair", "whole", &[("decoder_with_past_model.onnx", None)]);
    let mut model = load(&at, Device::Cpu).unwrap();
    assert_eq!(model.decoder().kind(), CacheKind::None);
    as_recorded(&mut model, &recorded()["greedy"]);
}

#[test]
fn what_cannot_be_is_said() {
    let told = |folder: &Path| load(folder, Device::Cpu).err().unwrap().to_string();
    let text = told(&changed("merged", "no-tokenizer", &[("tokenizer.json", None)]));
    assert!(text.contains("has no tokenizer.json beside it"), "{text}");
    let lone = changed("merged", "lone", &[("decoder_model_merged.onnx", None)]);
    let text = ModelFiles::find_pair(&lone).unwrap_err().to_string();
    assert!(text.contains("encoder_model.onnx, but no decoder"), "{text}");
    let bare: &[(&str, Option<&[u8]>)] = &[("config.json", Some(b"{}")), ("generation_config.json", None)];
    let text = told(&changed("merged", "no-start", bare));
    assert!(text.contains("decoder_start_token_id"), "{text}");
    // Another model's encoder: both names and shapes.
    let other = std::fs::read(folder("../embed/model.onnx")).unwrap();
    let text = told(&changed("merged", "other", &[("encoder_model.onnx", Some(&other))]));
    assert!(text.contains("encoder_model.onnx") && text.contains("token_type_ids"), "{text}");
    // Two graphs that don't go together.
    let first = std::fs::read(folder("pair/decoder_with_past_model.onnx")).unwrap();
    let text = told(&changed("pair", "twice", &[("decoder_model.onnx", Some(&first))]));
    assert!(text.contains("decoder_model.onnx") && text.contains("encoder_hidden_states"), "{text}");
    assert!(ModelFiles::find_pair(folder("../text/plain")).unwrap().is_none());
    // Any of the files names the pair.
    let named = ModelFiles::find_pair(folder("pair/decoder_model.onnx")).unwrap().unwrap();
    assert!(named.next.is_some() && named.files.model.ends_with("encoder_model.onnx"));

    let mut model = load(&folder("merged"), Device::Cpu).unwrap();
    let mut told = |source: &[u32]| model.generate(source, &most(1)).err().unwrap();
    assert!(told(&[]).to_string().contains("the text has no tokens"));
    assert!(told(&[5, 9999]).to_string().contains("token 9999"));
    let tight = Limits { kv_bytes: Some(100), ..Limits::default() };
    let files = ModelFiles::find_pair(folder("merged")).unwrap().unwrap();
    let mut tight = Seq2Seq::load(files, Session::builder(), &tight).unwrap();
    assert_eq!(tight.generate(&[5], &most(9)).err().unwrap().kind(), ErrorKind::Memory);
}
