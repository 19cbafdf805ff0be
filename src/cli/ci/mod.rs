//! `ci`: what a project's `sardonyx.toml` lists, in one go: models on devices against the reference, and
//! against budgets.

mod check;
mod config;
mod report;

use super::Outcome;
use super::emit::{JsonOption, SCHEMA, say};
use check::{Check, Status};
use clap::Args;
use config::Config;
use indicatif::{ProgressBar, ProgressStyle};
use sardonyx::error::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;

/// Run what a project's sardonyx.toml lists: models, devices, samples, tolerances, budgets
#[derive(Args)]
#[command(after_help = "Example:\n  sardonyx ci --junit results.xml --markdown \"$GITHUB_STEP_SUMMARY\"\n\n\
sardonyx.toml:\n  devices = [\"cpu\", \"gpu\"]\n  precision = [\"f32\", \"f16\"]\n  [[model]]\n  file = \"model.onnx\"\n  samples = [\"samples/a\"]\n  \
budget.gpu = { median_ms = 20 }\n\nEvery key: docs/ci.md. Exit code 0: all is well; 1: something differs, or is over its budget; 2: something could not run.\n\
JSON: {\"schema\", \"counts\": {\"passed\", \"failed\", \"error\"}, \"checks\": [{\"model\", \"device\", \"adapter\", \"precision\", \"sample\", \"check\", \"status\", \"message\", \"seconds\"}]}")]
pub struct Ci {
    /// The file that says what to run; its paths are relative to its own folder
    #[arg(default_value = "sardonyx.toml")]
    config: PathBuf,
    /// Take only models whose file or name has this part; repeatable
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Take these devices, whatever the file says; separated by commas
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    device: Vec<String>,
    /// Plant a fault, for tests of the comparison
    #[arg(long, hide = true, value_name = "SEED")]
    plant_fault: Option<u64>,
    /// Write the checks as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the checks as Markdown, added to the end of a file that is there; with - to standard output, in
    /// place of the text
    #[arg(long, value_name = "FILE|-")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    counts: Counts,
    checks: &'a [Check],
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub error: usize,
}

impl Counts {
    fn of(checks: &[Check]) -> Self {
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        Self { passed: count(Status::Passed), failed: count(Status::Failed), error: count(Status::Error) }
    }
}

impl Ci {
    pub fn run(&self) -> Result<Outcome> {
        let config = Config::read(&self.config)?;
        let folder = self.config.parent().unwrap_or_else(|| std::path::Path::new(""));
        let jobs = config.jobs(folder, &self.only, &self.device)?;
        if jobs.is_empty() {
            return Err(Error::usage("there is nothing to check").in_file(&self.config).remedy(
                if self.only.is_empty() {
                    "list models as [[model]]"
                } else {
                    "give --only a part of a model's file or name"
                },
            ));
        }
        let bar = ProgressBar::new(jobs.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        let mut checks = vec![];
        for job in &jobs {
            bar.set_message(job.to_string());
            for check in job.run(self.plant_fault) {
                if check.status != Status::Passed {
                    bar.suspend(|| say(report::line(&check)));
                }
                checks.push(check);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let counts = Counts::of(&checks);
        if let Some(path) = &self.junit {
            report::write_junit(path, &checks)?;
        }
        let markdown = self.markdown.as_ref().map(|_| report::markdown(&checks, counts));
        if let (Some(path), Some(text)) = (&self.markdown, &markdown)
            && path.as_os_str() != "-"
        {
            report::append(path, text)?;
        }
        let to_stdout = self.markdown.as_ref().is_some_and(|path| path.as_os_str() == "-");
        self.json.emit(&Document { schema: SCHEMA, counts, checks: &checks }, || match markdown {
            Some(text) if to_stdout => text,
            _ => report::text(&checks, counts),
        })?;
        match counts {
            Counts { failed: 0, error: 0, .. } => Ok(Outcome::Good),
            Counts { failed: 0, error, .. } => {
                Err(Error::usage(format!("{error} of {} checks could not run", checks.len()))
                    .remedy("see the reasons above"))
            }
            _ => Ok(Outcome::NotGood),
        }
    }
}
