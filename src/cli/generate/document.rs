//! The JSON document of an answer.

use super::Generate;
use super::answer::{Answer, Facts};
use crate::cli::emit::SCHEMA;
use crate::cli::options::{DeviceFields, Fallback, Precision};
use sardonyx::generate::{CacheKind, Finish, Sampling};
use serde::Serialize;

#[derive(Serialize)]
pub struct Document<'a> {
    schema: u32,
    model: String,
    #[serde(flatten)]
    device: DeviceFields,
    precision: &'a Precision,
    /// `fixed`, `growing` or `none`.
    cache: &'static str,
    context: usize,
    kv_bytes: u64,
    prompt_tokens: usize,
    /// Of a model in two parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_ms: Option<f64>,
    text: &'a str,
    tokens: Vec<Row<'a>>,
    /// `end`, `length`, `stop`, `context` or `interrupted`.
    finish: &'static str,
    /// The token or the text that ended it.
    finish_by: Option<String>,
    first_token_ms: f64,
    prefill_ms: f64,
    prefill_tokens_per_s: f64,
    decode_ms: f64,
    decode_tokens_per_s: f64,
    sampling: Choosing,
    seed: u64,
    fallbacks: &'a [Fallback],
}

#[derive(Serialize)]
struct Row<'a> {
    id: u32,
    text: &'a str,
    logprob: f32,
    top: Vec<Likely>,
}

#[derive(Serialize)]
struct Likely {
    id: u32,
    token: Option<String>,
    logprob: f32,
}

#[derive(Serialize)]
struct Choosing {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
}

impl From<Sampling> for Choosing {
    fn from(sampling: Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition,
            presence_penalty: sampling.presence,
            frequency_penalty: sampling.frequency,
        }
    }
}

impl<'a> Document<'a> {
    pub fn of(verb: &'a Generate, facts: &Facts, answer: &'a Answer) -> Self {
        let times = &answer.timings;
        let likely = |(id, logprob): &(u32, f32)| Likely {
            id: *id,
            token: facts.tokenizer.token(*id),
            logprob: *logprob,
        };
        let rows = answer.tokens.iter().map(|token| Row {
            id: token.id,
            text: &token.text,
            logprob: token.logprob,
            top: token.top.iter().map(likely).collect(),
        });
        let (finish, finish_by) = match &answer.finish {
            Some(Finish::EndOfText(id)) => ("end", facts.tokenizer.token(*id)),
            Some(Finish::Length) => ("length", None),
            Some(Finish::Stop(text)) => ("stop", Some(text.clone())),
            Some(Finish::Context) => ("context", None),
            None => ("interrupted", None),
        };
        let options = verb.sampling.options(facts.config);
        Self {
            schema: SCHEMA,
            model: verb.model.display().to_string(),
            device: facts.device.clone(),
            precision: &verb.options.precision,
            cache: match facts.cache {
                CacheKind::Fixed => "fixed",
                CacheKind::Growing => "growing",
                CacheKind::None => "none",
            },
            context: facts.context,
            kv_bytes: facts.kv_bytes,
            prompt_tokens: facts.encoder.map_or(times.prompt_tokens, |(tokens, _)| tokens),
            encoder_ms: facts.encoder.map(|(_, time)| time.as_secs_f64() * 1e3),
            text: &answer.text,
            tokens: rows.collect(),
            finish,
            finish_by,
            first_token_ms: times.first_token.as_secs_f64() * 1e3,
            prefill_ms: times.prefill.as_secs_f64() * 1e3,
            prefill_tokens_per_s: times.prefill_rate(),
            decode_ms: times.decode.as_secs_f64() * 1e3,
            decode_tokens_per_s: times.decode_rate(),
            sampling: options.sampling.into(),
            seed: options.seed,
            fallbacks: &answer.fallbacks,
        }
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{:.1} KiB", bytes as f64 / 1024.0),
        MIB..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        _ => format!("{:.2} GiB", bytes as f64 / (1 << 30) as f64),
    }
}
