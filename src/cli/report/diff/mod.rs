//! `report diff`: what became faster or slower from one file of results to another.

mod comparable;
mod judge;

use super::super::Outcome;
use super::super::emit::{JsonOption, SCHEMA};
use super::document::aligned;
use super::markdown::{escaped, table};
use super::names::model_labels;
use super::units::ms;
use super::{one_stdout, put, read};
use clap::Args;
pub use comparable::Reason;
use judge::{Judgement, Row};
use sardonyx::bench::{Difference, DifferenceOptions};
use sardonyx::error::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Say what is faster, slower or the same in a second file of results, model by model
#[derive(Args)]
#[command(
    after_help = "Example:\n  sardonyx bench *.onnx --json before.json; sardonyx bench *.onnx --json after.json\n  \
sardonyx report diff before.json after.json\n\n\
The ratio is the median time after ÷ before. Its interval (95 %) is by bootstrap over rounds of runs; slower and faster are told\n\
where the whole interval lies beyond --min-change. A file without rounds has its runs cut into blocks. What differs from process to\n\
process isn't in the interval: on a busy machine take a larger --min-change, or longer rounds. Cells are the same by model hash, device, precision, batch and shapes.\n\
Exit code: 0 nothing is slower, 1 something is slower, fails now or is wrong now, 2 nothing could be compared.\n\
JSON: {\"schema\", \"before\", \"after\", \"counts\", \"cells\": [{\"model\", \"device\", \"precision\", \"batch\", \"judgement\", \"before_ms\", \"after_ms\",\n\
\"ratio\", \"interval\", \"rounds\", \"reason\"}]}"
)]
pub struct Diff {
    /// Results before
    before: PathBuf,
    /// Results after
    after: PathBuf,
    /// The smallest change that counts, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = MIN_CHANGE, value_parser = percent)]
    min_change: f64,
    /// Compare although this differs
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    ignore: Vec<Reason>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the table as Markdown; with - to standard output
    #[arg(long, value_name = "FILE|-")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
}

fn percent(text: &str) -> std::result::Result<f64, String> {
    let number: f64 =
        text.trim().trim_end_matches('%').parse().map_err(|_| format!("'{text}' is no number"))?;
    let allowed = (0.0..=1000.0).contains(&number);
    allowed.then_some(number).ok_or_else(|| format!("'{text}' is not between 0 and 1000"))
}

#[derive(Serialize)]
pub struct Document {
    schema: u32,
    before: String,
    after: String,
    confidence: f64,
    min_change_percent: f64,
    counts: Counts,
    cells: Vec<Row>,
}

#[derive(Serialize, Default)]
struct Counts {
    faster: usize,
    slower: usize,
    no_difference: usize,
    fails_now: usize,
    wrong_now: usize,
    not_comparable: usize,
}

impl Diff {
    pub fn run(&self) -> Result<Outcome> {
        let taken = one_stdout(&[self.markdown.as_deref()], &self.json)?;
        let (before, after) = (read::read(&self.before)?, read::read(&self.after)?);
        let names = [self.before.display().to_string(), self.after.display().to_string()];
        let document = between([&before, &after], names, self.min_change, &self.ignore, self.seed)?;
        if let Some(path) = &self.markdown {
            put(path, self.markdown_text(&document.cells, &document.counts).as_bytes())?;
        }
        self.json.emit(&document, || if taken { String::new() } else { document.text() })?;
        Ok(document.outcome())
    }

    fn markdown_text(&self, rows: &[Row], counts: &Counts) -> String {
        let lines: Vec<Vec<String>> =
            rows.iter().map(|row| fields(row).map(|field| escaped(&field)).to_vec()).collect();
        let reasons: String = reasons(rows).iter().map(|reason| format!("- {}\n", escaped(reason))).collect();
        let [first, second] = [&self.before, &self.after].map(|path| escaped(&name(path)));
        let header: Vec<String> = HEADER
            .iter()
            .enumerate()
            .map(|(index, name)| if (3..8).contains(&index) { format!(">{name}") } else { name.to_string() })
            .collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        super::markdown::bounded(&format!(
            "**{}** ({second} against {first})\n\n{}\n{reasons}\nRatio: the median time after ÷ before, with its 95 % interval; changes of up to {} % don't count.\n",
            summary(counts),
            table(&header, &lines),
            self.min_change
        ))
    }
}

/// The smallest change that counts, in percent, where nothing else is asked for.
pub const MIN_CHANGE: f64 = 5.0;

