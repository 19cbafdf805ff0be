//! Tokens one by one.

use super::decoder::Overflow;
use super::sampling::{self, History, Sampling};
use super::stop::StopStrings;
use super::stream::TextStream;
use crate::error::Result;
use crate::random::SplitMix64;
use crate::text::Tokenizer;
use std::time::{Duration, Instant};

/// How an answer is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What random numbers begin with.
    pub seed: u64,
    /// The most tokens of the answer; until it ends by itself or the context is full, unless said.
    pub max_tokens: Option<usize>,
    /// Strings that end it, and aren't shown.
    pub stop: Vec<String>,
    /// Goes on behind a token that ends a text: for measurements.
    pub ignore_eos: bool,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its number.
    pub id: u32,
    /// What can be shown of the text now that it is there: nothing while a character isn't whole, or a stop
    /// string may have begun; more than itself afterwards. The texts of all tokens are the whole answer.
    pub text: String,
    /// The logarithm of its probability by the model, all options aside.
    pub logprob: f32,
    /// The likeliest tokens with the same.
    pub top: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// By a token that ends a text.
    EndOfText(u32),
    /// With as many tokens as were asked for.
    Length,
    /// By a stop string.
    Stop(String),
    /// The context is full.
    Context,
}

/// How long it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokens of the prompt that were read, and those that were in the cache already.
    pub prompt_tokens: usize,
    /// See `prompt_tokens`.
    pub reused_tokens: usize,
    /// Reading them.
    pub prefill: Duration,
    /// From the start to the first token.
    pub first_token: Duration,
    /// Tokens of the answer.
    pub tokens: usize,
    /// All of them but the first.
    pub decode: Duration,
}

impl Timings {
    /// Tokens of the prompt a second.
    pub fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill)
    }
    /// Tokens of the answer a second, all but the first.
    pub fn decode_rate(&self) -> f64 {
        rate(self.tokens.saturating_sub(1), self.decode)
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// What sees the scores before a token is chosen by them: grammars forbid tokens by −∞, and the like.
pub trait AdjustLogits: Send {
    /// Changes the scores `[vocabulary]` of the token behind those of the prompt and the answer.
    ///
    /// Errors end the answer.
    fn adjust(&mut self, prompt: &[u32], answer: &[u32], logits: &mut [f32]) -> Result<()>;
}

/// What reads tokens, and gives scores for the next one: a decoder, alone or of an encoder's states.
pub(crate) trait Reader {
    /// The tokens that there is memory for.
    fn context(&self) -> usize;
    /// What was read.
    fn tokens(&self) -> &[u32];
    /// Forgets what was read behind the first `count` tokens, or more; how many are left.
    fn truncate(&mut self, count: usize) -> Result<usize>;
    /// Reads tokens; the scores `[vocabulary]` for what comes behind the last of them.
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>>;
}

/// What an answer is made by.
pub(crate) struct Parts<'m> {
    pub reader: &'m mut dyn Reader,
    pub tokenizer: &'m Tokenizer,
    /// Tokens that end an answer.
    pub eos: &'m [u32],
    pub overflow: Overflow,
}

/// An answer: an iterator of its tokens. It ends behind the last one, or behind an error.
pub struct Generator<'m> {
    parts: Parts<'m>,
    options: Options,
    prompt: Vec<u32>,
    answer: Vec<u32>,
    random: SplitMix64,
    stream: TextStream,
    stop: StopStrings,
    adjust: Vec<Box<dyn AdjustLogits>>,
    finish: Option<Finish>,
    failed: bool,
    timings: Timings,
}

impl<'m> Generator<'m> {
    pub(crate) fn new(parts: Parts<'m>, prompt: Vec<u32>, options: Options) -> Self {
        Self {
            parts,
            prompt,
            answer: vec![],
            random: SplitMix64(options.seed),
            stream: TextStream::default(),
            stop: StopStrings::new(options.stop.iter().cloned()),
            adjust: vec![],
            finish: None,
            failed: false,
            timings: Timings::default(),
            options,
        }
    }

