//! An answer, and what is said of it.

use super::document::size;
use crate::cli::options::Fallback;
use sardonyx::generate::{CacheKind, Finish, LanguageModel, Timings, Token};

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
    pub fn summary(&self, model: &LanguageModel) -> String {
        let times = &self.timings;
        let reused = match times.reused_tokens {
            0 => String::new(),
            count => format!(" ({count} more were there)"),
        };
        let kept = match model.decoder().kind() {
            CacheKind::None => "the model has no cache".to_string(),
            _ => format!("keys and values {}", size(model.kv_bytes(model.decoder().context()))),
        };
        format!(
            "note: first token after {:.0} ms; prompt {} tokens{reused}, {:.1} tokens/s; answer {} tokens, {:.1} \
             tokens/s; {kept}; {}",
            times.first_token.as_secs_f64() * 1e3,
            times.prompt_tokens,
            times.prefill_rate(),
            times.tokens,
            times.decode_rate(),
            self.ended(model)
        )
    }

    fn ended(&self, model: &LanguageModel) -> String {
        match &self.finish {
            Some(Finish::EndOfText(id)) => {
                let token = model.tokenizer().token(*id).unwrap_or_else(|| id.to_string());
                format!("ended by {token}")
            }
            Some(Finish::Length) => "ended with the most tokens asked for".into(),
            Some(Finish::Stop(text)) => format!("ended before {text:?}"),
            Some(Finish::Context) => "ended where the context is full".into(),
            None => "interrupted".into(),
        }
    }
}
