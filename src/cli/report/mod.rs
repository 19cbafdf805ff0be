//! `report`: results of `bench` from any number of machines as one page.

mod csv;
pub mod diff;
mod document;
mod markdown;
mod merge;
mod names;
mod page;
mod plot;
pub mod read;
mod speed;
mod units;
mod view;

use super::Outcome;
use super::emit::{JsonOption, say, stdout};
use clap::{Args, Subcommand};
use sardonyx::error::{Error, Result};
use sardonyx::replace::write_whole;
use std::path::{Path, PathBuf};
pub use units::{plural, shortened};
use view::View;

/// Merge results of `bench` from any number of machines into one HTML page; `report diff` compares two files
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  sardonyx bench *.onnx --device gpu --json here.json\n  \
sardonyx report here.json there.json -o report.html\n  sardonyx report *.json --baseline-device llvmpipe --markdown -\n  \
sardonyx report diff before.json after.json\n\n\
The page needs no network. Speeds are geometric means of the medians' ratios against the baseline, over the models that all devices\n\
ran and got right; beside it over those that each shares with the baseline. The exit code is 0 whatever the results are: `report diff` and `compare` are what judges.\n\
JSON: {\"schema\", \"files\", \"baseline\", \"common_models\", \"answer\", \"warnings\", \"devices\": [{\"device\", \"speed\",\n\
\"speed_shared\", \"models\", \"verdicts\"}], \"results\": […]}"
)]
pub struct Report {
    #[command(subcommand)]
    diff: Option<Verb>,
    /// Files that `bench --json` wrote
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the page here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The device that speeds are relative to, by its name or a part of it [default: the slowest of those
    /// that ran the most models]
    #[arg(long, value_name = "NAME")]
    baseline_device: Option<String>,
    /// Write Markdown that fits a pull request's comment; with - to standard output
    #[arg(long, value_name = "FILE|-")]
    markdown: Option<PathBuf>,
    /// Write a row for each result as CSV; with - to standard output
    #[arg(long, value_name = "FILE|-")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Subcommand)]
enum Verb {
    Diff(diff::Diff),
}

impl Report {
    pub fn run(&self) -> Result<Outcome> {
        if let Some(Verb::Diff(diff)) = &self.diff {
            return diff.run();
        }
        let taken = one_stdout(&[self.markdown.as_deref(), self.csv.as_deref()], &self.json)?;
        let view = View::of(&self.files, self.baseline_device.as_deref())?;
        if let Some(path) = &self.output {
            write_whole(path, page::page(&view).as_bytes())?;
            say(format_args!("report: {}", path.display()));
        }
        if let Some(path) = &self.markdown {
            put(path, markdown::markdown(&view).as_bytes())?;
        }
        if let Some(path) = &self.csv {
            put(path, &csv::csv(&view)?)?;
        }
        self.json
            .emit(&document::document(&view), || if taken { String::new() } else { document::text(&view) })?;
        Ok(Outcome::Good)
    }
}

/// Standard output is one document: whether something other than the text has it.
fn one_stdout(paths: &[Option<&Path>], json: &JsonOption) -> Result<bool> {
    let wanted = paths.iter().flatten().filter(|path| **path == Path::new("-")).count()
        + usize::from(json.to_stdout());
    if wanted > 1 {
        return Err(
            Error::usage("standard output can be one document only").remedy("give all but one a file")
        );
    }
    Ok(wanted == 1)
}

/// Writes a file, or standard output for `-`.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if path == Path::new("-") {
        return stdout(&String::from_utf8_lossy(bytes));
    }
    write_whole(path, bytes)
}