    /// Has the scores changed before each choice, behind what changes them already.
    pub fn adjusting(mut self, adjust: impl AdjustLogits + 'static) -> Self {
        self.adjust.push(Box::new(adjust));
        self
    }
    /// Why the answer ended, once it has.
    pub fn finish(&self) -> Option<&Finish> {
        self.finish.as_ref()
    }
    /// How long it has taken so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }
    /// The answer's tokens so far.
    pub fn answer(&self) -> &[u32] {
        &self.answer
    }

    /// Scores for the next token: what isn't read yet is read.
    fn scores(&mut self) -> Result<Vec<f32>> {
        let decoder = &mut *self.parts.reader;
        let context = decoder.context();
        let Some(last) = self.answer.last().copied() else {
            let mut prompt = self.prompt.as_slice();
            if prompt.len() >= context {
                // By LanguageModel::generate, only where the window slides.
                prompt = &prompt[prompt.len() - (context / 2).max(1)..];
            }
            // At least one token is read: its scores aren't kept.
            let same = decoder.tokens().iter().zip(&prompt[..prompt.len() - 1]).take_while(|(a, b)| a == b);
            let same = same.count();
            let left = decoder.truncate(same)?;
            self.timings.reused_tokens = left;
            self.timings.prompt_tokens = prompt.len() - left;
            return decoder.feed(&prompt[left..]);
        };
        if decoder.tokens().len() < context {
            return decoder.feed(&[last]);
        }
        // The window slides: the newer half is read again.
        let kept = decoder.tokens()[context - context / 2..].to_vec();
        decoder.truncate(0)?;
        decoder.feed(&[kept.as_slice(), &[last]].concat())
    }

    fn step(&mut self) -> Result<Token> {
        let start = Instant::now();
        let first = self.answer.is_empty();
        let mut scores = self.scores()?;
        if first {
            self.timings.prefill = start.elapsed();
        }
        for adjust in &mut self.adjust {
            adjust.adjust(&self.prompt, &self.answer, &mut scores)?;
        }
        let random = if self.options.sampling.temperature == 0.0 { 0.0 } else { self.random.unit() };
        let history = History { prompt: &self.prompt, answer: &self.answer };
        let choice = sampling::choose(&scores, history, &self.options.sampling, random)?;
        self.answer.push(choice.id);
        let text = self.text_of(choice.id)?;
        self.timings.tokens = self.answer.len();
        match first {
            true => self.timings.first_token = start.elapsed(),
            false => self.timings.decode += start.elapsed(),
        }
        Ok(Token { id: choice.id, text, logprob: choice.logprob, top: choice.top })
    }

    /// What a token adds to the text, and whether that is the end.
    fn text_of(&mut self, id: u32) -> Result<String> {
        let tokenizer = self.parts.tokenizer;
        let mut text = String::new();
        if self.parts.eos.contains(&id) && !self.options.ignore_eos {
            self.finish = Some(Finish::EndOfText(id));
        } else {
            let piece = self.stream.push(tokenizer, id)?;
            let (shown, stop) = self.stop.push(&piece);
            text += &shown;
            if let Some(stop) = stop {
                self.finish = Some(Finish::Stop(stop.to_string()));
                return Ok(text);
            }
            let whole = self.prompt.len().saturating_add(self.answer.len());
            if self.options.max_tokens.is_some_and(|most| self.answer.len() >= most) {
                self.finish = Some(Finish::Length);
            } else if whole > self.parts.reader.context() && self.parts.overflow == Overflow::Error {
                self.finish = Some(Finish::Context);
            }
        }
        if self.finish.is_some() {
            let (shown, stop) = self.stop.push(&self.stream.finish(tokenizer)?);
            text += &shown;
            match stop.map(str::to_string) {
                Some(stop) => self.finish = Some(Finish::Stop(stop)),
                None => text += &self.stop.finish(),
            }
        }
        Ok(text)
    }
}

impl Iterator for Generator<'_> {
    type Item = Result<Token>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.finish.is_some() {
            return None;
        }
        if self.options.max_tokens == Some(0) {
            self.finish = Some(Finish::Length);
            return None;
        }
        let token = self.step();
        self.failed = token.is_err();
        Some(token)
    }
}
