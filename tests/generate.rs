//! Text from the tiny language model of models/text, in both layouts and on both devices: the tokens that
//! onnxruntime's CPU gives.
#![cfg(feature = "generate")]

use sardonyx::generate::{
    AdjustLogits, CacheKind, Finish, LanguageModel, Limits, Message, Options, Overflow, Sampling,
};
use sardonyx::gpu::test_device;
use sardonyx::{Device, ErrorKind, Result, Session};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder(form: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/text").join(form)
}
fn model_on(form: &str, device: Device, limits: Limits) -> LanguageModel {
    LanguageModel::load(folder(form), Session::builder().device(device), &limits).unwrap()
}
fn model(form: &str) -> LanguageModel {
    model_on(form, Device::Cpu, Limits::default())
}
fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read(folder("greedy.json")).unwrap()).unwrap()
}
fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}
/// An answer's tokens, its text and why it ended.
fn answer(model: &mut LanguageModel, prompt: &[u32], options: &Options) -> (Vec<u32>, String, Finish) {
    let mut generator = model.generate(prompt, options).unwrap();
    let tokens: Vec<_> = generator.by_ref().collect::<Result<_>>().unwrap();
    let ids = tokens.iter().map(|token| token.id).collect();
    let text = tokens.iter().map(|token| token.text.as_str()).collect();
    (ids, text, generator.finish().unwrap().clone())
}
fn most(count: usize) -> Options {
    Options { max_tokens: Some(count), ..Options::default() }
}

/// Greedy text is onnxruntime's, token by token, until the text ends by itself.
fn as_recorded(form: &str, device: Device) {
    let mut model = model_on(form, device, Limits::default());
    for one in recorded()[form].as_array().unwrap() {
        let prompt = model.tokenizer().encode(one["prompt"].as_str().unwrap(), true).unwrap();
        assert_eq!(prompt, numbers(&one["ids"]), "the tokenizer");
        let expected = numbers(&one["tokens"]);
        let (ids, text, finish) = answer(&mut model, &prompt, &most(expected.len()));
        assert_eq!(text, one["text"].as_str().unwrap(), "{form}");
        assert_eq!(ids, expected, "{form}");
        assert_eq!(finish, Finish::EndOfText(*expected.last().unwrap()));
    }
}

#[test]
fn greedy_text_is_onnxruntimes_on_the_cpu() {
    as_recorded("genai", Device::Cpu);
    as_recorded("plain", Device::Cpu);
}

#[test]
fn greedy_text_is_onnxruntimes_on_the_gpu() {
    let Some(device) = test_device() else { return };
    as_recorded("genai", device.clone().into());
    as_recorded("plain", device.into());
}

#[test]
fn a_conversation_is_read_on_from_where_it_was() {
    for (form, kind) in [("genai", CacheKind::Fixed), ("plain", CacheKind::Growing)] {
        let mut model = model_on(form, Device::Cpu, Limits { context: Some(128), ..Limits::default() });
        assert_eq!(model.decoder().kind(), kind);
        let mut messages = vec![Message::new("user", "Who are you?")];
        let prompt = model.chat(&messages).unwrap();
        let (ids, text, _) = answer(&mut model, &prompt, &most(20));
        assert_eq!(text, "I am a small stone.", "{form}");
        assert!(model.decoder().tokens().starts_with(&prompt));
        messages.extend([Message::new("assistant", text), Message::new("user", "And then?")]);
        let prompt = model.chat(&messages).unwrap();
        let read = prompt.len();
        let mut generator = model.generate(&prompt, &most(3)).unwrap();
        let later: Vec<_> = generator.by_ref().collect::<Result<_>>().unwrap();
        let times = generator.timings();
        assert_eq!(times.prompt_tokens + times.reused_tokens, read);
        // The token that ended the answer was never read.
        let there = 12 + ids.len() - 1;
        assert!(times.reused_tokens >= there, "{form}: {times:?}");
        // The same as from the beginning.
        drop(generator);
        let mut fresh = model_on(form, Device::Cpu, Limits { context: Some(128), ..Limits::default() });
        let (again, ..) = answer(&mut fresh, &prompt, &most(3));
        assert_eq!(later.iter().map(|token| token.id).collect::<Vec<_>>(), again, "{form}");
    }
}

