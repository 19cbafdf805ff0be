//! `transcribe`: text of speech.

use super::Outcome;
use super::emit::{JsonOption, SCHEMA, say, stdout};
use super::options::{DeviceFields, Fallback, Precision, RunOptions, fallbacks, say_fallbacks, say_newer};
use clap::Args;
use sardonyx::audio::Sound;
use sardonyx::error::{Error, Result};
use sardonyx::generate::Finish;
use sardonyx::transcribe::{Options, Piece, Transcriber};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Text of speech in a WAV file, by a model in Whisper's shape
#[derive(Args)]
#[command(after_help = "Example:\n  sardonyx transcribe whisper-tiny talk.wav --language en\n\n\
MODEL is a folder with encoder_model.onnx and its decoder, tokenizer.json, preprocessor_config.json and \
generation_config.json, as optimum exports it. docs/transcribe.md says more.")]
pub struct Transcribe {
    /// The model's folder
    model: PathBuf,
    /// The sound: PCM of 8 to 32 bits or float32; of several channels the mean is taken
    wav: PathBuf,
    /// The language that is spoken, such as en [default: the model's own guess]
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
    /// transcribe, or translate to English [default: transcribe]
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// The most tokens of a piece [default: what the model has room for]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    model: String,
    #[serde(flatten)]
    device: DeviceFields,
    precision: &'a Precision,
    audio: String,
    seconds: f64,
    sampling_rate: u32,
    channels: u16,
    language: Option<&'a str>,
    text: String,
    pieces: Vec<Row<'a>>,
    total_ms: f64,
    fallbacks: &'a [Fallback],
}

#[derive(Serialize)]
struct Row<'a> {
    /// In seconds.
    start: f64,
    end: f64,
    text: &'a str,
    tokens: &'a [u32],
    /// `end`, `length` or `context`.
    finish: &'static str,
}

impl Transcribe {
    pub fn run(&self) -> Result<Outcome> {
        // A sound is looked at before a device is opened: a wrong path is said at once.
        let sound = Sound::read(&self.wav)?;
        std::fs::metadata(&self.model).map_err(|problem| {
            Error::file(&self.model, format!("can't be read: {problem}")).remedy("check the path")
        })?;
        let builder = self.options.builder(self.options.device.open_aloud()?)?;
        let mut model = Transcriber::load(&self.model, builder)?;
        say_newer(model.encoder().session());
        let options =
            Options { language: self.language.clone(), task: self.task.clone(), max_tokens: self.max_tokens };
        let mut task = model.task(&options)?;
        let (seconds, rate, channels) = (sound.seconds(), sound.rate, sound.channels);
        if channels > 1 {
            say(format_args!("note: the mean of {channels} channels is read"));
        }
        if rate != model.rate() {
            say(format_args!("note: {rate} samples a second are made {}", model.rate()));
        }
        let sound = sound.resampled(model.rate()).map_err(|error| error.in_file(&self.wav))?;
        let length = model.samples() as f64 / f64::from(model.rate());
        let parts: Vec<&[f32]> = sound.samples.chunks(model.samples()).collect();
        if parts.len() > 1 {
            say(format_args!(
                "note: {seconds:.1} s of sound are read in {} pieces of {length} s, each by itself: words at the \
                 borders may suffer",
                parts.len()
            ));
        }
        let begun = Instant::now();
        let mut pieces: Vec<Piece> = vec![];
        for part in &parts {
            let piece = model.piece(part, &task)?;
            if task.language.is_none()
                && let Some(language) = &piece.language
            {
                say(format_args!("note: the language is taken for {language}"));
                // The others are taken for the same.
                let known = Options { language: Some(language.clone()), ..options.clone() };
                task = model.task(&known)?;
            }
            if !self.json.to_stdout() {
                stdout(&piece.text)?;
            }
            pieces.push(piece);
        }
        let total_ms = begun.elapsed().as_secs_f64() * 1e3;
        if !self.json.to_stdout() {
            stdout("\n")?;
        }
        let fallbacks = model.decoder().prepared().map_or(vec![], |prepared| fallbacks(prepared));
        say_fallbacks(&fallbacks);
        let tokens: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
        say(format_args!("note: {seconds:.1} s of sound in {:.1} s; {tokens} tokens", total_ms / 1e3));
        if self.json.is_wanted() {
            let rows = pieces.iter().enumerate().map(|(at, piece)| Row {
                start: at as f64 * length,
                end: ((at + 1) as f64 * length).min(seconds),
                text: &piece.text,
                tokens: &piece.tokens,
                finish: match piece.finish {
                    Some(Finish::EndOfText(_)) => "end",
                    Some(Finish::Length) => "length",
                    _ => "context",
                },
            });
            let document = Document {
                schema: SCHEMA,
                model: self.model.display().to_string(),
                device: DeviceFields::of(model.encoder().session().gpu()),
                precision: &self.options.precision,
                audio: self.wav.display().to_string(),
                seconds,
                sampling_rate: rate,
                channels,
                language: pieces.iter().find_map(|piece| piece.language.as_deref()),
                text: pieces.iter().map(|piece| piece.text.as_str()).collect(),
                pieces: rows.collect(),
                total_ms,
                fallbacks: &fallbacks,
            };
            // What is streamed already isn't written again.
            self.json.emit(&document, String::new)?;
        }
        Ok(Outcome::Good)
    }
}
