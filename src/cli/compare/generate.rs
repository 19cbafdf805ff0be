//! `compare --generate`: a device and the CPU over the same text, token by token.

use super::Compare;
use crate::cli::Outcome;
use crate::cli::emit::{SCHEMA, say};
use crate::cli::options::{DeviceFields, Fallback, fallbacks, say_fallbacks};
use sardonyx::Session;
use sardonyx::compare::{Options, Reference, Verdict, compare};
use sardonyx::error::{Error, Result};
use sardonyx::generate::sampling::{History, Sampling, choose};
use sardonyx::generate::{Decoder, LanguageModel, Limits, ModelConfig};
use serde::Serialize;
use std::fmt::Write;

/// What the text begins with, unless it is given.
const PROMPT: &str = "The history of the steam engine begins with";

#[derive(Serialize)]
struct Document {
    schema: u32,
    model: String,
    #[serde(flatten)]
    device: DeviceFields,
    reference: &'static str,
    verdict: &'static str,
    /// The text that both read, and its tokens.
    text: String,
    tokens: Vec<u32>,
    /// How many of them were the prompt's.
    prompt_tokens: usize,
    /// Of how many tokens the likeliest next one is the reference's, as a share.
    top1: f64,
    /// The largest difference of a score, and the largest score there is.
    max_abs: f32,
    largest: f32,
    parted: Option<Parting>,
    /// At how many tokens they part.
    partings: usize,
    fallbacks: Vec<Fallback>,
}

/// The first token behind which the two go on differently.
#[derive(Serialize)]
struct Parting {
    /// Its place in the text.
    token: usize,
    expected: Choice,
    found: Choice,
    /// By how much the reference prefers its choice to the device's.
    margin: f32,
    /// How far scores are apart there.
    max_abs: f32,
    /// Whether every step of that run is as near as rounding lets it be.
    step: &'static str,
    /// The first step that isn't.
    node: Option<String>,
    op: Option<String>,
}

#[derive(Serialize)]
struct Choice {
    id: u32,
    text: String,
}

impl Compare {
    pub fn of_text(&self, count: usize) -> Result<Outcome> {
        let named = |error: Error| error.in_file(&self.model);
        let limits = Limits::default();
        let mut reference = LanguageModel::load(&self.model, Session::builder(), &limits)?;
        let prompt = reference.tokenizer().encode(self.prompt.as_deref().unwrap_or(PROMPT), true)?;
        if prompt.is_empty() {
            return Err(Error::input("the prompt has no tokens").remedy("give a --prompt that isn't empty"));
        }
        let context = reference.context_for(prompt.len(), count);
        if prompt.len().saturating_add(count) > context {
            return Err(Error::usage(format!(
                "{} tokens of prompt and {count} more are beyond the model's context of {context}",
                prompt.len()
            ))
            .remedy("ask for fewer"));
        }
        let builder = self.builder(self.options.device.open_aloud()?)?;
        let config: &ModelConfig = reference.config();
        let mut device = Decoder::open(&reference.files().model.clone(), builder, config)?;
        reference.reserve(context).map_err(named)?;
        device.reserve(context).map_err(named)?;
        let mut found = Tally::default();
        let mut tokens = prompt.clone();
        let expected = reference.decoder_mut().feed_for_all(&prompt).map_err(named)?;
        let width = expected.len() / prompt.len();
        let made = device.feed_for_all(&prompt).map_err(named)?;
        let mut next = 0;
        for (expected, made) in expected.chunks(width).zip(made.chunks(width)) {
            next = found.add(expected, made)?;
        }
        for _ in 0..count {
            tokens.push(next);
            let expected = reference.decoder_mut().feed(&[next]).map_err(named)?;
            next = found.add(&expected, &device.feed(&[next]).map_err(named)?)?;
        }
        let mut parted = None;
        if let Some(first) = found.first.take() {
            parted = Some(self.parting(first, &tokens, &mut reference, &device).map_err(named)?);
        }
        let same = parted.as_ref().is_none_or(|parting| parting.step == "same");
        let fallbacks = device.prepared().map_or(vec![], |prepared| fallbacks(prepared));
        say_fallbacks(&fallbacks);
        let document = Document {
            schema: SCHEMA,
            model: self.model.display().to_string(),
            device: DeviceFields::of(device.session().gpu()),
            reference: "cpu",
            verdict: if same { "same" } else { "different" },
            text: reference.tokenizer().decode(&tokens)?,
            prompt_tokens: prompt.len(),
            top1: 1.0 - found.partings as f64 / tokens.len() as f64,
            tokens,
            max_abs: found.max_abs,
            largest: found.largest,
            parted,
            partings: found.partings,
            fallbacks,
        };
        self.json.emit(&document, || text(&document))?;
        Ok(if same { Outcome::Good } else { Outcome::NotGood })
    }