/// Judges the cells of two files of results, which go by `names`.
///
/// Errors: no cell is comparable, with the first reason.
pub fn between(
    [before, after]: [&read::Document; 2],
    names: [String; 2],
    min_change: f64,
    ignore: &[Reason],
    seed: u64,
) -> Result<Document> {
    let options =
        DifferenceOptions { smallest: 1.0 + min_change / 100.0, seed, ..DifferenceOptions::default() };
    let contexts = [&before.context, &after.context];
    let pairs = comparable::pairs(before, after);
    let mut rows: Vec<Row> =
        pairs.iter().filter_map(|pair| judge::judge(pair, contexts, ignore, &options)).collect();
    shorten(&mut rows);
    let counts = counts(&rows);
    let [before, after] = names;
    if counts.not_comparable == rows.len() {
        let reason = rows.iter().find_map(|row| Some(format!("{}: {}", row.model, row.reason.as_ref()?)));
        let more = if rows.len() > 1 { format!(" (and {} more)", rows.len() - 1) } else { String::new() };
        let reason = reason.unwrap_or_else(|| "they share none".into());
        return Err(Error::usage(format!(
            "no result of {before} can be compared with one of {after}: {reason}{more}"
        ))
        .remedy("measure both alike, or name with --ignore what may differ"));
    }
    let confidence = Difference::CONFIDENCE;
    Ok(Document {
        schema: SCHEMA,
        before,
        after,
        confidence,
        min_change_percent: min_change,
        counts,
        cells: rows,
    })
}

impl Document {
    /// Whether nothing became worse.
    pub fn outcome(&self) -> Outcome {
        let bad = self.cells.iter().any(|row| row.judgement.is_bad());
        if bad { Outcome::NotGood } else { Outcome::Good }
    }

    /// For a reader.
    pub fn text(&self) -> String {
        text(self)
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Reasons, a line each: the rows of the same reason together.
fn reasons(rows: &[Row]) -> Vec<String> {
    let mut found: Vec<(&str, Vec<String>)> = vec![];
    for row in rows {
        let Some(reason) = &row.reason else { continue };
        let name = format!("{} on {}", row.model, row.device);
        match found.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(name),
            None => found.push((reason, vec![name])),
        }
    }
    let line = |(reason, names): (&str, Vec<String>)| {
        let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
        format!("{}{more}: {reason}", names.into_iter().take(3).collect::<Vec<_>>().join(", "))
    };
    found.into_iter().map(line).collect()
}

/// Models by the shortest names that tell them apart.
fn shorten(rows: &mut [Row]) {
    let mut paths: Vec<(String, Option<String>)> = vec![];
    for row in rows.iter() {
        if !paths.iter().any(|(path, _)| *path == row.model) {
            paths.push((row.model.clone(), None));
        }
    }
    let labels = model_labels(&paths);
    for row in rows {
        let at = paths.iter().position(|(path, _)| *path == row.model);
        if let Some(label) = at.and_then(|at| labels.get(at)) {
            row.model.clone_from(label);
        }
    }
}

fn counts(rows: &[Row]) -> Counts {
    let mut counts = Counts::default();
    for row in rows {
        *match row.judgement {
            Judgement::Faster => &mut counts.faster,
            Judgement::Slower => &mut counts.slower,
            Judgement::NoDifference => &mut counts.no_difference,
            Judgement::FailsNow => &mut counts.fails_now,
            Judgement::WrongNow => &mut counts.wrong_now,
            Judgement::NotComparable => &mut counts.not_comparable,
        } += 1;
    }
    counts
}

/// `2 slower, 1 faster, 3 without a difference`.
fn summary(counts: &Counts) -> String {
    let parts = [
        (counts.fails_now, "fails now"),
        (counts.wrong_now, "wrong now"),
        (counts.slower, "slower"),
        (counts.faster, "faster"),
        (counts.no_difference, "without a difference"),
        (counts.not_comparable, "not comparable"),
    ];
    let told = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    told.collect::<Vec<_>>().join(", ")
}

const HEADER: [&str; 9] =
    ["model", "device", "precision", "batch", "before ms", "after ms", "ratio", "95 % interval", "judgement"];

fn fields(row: &Row) -> [String; 9] {
    let interval = row.interval.map_or("–".into(), |[low, high]| format!("{low:.3} to {high:.3}"));
    [
        row.model.clone(),
        row.device.clone(),
        row.precision.clone(),
        row.batch.to_string(),
        ms(row.before_ms),
        ms(row.after_ms),
        row.ratio.map_or("–".into(), |ratio| format!("{ratio:.3}")),
        interval,
        row.judgement.text().to_string(),
    ]
}

fn text(document: &Document) -> String {
    let mut table = aligned(&HEADER, 3);
    if let Some(column) = table.column_mut(8) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for row in &document.cells {
        table.add_row(fields(row));
    }
    let reasons: String = reasons(&document.cells).iter().map(|reason| format!("{reason}\n")).collect();
    format!("{table}\n{reasons}{}\n", summary(&document.counts))
}
