//! `bench --generate`: how fast a language model reads a prompt and goes on from it.

use super::matrix::interrupted;
use super::{Bench, Cell, Context};
use crate::cli::Outcome;
use crate::cli::emit::{SCHEMA, say, told};
use crate::cli::generate::size;
use crate::cli::options::{DeviceFields, Fallback, fallbacks, precision_name};
use comfy_table::{Table, presets};
use sardonyx::bench::{Statistics, milliseconds, peak_host_bytes};
use sardonyx::error::{Error, Result};
use sardonyx::generate::{Decoder, ModelConfig, ModelFiles, sampling};
use sardonyx::random::SplitMix64;
use serde::Serialize;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

/// What is measured: `pp512`, reading 512 tokens of a prompt into an empty cache, or `tg128`, going on for 128
/// tokens from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    reads: bool,
    tokens: usize,
}

/// More tokens than this are a mistake.
const MOST: usize = 1 << 20;

impl FromStr for Test {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (reads, count) = match text.strip_prefix("pp") {
            Some(count) => (true, Some(count)),
            None => (false, text.strip_prefix("tg")),
        };
        let tokens = count.and_then(|count| count.parse().ok()).filter(|count| (1..=MOST).contains(count));
        let tokens = tokens.ok_or("use ppN for a prompt of N tokens, tgN for an answer of N tokens")?;
        Ok(Self { reads, tokens })
    }
}

impl std::fmt::Display for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.reads { "pp" } else { "tg" }, self.tokens)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    context: Context,
    generation: &'a [Row],
}

/// A test of a cell.
#[derive(Serialize)]
struct Row {
    model: String,
    #[serde(flatten)]
    device: Option<DeviceFields>,
    precision: &'static str,
    test: String,
    tokens: usize,
    /// Why it couldn't run; then nothing below is there.
    error: Option<String>,
    #[serde(flatten)]
    measured: Option<Measured>,
}

#[derive(Serialize)]
struct Measured {
    /// Each turn's time.
    times_ms: Vec<f64>,
    tokens_per_s: Rate,
    kv_bytes: u64,
    peak_host_bytes: Option<u64>,
    fallbacks: Vec<Fallback>,
}

#[derive(Serialize)]
struct Rate {
    mean: f64,
    std: f64,
    min: f64,
    median: f64,
    max: f64,
}

impl Bench {
    /// Measures every cell's language model.
    pub fn generate(&self, tests: &[Test]) -> Result<Outcome> {
        super::matrix::hear_interruptions();
        let mut rows = vec![];
        for cell in self.cells().iter().flatten() {
            if interrupted() {
                break;
            }
            rows.extend(self.language_model(cell, tests));
        }
        let document = Document { schema: SCHEMA, context: Context::of(self), generation: &rows };
        self.json.emit(&document, || text(&rows))?;
        if cfg!(debug_assertions) {
            say("note: this is not an optimised build: its times say little");
        }
        match rows.iter().any(|row| row.measured.is_some()) {
            true => Ok(Outcome::Good),
            false => Err(Error::usage("no cell could be measured").remedy("see the reasons above")),
        }
    }

    fn language_model(&self, cell: &Cell, tests: &[Test]) -> Vec<Row> {
        let row = |test: &Test, device: Option<DeviceFields>, measured: Result<Measured>| {
            let error = measured.as_ref().err().map(told);
            if let Some(error) = &error {
                say(format_args!("note: {test} of {cell}: {error}"));
            }
            Row {
                model: cell.model.clone(),
                device,
                precision: precision_name(&cell.precision),
                test: test.to_string(),
                tokens: test.tokens,
                error,
                measured: measured.ok(),
            }
        };
        let opened = || {
            let files = ModelFiles::find(&cell.model)?;
            let config = ModelConfig::read(&files)?;
            let options = self.run_options(cell);
            let builder = options.builder(options.device.open_aloud()?)?;
            Decoder::open(&files.model, builder, &config)
        };
        let mut decoder = match opened().map_err(|error| error.in_file(&cell.model)) {
            Ok(decoder) => decoder,
            Err(error) => {
                return tests.iter().map(|test| row(test, None, Err(error.clone()))).collect();
            }
        };
        let device = DeviceFields::of(decoder.session().gpu());
        let mut rows = vec![];
        for test in tests {
            let measured = self.turns(test, &mut decoder).map_err(|error| error.in_file(&cell.model));
            rows.push(row(test, Some(device.clone()), measured));
        }
        rows
    }

