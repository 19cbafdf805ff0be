//! An answer, and what is said of it.

use super::document::size;
use crate::cli::options::{DeviceFields, Fallback};
use sardonyx::generate::{CacheKind, Finish, LanguageModel, ModelConfig, Seq2Seq, Timings, Token, Tokenizer};
use std::time::Duration;

/// What is said of a model beside its answer.
pub struct Facts<'a> {
    pub tokenizer: &'a Tokenizer,
    pub config: &'a ModelConfig,
    pub cache: CacheKind,
    pub context: usize,
    pub kv_bytes: u64,
    pub device: DeviceFields,
    /// What an encoder has read, in tokens, and how long that took.
    pub encoder: Option<(usize, Duration)>,
}

impl<'a> Facts<'a> {
    pub fn of(model: &'a LanguageModel) -> Self {
        let decoder = model.decoder();
        Self {
            tokenizer: model.tokenizer(),
            config: model.config(),
            cache: decoder.kind(),
            context: decoder.context(),
            kv_bytes: model.kv_bytes(decoder.context()),
            device: DeviceFields::of(decoder.session().gpu()),
            encoder: None,
        }
    }

    pub fn of_pair(model: &'a Seq2Seq, source: usize, context: usize) -> Self {
        Self {
            tokenizer: model.tokenizer(),
            config: model.config(),
            cache: model.decoder().kind(),
            context,
            kv_bytes: model.kv_bytes(context),
            device: DeviceFields::of(model.decoder().session().gpu()),
            encoder: Some((source, model.encoding())),
        }
    }
}

#[derive(Default)]
pub struct Answer {
    pub tokens: Vec<Token>,
    pub text: String,
    /// Why it ended; `None`: it was interrupted.
    pub finish: Option<Finish>,
    pub timings: Timings,
    pub fallbacks: Vec<Fallback>,
}

impl Answer {
    /// A line: how long it took, and what it took.
    pub fn summary(&self, facts: &Facts) -> String {
        let times = &self.timings;
        let reused = match times.reused_tokens {
            0 => String::new(),
            count => format!(" ({count} more were there)"),
        };
        let kept = match facts.cache {
            CacheKind::None => "the model has no cache".to_string(),
            _ => format!("keys and values {}", size(facts.kv_bytes)),
        };
        if let Some((tokens, time)) = facts.encoder {
            return format!(
                "note: the encoder read {tokens} tokens in {:.0} ms; answer {} tokens, {:.1} tokens/s; {kept}; {}",
                time.as_secs_f64() * 1e3,
                times.tokens,
                times.decode_rate(),
                self.ended(facts)
            );
        }
        format!(
            "note: first token after {:.0} ms; prompt {} tokens{reused}, {:.1} tokens/s; answer {} tokens, {:.1} \
             tokens/s; {kept}; {}",
            times.first_token.as_secs_f64() * 1e3,
            times.prompt_tokens,
            times.prefill_rate(),
            times.tokens,
            times.decode_rate(),
            self.ended(facts)
        )
    }

    fn ended(&self, facts: &Facts) -> String {
        match &self.finish {
            Some(Finish::EndOfText(id)) => {
                let token = facts.tokenizer.token(*id).unwrap_or_else(|| id.to_string());
                format!("ended by {token}")
            }
            Some(Finish::Length) => "ended with the most tokens asked for".into(),
            Some(Finish::Stop(text)) => format!("ended before {text:?}"),
            Some(Finish::Context) => "ended where the context is full".into(),
            None => "interrupted".into(),
        }
    }
}
