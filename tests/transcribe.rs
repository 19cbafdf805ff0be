//! Text of speech by the tiny model of models/whisper, on both devices: the tokens that transformers
//! generates, of the features that its WhisperFeatureExtractor makes.
#![cfg(feature = "audio")]

use sardonyx::audio::{LogMel, MelOptions, Sound};
use sardonyx::generate::Finish;
use sardonyx::gpu::test_device;
use sardonyx::transcribe::{Options, Transcriber};
use sardonyx::{Device, Session, Tensor};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/whisper")
}
fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}
fn arrays() -> HashMap<String, Tensor> {
    sardonyx::onnx::read_npz(&folder().join("expected.npz")).unwrap().into_iter().collect()
}
fn sound() -> Sound {
    Sound::read(folder().join("chirp.wav")).unwrap()
}
fn load(device: Device) -> Transcriber {
    Transcriber::load(folder(), Session::builder().device(device)).unwrap()
}
fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The reference stores spectra in float32: a power is off by eps of itself, its logarithm by eps / ln 10.
/// That, and the features themselves, are rounded to float32 where they are at most 10 in size; a quarter of
/// it is what is left.
const ROUNDING: f32 = f32::EPSILON * (0.5 + 10.0 + 10.0) / 4.0;

fn near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(off <= ROUNDING, "{what}: off by {off:e}, and {ROUNDING:e} is allowed");
}

#[test]
fn features_are_transformers() {
    let (sound, arrays) = (sound(), arrays());
    assert_eq!((sound.rate, sound.channels, sound.samples.len()), (16000, 1, 48000));
    let tiny = MelOptions { window: 400, hop: 160, filters: 16, rate: 16000, samples: 32000 };
    let mel = LogMel::new(tiny);
    for (name, piece) in ["first", "second"].into_iter().zip(sound.samples.chunks(tiny.samples)) {
        let found = mel.apply(piece).unwrap();
        assert_eq!(found.shape(), [1, 16, 200]);
        near(found.as_slice().unwrap(), arrays[name].as_slice().unwrap(), name);
    }
    // Whisper's own: of 30 seconds, every 25th of the first 400 columns.
    let real = LogMel::new(MelOptions { filters: 80, samples: 480_000, ..tiny });
    let found = real.apply(&sound.samples).unwrap();
    assert_eq!(found.shape(), [1, 80, 3000]);
    let rows = found.as_slice::<f32>().unwrap().chunks(3000);
    let some: Vec<f32> = rows.flat_map(|row| row[..400].iter().step_by(25).copied()).collect();
    near(&some, arrays["real"].as_slice().unwrap(), "real");
    assert!(mel.apply(&sound.samples).unwrap_err().to_string().contains("48000 samples"));
}

fn as_recorded(device: Device) {
    let (mut model, sound, recorded) = (load(device), sound(), recorded());
    for (name, language, task) in
        [("english", Some("en"), None), ("detected", None, None), ("german", Some("de"), Some("translate"))]
    {
        let options = Options {
            language: language.map(String::from),
            task: task.map(String::from),
            max_tokens: Some(24),
        };
        let task = model.task(&options).unwrap();
        for (at, piece) in sound.samples.chunks(model.samples()).enumerate() {
            let expected = &recorded[name][at];
            let found = model.piece(piece, &task).unwrap();
            // Behind the four that say what is to be done.
            let tokens = numbers(&expected["tokens"]);
            assert_eq!(found.tokens, tokens[4..], "{name}, piece {at}");
            assert_eq!(found.text, expected["text"].as_str().unwrap(), "{name}, piece {at}");
            let spoken = expected["language"].as_str().unwrap();
            assert_eq!(found.language.as_deref(), Some(spoken), "{name}, piece {at}");
            let ends = tokens.last() == Some(&256);
            assert_eq!(found.finish, Some(if ends { Finish::EndOfText(256) } else { Finish::Length }));
        }
    }
}

#[test]
fn text_is_transformers_on_the_cpu() {
    as_recorded(Device::Cpu);
}

#[test]
fn text_is_transformers_on_the_gpu() {
    let Some(device) = test_device() else { return };
    as_recorded(device.into());
}

/// A folder with the model's files, and one changed or left out.
fn changed(name: &str, file: &str, content: Option<&[u8]>) -> PathBuf {
    let to = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("transcribe-{name}"));
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(&to).unwrap();
    let models = ["encoder_model.onnx", "decoder_model_merged.onnx"];
    let files = ["tokenizer.json", "config.json", "generation_config.json", "preprocessor_config.json"];
    for file in models.into_iter().chain(files) {
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
    let told = |folder: PathBuf| Transcriber::load(folder, Session::builder()).err().unwrap().to_string();
    let text = told(changed("no-tokenizer", "tokenizer.json", None));
    assert!(text.contains("has no tokenizer.json beside it"), "{text}");
    let text = told(changed("no-features", "preprocessor_config.json", None));
    assert!(text.contains("has no preprocessor_config.json beside it"), "{text}");
    let said = std::fs::read_to_string(folder().join("preprocessor_config.json")).unwrap();
    let wide = said.replace("\"feature_size\": 16", "\"feature_size\": 80");
    let text = told(changed("wide", "preprocessor_config.json", Some(wide.as_bytes())));
    assert!(text.contains("input_features") && text.contains("[1, 80, 200]"), "{text}");
    let text = told(changed("no-encoder", "encoder_model.onnx", None));
    assert!(text.contains("holds no encoder_model.onnx"), "{text}");
    // A decoder of another encoder's states: both names and shapes.
    let other = std::fs::read(folder().join("../t5/merged/encoder_model.onnx")).unwrap();
    let text = told(changed("text", "encoder_model.onnx", Some(&other)));
    assert!(text.contains("encoder_model.onnx") && text.contains("doesn't read sound"), "{text}");
    let model = load(Device::Cpu);
    let task = |language: Option<&str>, task: Option<&str>| {
        let options =
            Options { language: language.map(String::from), task: task.map(String::from), max_tokens: None };
        model.task(&options).unwrap_err().to_string()
    };
    let text = task(Some("fr"), None);
    assert!(text.contains("no language 'fr'; there are: de, en, zh"), "{text}");
    let text = task(None, Some("sing"));
    assert!(text.contains("no task 'sing'; there are: transcribe, translate"), "{text}");
}
