//! `transcribe` on the command line.

use super::{folder, json, models, refused, sardonyx, text};
use serde_json::Value;

const MODEL: &str = "models/whisper";
const WAV: &str = "models/whisper/chirp.wav";

fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read("models/whisper/expected.json").unwrap()).unwrap()
}
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["transcribe", MODEL, WAV, "--device", "cpu"], more].concat()
}

#[test]
fn text_is_streamed_and_the_rest_is_talk() {
    let output = sardonyx(&with(&["--max-tokens", "24"]));
    let (out, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{talk}");
    let recorded = recorded();
    let pieces = recorded["detected"].as_array().unwrap().iter();
    let expected: String = pieces.map(|piece| piece["text"].as_str().unwrap()).collect();
    assert_eq!(out, expected + "\n");
    assert!(talk.contains("3.0 s of sound are read in 2 pieces of 2 s"), "{talk}");
    let first = recorded["detected"][0]["language"].as_str().unwrap();
    assert!(talk.contains(&format!("the language is taken for {first}")), "{talk}");
}

#[test]
fn one_document_says_all() {
    let found = json(&with(&["--language", "de", "--task", "translate", "--max-tokens", "6", "--json", "-"]));
    assert_eq!((&found["schema"], &found["device"]), (&1.into(), &"cpu".into()));
    assert_eq!((&found["seconds"], &found["sampling_rate"]), (&3.0.into(), &16000.into()));
    assert_eq!((&found["channels"], &found["language"]), (&1.into(), &"de".into()));
    let pieces = found["pieces"].as_array().unwrap();
    assert_eq!(pieces.len(), 2);
    for (piece, one) in pieces.iter().zip(recorded()["german"].as_array().unwrap()) {
        let whole = &one["tokens"].as_array().unwrap()[4..];
        let tokens = piece["tokens"].as_array().unwrap();
        assert_eq!(tokens[..], whole[..tokens.len()]);
        let ends = tokens.last() == Some(&256.into());
        assert_eq!(piece["finish"], if ends { "end" } else { "length" });
    }
    assert_eq!((&pieces[1]["start"], &pieces[1]["end"]), (&2.0.into(), &3.0.into()));
    let joined: String = pieces.iter().map(|piece| piece["text"].as_str().unwrap()).collect();
    assert_eq!(found["text"], joined);
    for key in ["adapter", "backend", "driver", "precision", "audio", "total_ms", "fallbacks"] {
        assert!(found.get(key).is_some(), "{key}");
    }
}

/// A sound of two channels at another rate: both are said, and it is as long as it was.
#[test]
fn other_sounds_are_made_what_the_model_reads() {
    let file = folder("transcribe").join("stereo.wav");
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
    let (rate, frames) = (44100u32, 22050u32);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 4).to_le_bytes());
    bytes.extend([4, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend((frames * 4).to_le_bytes());
    for at in 0..frames {
        let sample = (f64::from(at) * 0.05).sin() * 8000.0;
        bytes.extend([sample as i16, (sample / 2.0) as i16].into_iter().flat_map(i16::to_le_bytes));
    }
    let size = u32::try_from(bytes.len()).unwrap() - 8;
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let arguments = ["transcribe", MODEL, file.to_str().unwrap(), "--device", "cpu", "--language", "en"];
    let talk = text(&sardonyx(&arguments).stderr);
    assert!(talk.contains("the mean of 2 channels is read"), "{talk}");
    assert!(talk.contains("44100 samples a second are made 16000"), "{talk}");
    assert!(talk.contains("0.5 s of sound in"), "{talk}");
}

#[test]
fn what_cannot_be_is_one_line() {
    refused(&["transcribe", MODEL, "README.md", "--device", "cpu"], &["README.md", "is no WAV file", "PCM"]);
    refused(&["transcribe", MODEL, "no/such.wav"], &["no/such.wav", "can't be read"]);
    refused(&["transcribe", "no/such", WAV], &["no/such", "can't be read"]);
    refused(&["transcribe", "models/text/plain", WAV, "--device", "cpu"], &["encoder_model.onnx"]);
    refused(&["transcribe", "models/t5/merged", WAV, "--device", "cpu"], &["preprocessor_config.json"]);
    refused(&with(&["--language", "fr"]), &["'fr'", "de, en, zh"]);
}

/// `run` takes a sound where an input of floats has one axis or two.
#[test]
fn a_sound_is_an_input() {
    let at = folder("sound");
    let file = at.join("model.onnx");
    models::save(
        &file,
        vec![models::node("Abs", &["audio"], &["out"])],
        vec![models::value("audio", &["1", "samples"])],
        vec![models::value("out", &["1", "samples"])],
        vec![],
    );
    let input = format!("audio={WAV}");
    let found = json(&["run", file.to_str().unwrap(), "--device", "cpu", "-i", &input, "--json", "-"]);
    assert_eq!(found["outputs"][0]["shape"], serde_json::json!([1, 48000]));
    let image = format!("image={WAV}");
    refused(
        &["run", "models/digits/digits.onnx", "--device", "cpu", "-i", &image],
        &["chirp.wav", "rank 4", "rank 1 or 2"],
    );
}