#[test]
fn stop_strings_seeds_and_limits() {
    let mut model = model("genai");
    let prompt = model.tokenizer().encode("Once upon a time", true).unwrap();
    let stop = Options { stop: vec!["on a beach".into()], ..most(60) };
    let (_, text, finish) = answer(&mut model, &prompt, &stop);
    assert_eq!((&*text, finish), (" a sardonyx lay ", Finish::Stop("on a beach".into())));
    assert_eq!(answer(&mut model, &prompt, &most(0)), (vec![], String::new(), Finish::Length));
    let (ids, _, finish) = answer(&mut model, &prompt, &most(5));
    assert_eq!((ids.len(), finish), (5, Finish::Length));
    let hot = |seed| Options {
        seed,
        sampling: Sampling { temperature: 3.0, logprobs: 3, ..Sampling::default() },
        ..most(30)
    };
    let drawn = answer(&mut model, &prompt, &hot(1));
    assert_eq!(drawn, answer(&mut model, &prompt, &hot(1)), "the same seed");
    assert_ne!(drawn.0, answer(&mut model, &prompt, &hot(2)).0, "another seed");
    let first = model.generate(&prompt, &hot(1)).unwrap().next().unwrap().unwrap();
    assert_eq!(first.top.len(), 3);
    assert!(first.top[0].1 >= first.top[1].1 && first.top[0].1 > -0.5, "{:?}", first.top);
}

#[test]
fn the_context_ends_an_answer_or_slides() {
    for form in ["genai", "plain"] {
        let limits = Limits { context: Some(24), ..Limits::default() };
        let mut model = model_on(form, Device::Cpu, limits);
        let prompt = model.tokenizer().encode("Once upon a time", true).unwrap();
        let (ids, _, finish) = answer(&mut model, &prompt, &most(200));
        assert_eq!(finish, Finish::Context, "{form}");
        assert_eq!(prompt.len() + ids.len(), 25, "what fills the context has a token behind it");
        let long = [prompt.as_slice(), &ids].concat();
        let error = model.generate(&long, &most(1)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("25 tokens, and the context 24"), "{error}");
        let mut sliding = model_on(form, Device::Cpu, Limits { overflow: Overflow::Window, ..limits });
        let endless = Options { ignore_eos: true, ..most(100) };
        let (more, _, finish) = answer(&mut sliding, &prompt, &endless);
        assert_eq!((more.len(), finish), (100, Finish::Length), "{form}");
        assert_eq!(more[..ids.len()], ids, "{form}: the same as far as the context reaches");
        // What is seen then is the newer half alone.
        let (again, ..) = answer(&mut sliding, &long, &most(1));
        let mut fresh = model_on(form, Device::Cpu, limits);
        let (half, ..) = answer(&mut fresh, &long[long.len() - 12..], &most(1));
        assert_eq!(again, half, "{form}");
    }
}

#[test]
fn what_cannot_be_asked_for_is_said() {
    let mut model = model("genai");
    let told = |model: &mut LanguageModel, prompt: &[u32], options: &Options| {
        model.generate(prompt, options).err().unwrap().to_string()
    };
    assert!(told(&mut model, &[], &most(1)).contains("the prompt has no tokens"));
    assert!(told(&mut model, &[5, 9999], &most(1)).contains("token 9999"));
    let cold = Options { sampling: Sampling { temperature: -1.0, ..Sampling::default() }, ..most(1) };
    assert!(told(&mut model, &[5], &cold).contains("temperature is -1"));
    let load = |limits| LanguageModel::load(folder("genai"), Session::builder(), &limits).err().unwrap();
    let error = load(Limits { context: Some(131_072), ..Limits::default() });
    assert!(error.to_string().contains("131072 tokens is asked for; the model's is 256"), "{error}");
    let tight = Limits { kv_bytes: Some(1000), ..Limits::default() };
    let mut small = LanguageModel::load(folder("genai"), Session::builder(), &tight).unwrap();
    let error = small.generate(&[5], &most(100)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Memory);
    // 2 layers of keys and values: 2 heads of 16 numbers in float32 for each row.
    let rows = small.kv_bytes(128) / (2 * 2 * 2 * 16 * 4);
    assert!((128..=256).contains(&rows), "{rows}");
}

/// A folder with some of the model's files, and one changed.
fn changed(name: &str, file: &str, content: Option<&str>) -> PathBuf {
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("generate-{name}"));
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(folder("genai")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    match content {
        Some(content) => std::fs::write(to.join(file), content).unwrap(),
        None => std::fs::remove_file(to.join(file)).unwrap(),
    }
    to
}

