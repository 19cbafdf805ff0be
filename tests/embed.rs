//! Sentence vectors of the tiny encoder of models/embed, on both devices: those of sentence-transformers.
#![cfg(feature = "generate")]

use sardonyx::embed::{Embedder, Options, Pooling, Source, cosine};
use sardonyx::gpu::test_device;
use sardonyx::{Device, Session};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/embed")
}
fn embedder(device: Device, options: &Options) -> Embedder {
    Embedder::load(folder(), Session::builder().device(device), options).unwrap()
}
fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}
fn sentences(recorded: &Value) -> Vec<&str> {
    recorded["sentences"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}
fn vectors(recorded: &Value, name: &str) -> Vec<Vec<f32>> {
    let rows = recorded[name].as_array().unwrap().iter();
    let numbers = |row: &Value| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    rows.map(numbers).collect()
}

/// float32 in another order: two layers of six sums in a row of at most 64 terms each (8 of a head, 40
/// tokens, 32 and 64 numbers), each off by eps × its length relative to the largest number, and the layer
/// norms' division by the spread, some four times what it is divided into.
const ROUNDING: f32 = f32::EPSILON * 64.0 * 12.0 * 4.0;

fn near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let off = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(
        off <= scale * ROUNDING,
        "{what}: off by {off:e} of {scale}, and {:e} is allowed",
        scale * ROUNDING
    );
}

fn as_recorded(device: &Device) {
    let recorded = recorded();
    let texts = sentences(&recorded);
    for pooling in Pooling::ALL {
        for normalize in [false, true] {
            let options =
                Options { pooling: Some(vec![pooling]), normalize: Some(normalize), ..Options::default() };
            let name = format!("{}{}", pooling.name(), if normalize { "_normalized" } else { "" });
            let found = embedder(device.clone(), &options).embed(&texts).unwrap();
            for ((one, expected), text) in found.iter().zip(vectors(&recorded, &name)).zip(&texts) {
                near(&one.vector, &expected, &format!("{name} of {text:?}"));
            }
        }
    }
}

#[test]
fn vectors_are_sentence_transformers_on_the_cpu() {
    as_recorded(&Device::Cpu);
}

#[test]
fn vectors_are_sentence_transformers_on_the_gpu() {
    let Some(device) = test_device() else { return };
    as_recorded(&device.into());
}

/// What lies beside the model says the rest: the mean, length 1, 40 tokens.
#[test]
fn the_files_beside_the_model_are_believed() {
    let recorded = recorded();
    let texts = sentences(&recorded);
    let embedder = embedder(Device::Cpu, &Options::default());
    assert_eq!(embedder.source(), &Source::Pooled(vec![Pooling::Mean]));
    assert_eq!((embedder.normalizes(), embedder.max_tokens()), (true, Some(40)));
    let found = embedder.embed(&texts).unwrap();
    for (one, expected) in found.iter().zip(vectors(&recorded, "mean_normalized")) {
        near(&one.vector, &expected, "mean_normalized");
    }
    let last = found.last().unwrap();
    assert_eq!(last.tokens, 40);
    assert!(last.whole > 40, "{}", last.whole);
    assert!(found[0].whole == found[0].tokens);
    assert!((cosine(&last.vector, &last.vector) - 1.0).abs() < 1e-12);
    // Alone or among others, in any order: the same vectors.
    let reversed: Vec<&str> = texts.iter().rev().copied().collect();
    for (one, again) in found.iter().zip(embedder.embed(&reversed).unwrap().iter().rev()) {
        near(&again.vector, &one.vector, "reversed");
    }
    near(&embedder.embed(&texts[..1]).unwrap()[0].vector, &found[0].vector, "alone");
}

#[test]
fn several_poolings_stand_side_by_side() {
    let recorded = recorded();
    let options = Options {
        pooling: Some(vec![Pooling::Mean, Pooling::Max]),
        normalize: Some(false),
        ..Options::default()
    };
    let found = embedder(Device::Cpu, &options).embed(&sentences(&recorded)).unwrap();
    let (mean, max) = (vectors(&recorded, "mean"), vectors(&recorded, "max"));
    for (at, one) in found.iter().enumerate() {
        near(&one.vector, &[&*mean[at], &*max[at]].concat(), "mean and max");
    }
}