    /// What is to be said of the first parting: the run in which it came about, node by node.
    fn parting(
        &self,
        first: First,
        tokens: &[u32],
        reference: &mut LanguageModel,
        device: &Decoder,
    ) -> Result<Parting> {
        say("note: comparing the run in which they part, node by node");
        let decoder = reference.decoder_mut();
        decoder.clear()?;
        if first.token > 0 {
            decoder.feed(&tokens[..first.token])?;
        }
        let inputs = decoder.inputs_for(&tokens[first.token..=first.token])?;
        let inputs: Vec<(&str, sardonyx::Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let session = device.session();
        let options = Options { reference: Reference::CpuF64, per_node: true, tolerance: None };
        let report = compare(session, &session.bind(&inputs)?, &options)?;
        let choice =
            |id: u32| -> Result<Choice> { Ok(Choice { id, text: reference.tokenizer().decode(&[id])? }) };
        let different = report.first_different.as_ref();
        Ok(Parting {
            token: first.token,
            expected: choice(first.expected)?,
            found: choice(first.found)?,
            margin: first.margin,
            max_abs: first.max_abs,
            step: if report.verdict == Verdict::Same { "same" } else { "different" },
            node: different.map(|first| first.node.clone()),
            op: different.map(|first| first.op.clone()),
        })
    }
}

/// What is counted over a text.
#[derive(Default)]
struct Tally {
    count: usize,
    partings: usize,
    max_abs: f32,
    largest: f32,
    first: Option<First>,
}

struct First {
    token: usize,
    expected: u32,
    found: u32,
    margin: f32,
    max_abs: f32,
}

impl Tally {
    /// Adds a token's scores; the token that the reference goes on with.
    fn add(&mut self, expected: &[f32], found: &[f32]) -> Result<u32> {
        let likeliest = |scores| choose(scores, History::default(), &Sampling::default(), 0.0);
        let (own, other) = (likeliest(expected)?.id, likeliest(found)?.id);
        let apart = expected.iter().zip(found).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        self.max_abs = self.max_abs.max(apart);
        self.largest = expected.iter().fold(self.largest, |most, x| most.max(x.abs()));
        if own != other {
            self.partings += 1;
            self.first.get_or_insert(First {
                token: self.count,
                expected: own,
                found: other,
                margin: expected[own as usize] - expected[other as usize],
                max_abs: apart,
            });
        }
        self.count += 1;
        Ok(own)
    }
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    let count = document.tokens.len();
    _ = writeln!(
        text,
        "{count} tokens, of which {} of the prompt: Top-1 {:.2} %, scores off by at most {:.2e} of {:.2e}",
        document.prompt_tokens,
        document.top1 * 100.0,
        document.max_abs,
        document.largest
    );
    if let Some(parted) = &document.parted {
        _ = writeln!(
            text,
            "they part behind token {}: {:?} against {:?}, which the reference prefers by {:.2e}; scores are off by at \
             most {:.2e} there",
            parted.token, parted.found.text, parted.expected.text, parted.margin, parted.max_abs
        );
        match (&parted.node, &parted.op) {
            (Some(node), Some(op)) => _ = writeln!(text, "first different: node '{node}' ({op})"),
            _ => _ = writeln!(text, "every step of that run is as near as rounding lets it be"),
        }
    }
    _ = writeln!(text, "{}", document.verdict);
    text
}
