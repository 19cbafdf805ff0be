//! A language model with all that lies beside it.

use super::config::ModelConfig;
use super::decoder::{Decoder, Overflow};
use super::generator::{Generator, Options, Parts};
use super::template::{ChatTemplate, Message};
use crate::error::{Error, Result, Setting};
use crate::session::SessionBuilder;
use crate::text::{ModelFiles, Tokenizer};
use std::path::Path;

/// How much a model may look back on, and take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most tokens of prompt and answer together; as many as each answer may need, unless said.
    pub context: Option<usize>,
    /// What to do where that isn't enough.
    pub overflow: Overflow,
    /// The most bytes that keys and values may take.
    pub kv_bytes: Option<u64>,
}

/// A decoder, its tokenizer, its chat template and its configuration.
///
/// What was read stays in the cache: a prompt that begins as the last one did, with its answer, as a
/// conversation does, is read from there on.
pub struct LanguageModel {
    decoder: Decoder,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    config: ModelConfig,
    files: ModelFiles,
    limits: Limits,
    /// Tokens that end an answer.
    eos: Vec<u32>,
}

impl LanguageModel {
    /// Loads a model by its folder or its file, for a session that is made so.
    ///
    /// Errors: those of loading a model; a file beside it that is missing, unreadable or another model's, by
    /// name; a context beyond what the model can look back on.
    pub fn load(path: impl AsRef<Path>, builder: SessionBuilder, limits: &Limits) -> Result<Self> {
        let files = ModelFiles::find(path)?;
        // What is small is looked at before the weights are read.
        let config = ModelConfig::read(&files)?;
        let tokenizer = Tokenizer::beside(&files)?;
        let template = ChatTemplate::beside(&files)?;
        if let (Some(wanted), Some(most)) = (limits.context, config.context)
            && wanted > most
        {
            return Err(Error::usage(format!(
                "a context of {wanted} tokens is asked for; the model's is {most}"
            ))
            .in_file(&files.model)
            .remedy(format!("ask for at most {most}")));
        }
        let decoder = Decoder::open(&files.model, builder, &config)?;
        let model =
            Self { eos: config.eos.clone(), decoder, tokenizer, template, config, files, limits: *limits };
        model.check().map_err(|error| error.in_file(&model.files.model))?;
        Ok(model)
    }

    /// Errors where the model isn't what the files beside it say.
    fn check(&self) -> Result<()> {
        let (config, decoder) = (&self.config, &self.decoder);
        let differs = |what: &str, own: usize, said: usize| {
            Err(Error::model(format!("has {own} {what}, but the configuration beside it says {said}"))
                .remedy("take the configuration that came with the model"))
        };
        if let (Some(own), Some(said)) = (decoder.vocabulary(), config.vocabulary)
            && own != said
        {
            return differs("scores for each token", own, said);
        }
        for scores in [decoder.vocabulary().or(config.vocabulary), decoder.embedding()].into_iter().flatten()
        {
            self.tokenizer.check(scores)?;
        }
        let caches: Vec<&[usize]> = decoder.cache_shapes().collect();
        if let (Some(said), [first, ..]) = (config.layers, &*caches) {
            let per_layer = if first.len() == 5 { 1 } else { 2 };
            if caches.len() != said.saturating_mul(per_layer) {
                return differs("layers with caches", caches.len() / per_layer, said);
            }
            let (heads, size) = (first[first.len() - 3], first[first.len() - 1]);
            for (what, own, said) in
                [("heads of keys", heads, config.kv_heads), ("numbers in a key", size, config.head_size)]
            {
                if let Some(said) = said.filter(|said| *said != own) {
                    return differs(what, own, said);
                }
            }
        }
        Ok(())
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
    /// Its chat template, if it has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }
    /// What the files beside it say.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// Its files.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }
    /// What runs it.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
    /// The same, to feed it by oneself.
    pub fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.decoder
    }
    /// What to do with a text that is longer than the context.
    pub fn overflow(&self) -> Overflow {
        self.limits.overflow
    }

    /// The tokens of a conversation, with what the answer begins with.
    ///
    /// Errors: the model has no chat template, or it refuses the messages.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::file(&self.files.model, "has no chat template beside it")
                .remedy("give a prompt as it is; or put tokenizer_config.json with a chat_template beside it")
        })?;
        // The template writes the tokens that begin a text by itself.
        self.tokenizer.encode(&template.render(messages, true)?, false)
    }

    /// Has every answer share one context of so many tokens, where none was asked for.
    pub fn limit_context(&mut self, most: usize) {
        self.limits.context.get_or_insert(most);
    }

    /// The context that a prompt of so many tokens is given, with so many to come.
    pub fn context_for(&self, prompt: usize, answer: usize) -> usize {
        let needed = prompt.saturating_add(answer);
        let needed = needed.checked_next_multiple_of(32).unwrap_or(needed);
        let needed = self.config.context.map_or(needed, |most| needed.min(most));
        self.limits.context.unwrap_or(needed)
    }

    /// Bytes of keys and values for a context of so many tokens.
    pub fn kv_bytes(&self, context: usize) -> u64 {
        self.decoder.kv_bytes(context)
    }

    /// Takes the memory for a context, unless there is as much already.
    ///
    /// Errors: more than [`Limits::kv_bytes`] allows, or than there is.
    pub fn reserve(&mut self, context: usize) -> Result<()> {
        if context <= self.decoder.context() {
            return Ok(());
        }
        let (bytes, most) = (self.kv_bytes(context), self.limits.kv_bytes.unwrap_or(u64::MAX));
        if bytes > most {
            return Err(Error::memory(format!(
                "keys and values of {context} tokens take {bytes} bytes, and {most} are allowed"
            ))
            .remedy_by("give a smaller {}", &[Setting::Context]));
        }
        self.decoder.reserve(context)
    }

    /// Goes on from a prompt's tokens. Nothing runs before the iterator is asked.
    ///
    /// Errors: a prompt of no tokens, or of one that the model doesn't have, or one beyond the context;
    /// options that can't be; memory.
    pub fn generate(&mut self, prompt: &[u32], options: &Options) -> Result<Generator<'_>> {
        options.sampling.check()?;
        if prompt.is_empty() {
            return Err(Error::input("the prompt has no tokens").remedy("give a prompt that isn't empty"));
        }
        let scores = self.decoder.embedding().or(self.decoder.vocabulary());
        if let (Some(most), Some(id)) = (scores, prompt.iter().max())
            && *id as usize >= most
        {
            let token = self.tokenizer.token(*id).unwrap_or_default();
            return Err(Error::input(format!(
                "the prompt has token {id} ('{token}'), but the model's vocabulary has {most}"
            ))
            .remedy("leave that token out"));
        }
        self.reserve(self.context_for(prompt.len(), options.max_tokens.unwrap_or(DEFAULT_TOKENS)))?;
        let context = self.decoder.context();
        if prompt.len() >= context && self.limits.overflow == Overflow::Error {
            return Err(Error::input(format!(
                "the prompt has {} tokens, and the context {context}, an answer included",
                prompt.len()
            ))
            .remedy_by(
                "give a larger {} or a shorter prompt, or {} to forget what is oldest",
                &[Setting::Context, Setting::Window],
            ));
        }
        let parts = Parts {
            reader: &mut self.decoder,
            tokenizer: &self.tokenizer,
            eos: &self.eos,
            overflow: self.limits.overflow,
        };
        Ok(Generator::new(parts, prompt.to_vec(), options.clone()))
    }
}

/// Tokens that memory is taken for where an answer has no limit.
pub(crate) const DEFAULT_TOKENS: usize = 1024;