    /// A test's turns: one that isn't counted, in which plans are made, then those that are.
    fn turns(&self, test: &Test, decoder: &mut Decoder) -> Result<Measured> {
        let vocabulary = decoder.embedding().or(decoder.vocabulary()).ok_or_else(|| {
            Error::model("doesn't say how many tokens it has").remedy("use `generate`, which says times too")
        })?;
        // One token to go on from, and what comes behind the last isn't read.
        decoder.reserve(test.tokens + 1)?;
        let mut random = SplitMix64(self.inputs.seed);
        let prompt: Vec<u32> = (0..test.tokens).map(|_| random.below(vocabulary) as u32).collect();
        let mut times = vec![];
        for turn in 0..=self.rounds.unwrap_or(5) {
            if turn > 1 && interrupted() {
                break;
            }
            decoder.clear()?;
            let time =
                if test.reads { read(decoder, &prompt)? } else { answer(decoder, prompt[0], test.tokens)? };
            if turn > 0 {
                times.push(time);
            }
        }
        let rates: Vec<f64> = times.iter().map(|ms| test.tokens as f64 * 1e3 / ms.max(1e-6)).collect();
        let statistics = Statistics::of(&rates).ok_or_else(|| Error::internal("no turn was counted"))?;
        Ok(Measured {
            times_ms: times,
            tokens_per_s: Rate {
                mean: statistics.mean,
                std: statistics.std,
                min: statistics.min,
                median: statistics.median,
                max: statistics.max,
            },
            kv_bytes: decoder.kv_bytes(decoder.context()),
            peak_host_bytes: peak_host_bytes(),
            fallbacks: decoder.prepared().map_or(vec![], |prepared| fallbacks(prepared)),
        })
    }
}

/// Milliseconds for a prompt.
fn read(decoder: &mut Decoder, prompt: &[u32]) -> Result<f64> {
    let start = Instant::now();
    decoder.feed(prompt)?;
    Ok(milliseconds(start.elapsed()))
}

/// Milliseconds for an answer of so many tokens behind one token, the likeliest each time.
fn answer(decoder: &mut Decoder, first: u32, count: usize) -> Result<f64> {
    let greedy = sampling::Sampling::default();
    let mut scores = decoder.feed(&[first])?;
    let start = Instant::now();
    for _ in 0..count {
        let choice = sampling::choose(&scores, sampling::History::default(), &greedy, 0.0)?;
        scores = decoder.feed(&[choice.id])?;
    }
    Ok(milliseconds(start.elapsed()))
}

fn text(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["model", "device", "precision", "test", "tokens/s", "±", "keys and values"]);
    for row in rows {
        let name = Path::new(&row.model)
            .file_name()
            .map_or(row.model.clone(), |name| name.to_string_lossy().into_owned());
        let device = row
            .device
            .as_ref()
            .map_or("-".into(), |device| device.adapter.clone().unwrap_or_else(|| "CPU".into()));
        let mut cells = vec![name, device, row.precision.into(), row.test.clone()];
        match &row.measured {
            Some(measured) => {
                let rate = &measured.tokens_per_s;
                cells.push(format!("{:.1}", rate.mean));
                cells.push(format!("{:.1}", rate.std));
                cells.push(size(measured.kv_bytes));
            }
            None => cells.push(row.error.clone().unwrap_or_default()),
        }
        table.add_row(cells);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_as_elsewhere() {
        assert_eq!("pp512".parse(), Ok(Test { reads: true, tokens: 512 }));
        assert_eq!("tg128".parse::<Test>().map(|test| test.to_string()), Ok("tg128".into()));
        for wrong in ["pp", "pp0", "xx5", "tg-1", "tg99999999", ""] {
            assert!(wrong.parse::<Test>().is_err(), "{wrong}");
        }
    }
}