/// A folder with the model's files, and one changed.
fn changed(name: &str, file: &str, content: Option<&str>) -> PathBuf {
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("embed-{name}"));
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(to.join("1_Pooling")).unwrap();
    let files = ["model.onnx", "tokenizer.json", "tokenizer_config.json", "config.json", "modules.json"];
    for file in [&files[..], &["1_Pooling/config.json"]].concat() {
        std::fs::copy(folder().join(file), to.join(file)).unwrap();
    }
    match content {
        Some(content) => std::fs::write(to.join(file), content).unwrap(),
        None => std::fs::remove_file(to.join(file)).unwrap(),
    }
    to
}

#[test]
fn what_cannot_be_is_said() {
    let load = |folder: PathBuf, options: &Options| Embedder::load(folder, Session::builder(), options);
    let told = |folder| load(folder, &Options::default()).err().unwrap().to_string();
    let text = told(changed("no-tokenizer", "tokenizer.json", None));
    assert!(text.contains("has no tokenizer.json beside it"), "{text}");
    let bare = changed("no-pooling", "1_Pooling/config.json", None);
    let text = told(bare.clone());
    assert!(text.contains("1_Pooling/config.json") && text.contains("sentence_embedding"), "{text}");
    let cls = Options { pooling: Some(vec![Pooling::Cls]), ..Options::default() };
    assert_eq!(load(bare, &cls).unwrap().embed(&["beach"]).unwrap()[0].vector.len(), 32);
    let dense = r#"[{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]"#;
    let text = told(changed("dense", "modules.json", Some(dense)));
    assert!(text.contains("modules.json") && text.contains("models.Dense"), "{text}");
    let none = r#"{"pooling_mode_mean_tokens": false}"#;
    let text = told(changed("none", "1_Pooling/config.json", Some(none)));
    assert!(text.contains("switches no pooling on"), "{text}");
    let wide = r#"{"pooling_mode": "mean", "embedding_dimension": 384}"#;
    let wide = load(changed("wide", "1_Pooling/config.json", Some(wide)), &Options::default()).unwrap();
    let text = wide.embed(&["beach"]).unwrap_err().to_string();
    assert!(text.contains("is 384") && text.contains("32 numbers"), "{text}");
    let embedder = embedder(Device::Cpu, &Options::default());
    let text = embedder.embed(&["beach", " \t"]).unwrap_err().to_string();
    assert!(text.contains("text 2 of 2 is empty"), "{text}");
    assert!(embedder.embed(&[] as &[&str]).unwrap().is_empty());
    let tight = Options { max_tokens: Some(2), ..Options::default() };
    let tight = Embedder::load(folder(), Session::builder(), &tight).unwrap();
    let text = tight.embed(&["beach"]).unwrap_err().to_string();
    assert!(text.contains("limit of 2 tokens") && text.contains("tokenizer.json"), "{text}");
    let text = Embedder::load(folder().join("../text/plain"), Session::builder(), &Options::default());
    let text = text.err().unwrap().to_string();
    assert!(text.contains("past_key_values.0.key"), "{text}");
}

/// all-MiniLM-L6-v2, where SARDONYX_MINILM names a folder with it and expected.json.
#[test]
fn minilm_is_as_sentence_transformers_has_it() {
    let Some(folder) = std::env::var_os("SARDONYX_MINILM").map(PathBuf::from) else {
        eprintln!("left out: SARDONYX_MINILM names no folder with the model and expected.json");
        return;
    };
    let recorded: Value =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let texts = sentences(&recorded);
    let device = test_device().map_or(Device::Cpu, Device::from);
    for device in [Device::Cpu, device] {
        let embedder =
            Embedder::load(&folder, Session::builder().device(device), &Options::default()).unwrap();
        let found = embedder.embed(&texts).unwrap();
        let mut least = 1.0f64;
        for (one, expected) in found.iter().zip(vectors(&recorded, "vectors")) {
            least = least.min(cosine(&one.vector, &expected));
        }
        println!("least cosine {least} of {} texts", texts.len());
        // Vectors of length 1 that are off by as much as six layers of sums of 1,536 terms may be.
        assert!(least > 1.0 - f64::from(f32::EPSILON) * 1536.0 * 6.0, "{least}");
    }
}