#[test]
fn files_that_do_not_fit_are_named() {
    let told = |folder: PathBuf| {
        LanguageModel::load(folder, Session::builder(), &Limits::default()).err().unwrap().to_string()
    };
    let text = told(changed("no-tokenizer", "tokenizer.json", None));
    assert!(text.contains("has no tokenizer.json beside it"), "{text}");
    let small =
        r#"{"version":"1.0","added_tokens":[],"model":{"type":"BPE","vocab":{"a":0,"b":999},"merges":[]}}"#;
    let text = told(changed("other-tokenizer", "tokenizer.json", Some(small)));
    assert!(text.contains("tokenizer.json: has 1000 tokens, but the model's scores are for 320"), "{text}");
    let text = told(changed("other-config", "config.json", Some(r#"{"vocab_size": 5}"#)));
    assert!(text.contains("vocab_size is 320, but 5 in"), "{text}");
    let text = told(changed("other-layers", "config.json", Some(r#"{"num_hidden_layers": 3}"#)));
    assert!(text.contains("num_hidden_layers is 2, but 3 in"), "{text}");
    let template = r#"{"chat_template": "a\n{% endfor %}"}"#;
    let text = told(changed("template", "tokenizer_config.json", Some(template)));
    assert!(text.contains("tokenizer_config.json: line 2 of the chat template"), "{text}");
    // What isn't there isn't needed, but for what needs it.
    let bare = changed("bare", "tokenizer_config.json", None);
    for name in ["config.json", "generation_config.json", "genai_config.json"] {
        std::fs::remove_file(bare.join(name)).unwrap();
    }
    let mut model = LanguageModel::load(&bare, Session::builder(), &Limits::default()).unwrap();
    assert!(model.chat(&[]).unwrap_err().to_string().contains("has no chat template"));
    let prompt = model.tokenizer().encode("Once upon a time", true).unwrap();
    assert_eq!(answer(&mut model, &prompt, &most(4)).0.len(), 4);
}

/// A grammar of a list of tokens.
struct OnlyTheseTokens(Vec<u32>);
impl AdjustLogits for OnlyTheseTokens {
    fn adjust(&mut self, _: &[u32], _: &[u32], logits: &mut [f32]) -> Result<()> {
        let mut forbidden = logits.iter_mut().zip(0u32..).filter(|(_, id)| !self.0.contains(id));
        forbidden.by_ref().for_each(|(logit, _)| *logit = f32::NEG_INFINITY);
        Ok(())
    }
}

#[test]
fn scores_may_be_adjusted() {
    let mut model = model("genai");
    let e = model.tokenizer().id("e").unwrap();
    let prompt = model.tokenizer().encode("Once", true).unwrap();
    let generator = model.generate(&prompt, &most(5)).unwrap().adjusting(OnlyTheseTokens(vec![e]));
    let text: String = generator.map(|token| token.unwrap().text).collect();
    assert_eq!(text, "eeeee");
}

/// SmolLM2 of tools/smollm2.py, where SARDONYX_SMOLLM2 names the folder of its forms: the reference's scores.
#[test]
fn smollm2_scores_as_its_reference_does() {
    let Some(root) = std::env::var_os("SARDONYX_SMOLLM2") else {
        eprintln!("left out: SARDONYX_SMOLLM2 names no folder with smollm2_float and others");
        return;
    };
    for form in ["float", "packed", "symmetric", "plain"] {
        let folder = Path::new(&root).join(format!("smollm2_{form}"));
        let recorded: std::collections::HashMap<String, sardonyx::Tensor> =
            sardonyx::onnx::read_npz(&folder.join("reference.npz")).unwrap().into_iter().collect();
        let ids: Vec<u32> =
            recorded["ids"].as_slice::<i64>().unwrap().iter().map(|id| *id as u32).take(128).collect();
        let expected = recorded["top1"].as_slice::<i64>().unwrap();
        let mut model = LanguageModel::load(&folder, Session::builder(), &Limits::default()).unwrap();
        let text = String::from_utf8(recorded["text"].as_slice::<u8>().unwrap().to_vec()).unwrap();
        let own = model.tokenizer().encode(&text, true).unwrap();
        assert_eq!(own[..ids.len()], ids, "{form}: the tokenizer");
        model.reserve(256).unwrap();
        let scores = model.decoder_mut().feed_for_all(&ids).unwrap();
        let width = scores.len() / ids.len();
        let likeliest = |row: &[f32]| {
            (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))).unwrap() as i64
        };
        let same = scores.chunks(width).zip(expected).filter(|(row, id)| likeliest(row) == **id).count();
        // Rows 0 and 64 were recorded in full.
        let logits = recorded["logits"].as_slice::<f32>().unwrap();
        let mut largest = 0f32;
        for (at, row) in [0, 64].into_iter().enumerate() {
            let (found, wanted) = (&scores[row * width..][..width], &logits[at * width..][..width]);
            largest = found.iter().zip(wanted).fold(largest, |most, (a, b)| most.max((a - b).abs()));
        }
        println!("{form}: Top-1 {same} of {}, off by at most {largest:.2e}", ids.len());
        assert!(same * 100 >= ids.len() * 99, "{form}: Top-1 {same} of {}", ids.len());
    }
}
