//! `embed`: sentence vectors.

use super::Outcome;
use super::emit::{JsonOption, SCHEMA, say};
use super::options::{
    DeviceFields, Fallback, Precision, RunOptions, Switch, fallbacks, say_fallbacks, say_newer,
};
use clap::Args;
use sardonyx::embed::{Embedder, Embedding, Options, Pooling, Source, cosine};
use sardonyx::error::{Error, ErrorKind, Result};
use sardonyx::{Tensor, onnx};
use serde::Serialize;
use std::io::Read;
use std::path::PathBuf;

/// Vectors of sentences by an encoder of text: near each other where the meanings are
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sardonyx embed models/embed 'A wave came by.' 'The stone laughed.' --similarity\n  \
sardonyx embed all-MiniLM-L6-v2 -o vectors.npy < sentences.txt\n\n\
MODEL is a folder, or an ONNX file with tokenizer.json beside it. Without TEXT each line of standard input is one. \
docs/embed.md says what is read beside the model."
)]
pub struct Embed {
    /// The model's folder, or its ONNX file
    model: PathBuf,
    /// Sentences; without any, the lines of standard input
    texts: Vec<String>,
    /// How tokens' vectors become a text's: cls, max, mean, mean_sqrt_len, weightedmean, lasttoken; several
    /// are put side by side [default: as 1_Pooling/config.json says, or the model's own output]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pooling: Vec<String>,
    /// Whether vectors are brought to length 1 [default: as modules.json says]
    #[arg(long, value_enum)]
    normalize: Option<Switch>,
    /// The most tokens of a text; longer ones are cut off, which is said [default: the model's]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Print the cosines of all pairs, in place of the vectors
    #[arg(long)]
    similarity: bool,
    /// Write the vectors to a file, float32 [texts, numbers]
    #[arg(short, long, value_name = "FILE.npy")]
    output: Option<PathBuf>,
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
    /// Names of poolings; `null`: the model's own output.
    pooling: Option<Vec<&'static str>>,
    normalized: bool,
    max_tokens: Option<usize>,
    dimensions: usize,
    sentences: Vec<Sentence<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<Vec<Vec<f64>>>,
    fallbacks: &'a [Fallback],
}

#[derive(Serialize)]
struct Sentence<'a> {
    text: &'a str,
    tokens: usize,
    /// Of how many tokens the others were cut off.
    cut_from: Option<usize>,
    vector: &'a [f32],
}

impl Embed {
    pub fn run(&self) -> Result<Outcome> {
        let pooling: Vec<Pooling> =
            self.pooling.iter().map(|name| Pooling::of(name)).collect::<Result<_>>()?;
        let options = Options {
            pooling: Some(pooling).filter(|list| !list.is_empty()),
            normalize: self.normalize.map(|switch| switch == Switch::On),
            max_tokens: self.max_tokens,
        };
        // A device is opened for a model that is there.
        std::fs::metadata(&self.model).map_err(|problem| {
            Error::file(&self.model, format!("can't be read: {problem}")).remedy("check the path")
        })?;
        let builder = self.options.builder(self.options.device.open_aloud()?)?;
        let embedder = Embedder::load(&self.model, builder, &options)?;
        say_newer(embedder.session());
        let texts = if self.texts.is_empty() { lines()? } else { self.texts.clone() };
        if texts.is_empty() {
            return Err(
                Error::input("there is no text").remedy("name texts, or write lines to standard input")
            );
        }
        let found = embedder.embed(&texts)?;
        let fallbacks = embedder.prepared().map_or(vec![], |prepared| fallbacks(&prepared));
        say_fallbacks(&fallbacks);
        say_cut(&found);
        let dimensions = found.first().map_or(0, |first| first.vector.len());
        if let Some(path) = &self.output {
            let all = found.iter().flat_map(|one| one.vector.iter().copied()).collect::<Vec<f32>>();
            onnx::write_npy(path, &Tensor::new([found.len(), dimensions], all)?)?;
            say(format_args!("note: {} vectors of {dimensions} numbers in {}", found.len(), path.display()));
        }
        let similarity = self.similarity.then(|| cosines(&found));
        let sentences = texts.iter().zip(&found).map(|(text, one)| Sentence {
            text,
            tokens: one.tokens,
            cut_from: Some(one.whole).filter(|whole| *whole > one.tokens),
            vector: &one.vector,
        });
        let document = Document {
            schema: SCHEMA,
            model: self.model.display().to_string(),
            device: DeviceFields::of(embedder.session().gpu()),
            precision: &self.options.precision,
            pooling: match embedder.source() {
                Source::Model(_) => None,
                Source::Pooled(list) => Some(list.iter().map(|pooling| pooling.name()).collect()),
            },
            normalized: embedder.normalizes(),
            max_tokens: embedder.max_tokens(),
            dimensions,
            sentences: sentences.collect(),
            similarity,
            fallbacks: &fallbacks,
        };
        self.json.emit(&document, || match (&document.similarity, &self.output) {
            (Some(rows), _) => rows.iter().map(|row| line(row.iter().map(|x| format!("{x:.4}")))).collect(),
            // What is in the file isn't printed too.
            (None, Some(_)) => String::new(),
            (None, None) => found.iter().map(|one| line(one.vector.iter().map(f32::to_string))).collect(),
        })?;
        Ok(Outcome::Good)
    }
}

fn line(numbers: impl Iterator<Item = String>) -> String {
    numbers.collect::<Vec<_>>().join(" ") + "\n"
}

/// The lines of standard input.
fn lines() -> Result<Vec<String>> {
    let mut bytes = vec![];
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|problem| {
        Error::new(ErrorKind::File, format!("standard input can't be read: {problem}")).caused_by(problem)
    })?;
    let text = String::from_utf8(bytes).map_err(|problem| {
        let at = problem.utf8_error().valid_up_to();
        Error::input(format!("standard input is not UTF-8: byte {at} can't be decoded"))
            .remedy("convert it to UTF-8")
    })?;
    Ok(text.lines().map(str::to_string).collect())
}

/// Says which texts were cut off.
fn say_cut(found: &[Embedding]) {
    for (at, one) in found.iter().enumerate().filter(|(_, one)| one.whole > one.tokens) {
        say(format_args!(
            "note: text {} has {} tokens; {} are read, the model's limit or --max-tokens",
            at + 1,
            one.whole,
            one.tokens
        ));
    }
}

/// The cosines of all pairs.
fn cosines(found: &[Embedding]) -> Vec<Vec<f64>> {
    let row = |a: &Embedding| found.iter().map(|b| cosine(&a.vector, &b.vector)).collect();
    found.iter().map(row).collect()
}
