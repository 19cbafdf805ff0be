//! A model of two parts: an encoder reads a text, a decoder writes another one of its states.

use super::config::ModelConfig;
use super::cross_decoder::{CrossDecoder, States};
use super::decoder::Overflow;
use super::encoder::Encoder;
use super::forced::ForcedStart;
use super::generator::{Generator, Options, Parts};
use super::model::{DEFAULT_TOKENS, Limits};
use crate::error::{Error, Result, Setting};
use crate::session::SessionBuilder;
use crate::text::{PairFiles, Tokenizer};
use std::time::{Duration, Instant};

/// An encoder, the decoder of its states, their tokenizer and their configuration: T5, BART, Marian and the
/// like.
pub struct Seq2Seq {
    encoder: Encoder,
    decoder: CrossDecoder,
    tokenizer: Tokenizer,
    config: ModelConfig,
    files: PairFiles,
    limits: Limits,
    start: u32,
    encoding: Duration,
}

impl Seq2Seq {
    /// Loads a pair of files, for sessions that are made so.
    ///
    /// Errors: those of loading; a file beside them that is missing, unreadable or another model's, by name;
    /// an encoder whose states aren't what the decoder takes.
    pub fn load(files: PairFiles, builder: SessionBuilder, limits: &Limits) -> Result<Self> {
        let config = ModelConfig::read(&files.files)?;
        let tokenizer = Tokenizer::beside(&files.files)?;
        let start = config.decoder_start.ok_or_else(|| {
            Error::file(&files.decoder, "no file beside it says decoder_start_token_id")
                .remedy("put the model's config.json or generation_config.json beside it")
        })?;
        let encoder = Encoder::open(&files.files.model, builder.clone())?;
        encoder.check_text()?;
        let decoder = CrossDecoder::open(&files, &builder)?;
        decoder.check_states(encoder.file(), encoder.output())?;
        if let Some(scores) = decoder.vocabulary().or(config.vocabulary) {
            tokenizer.check(scores)?;
        }
        let (limits, encoding) = (*limits, Duration::ZERO);
        Ok(Self { encoder, decoder, tokenizer, config, files, limits, start, encoding })
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
    /// What the files beside it say.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// What runs the decoder.
    pub fn decoder(&self) -> &CrossDecoder {
        &self.decoder
    }
    /// What runs the encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }
    /// How long the encoder took for the last text.
    pub fn encoding(&self) -> Duration {
        self.encoding
    }

    /// The context of an answer of so many tokens, the one that it begins with included.
    pub fn context_for(&self, answer: usize) -> usize {
        let needed = answer.saturating_add(1);
        let needed = self.limits.context.unwrap_or(needed);
        self.config.context.map_or(needed, |most| needed.min(most))
    }

    /// Bytes of the keys and values of an answer of so many tokens.
    pub fn kv_bytes(&self, context: usize) -> u64 {
        self.decoder.kv_bytes(context)
    }

    /// Has the encoder read a text's tokens; the answer's tokens follow one by one.
    ///
    /// Errors: a text of no tokens, or of one that the model doesn't have, or longer than the model reads;
    /// options that can't be; memory; those of a run.
    pub fn generate(&mut self, source: &[u32], options: &Options) -> Result<Generator<'_>> {
        options.sampling.check()?;
        if source.is_empty() {
            return Err(Error::input("the text has no tokens").remedy("give a text that isn't empty"));
        }
        let scores = self.encoder.embedding().or(self.decoder.vocabulary());
        if let (Some(most), Some(id)) = (scores, source.iter().max())
            && *id as usize >= most
        {
            let token = self.tokenizer.token(*id).unwrap_or_default();
            return Err(Error::input(format!(
                "the text has token {id} ('{token}'), but the model's vocabulary has {most}"
            ))
            .remedy("leave that token out"));
        }
        if let Some(most) = self.config.context.filter(|most| *most < source.len()) {
            return Err(Error::input(format!(
                "the text has {} tokens, and the model reads {most}",
                source.len()
            ))
            .in_file(&self.files.files.model)
            .remedy("give a shorter text"));
        }
        let context = self.context_for(options.max_tokens.unwrap_or(DEFAULT_TOKENS));
        let (bytes, most) = (self.kv_bytes(context), self.limits.kv_bytes.unwrap_or(u64::MAX));
        if bytes > most {
            return Err(Error::memory(format!(
                "keys and values of {context} tokens take {bytes} bytes, and {most} are allowed"
            ))
            .remedy_by("give a smaller {}", &[Setting::Context]));
        }
        let begun = Instant::now();
        let states = self.encoder.read(source)?;
        self.encoding = begun.elapsed();
        self.decoder.begin(States { states, mask: Some(vec![1; source.len()]) }, context);
        let parts = Parts {
            reader: &mut self.decoder,
            tokenizer: &self.tokenizer,
            eos: &self.config.eos,
            overflow: Overflow::Error,
        };
        let generator = Generator::new(parts, vec![self.start], options.clone());
        Ok(match self.config.forced_bos {
            Some(first) => generator.adjusting(ForcedStart(vec![first])),
            None => generator,
        })
    }
}
