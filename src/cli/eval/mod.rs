//! `eval`: how often a model is right over a folder of labelled files.

mod classes;
mod document;
mod html;
mod measures;
mod pipeline;
mod print;
mod samples;
mod scores;
mod tasks;

use super::Outcome;
use super::emit::{JsonOption, say, told};
use super::options::{DeviceFields, RunOptions};
use clap::{Args, ValueEnum};
use classes::Classes;
use document::{Course, Skipped};
use indicatif::{ProgressBar, ProgressStyle};
use pipeline::Port;
use sardonyx::error::{Error, Result};
use sardonyx::image::Preprocess;
use sardonyx::session::Session;
use serde::Serialize;
use std::path::PathBuf;
use tasks::Counted;

/// Count how often a model is right over a folder of labelled pictures: Top-1, Top-5, per class, confusion
#[derive(Args)]
#[command(after_help = "Examples:\n  sardonyx eval resnet50.onnx photos/ --device gpu --batch 8\n  \
sardonyx eval model.onnx photos/ --labels labels.csv --against cpu --html differences.html\n\n\
Subfolders' names are the labels; or --labels names a CSV file with the columns file and label. A label is a class's name in the\n\
model's file of classes (labels of MODEL.toml, or --classes) or its number. Pictures become inputs as `classify` makes them; a .npy\n\
file is taken as it is.\n\
--task number: the CSV file's columns beside file are the expected numbers; distribution: the expected probabilities; tokens: the\n\
expected tokens, with spaces between. Exit code 1: below --min-top1. 2: a missing label, an unreadable picture without --skip-bad, an\n\
empty folder.\n\
JSON: {\"schema\", \"model\", \"task\", \"device\", \"adapter\", \"precision\", \"batch\", \"evaluated\", \"skipped\": [{\"file\", \"reason\"}], \"per_second\",\n\
\"classification\": {\"top1\", \"top5\", \"per_class\", \"confusion\", …} | \"regression\" | \"distribution\" | \"tokens\", \"against\"}")]
pub struct Eval {
    /// The ONNX file
    model: PathBuf,
    /// The folder
    folder: PathBuf,
    /// A CSV file with the columns file, relative to the folder, and label
    #[arg(long, value_name = "FILE.csv")]
    labels: Option<PathBuf>,
    /// A text file with a class a line, in the order of the model's classes
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// What is expected of each file
    #[arg(long, value_enum, default_value_t = Task::Class)]
    task: Task,
    /// Pictures at a time, where the model leaves its batch open [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Option<u16>,
    /// Preprocessing by name, in place of the file beside the model: imagenet, imagenet-tf, imagenet-caffe,
    /// unit, raw255
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// The output that counts [default: the first]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Run on this device too, and list the pictures that both classify differently
    #[arg(long, value_name = "DEVICE")]
    against: Option<String>,
    /// Write the pictures that were classified wrongly, and those that the devices disagree on, as HTML
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The most pictures of each list in the HTML file
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(..=5000))]
    max_pictures: u16,
    /// Leave files out that can't be read, and list them
    #[arg(long)]
    skip_bad: bool,
    /// Exit with 1 where Top-1 is below this
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    min_top1: Option<f64>,
    /// The token that ends a sequence
    #[arg(long, value_name = "TOKEN")]
    end_token: Option<i64>,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    json: JsonOption,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Classes: Top-1, Top-5
    Class,
    /// Numbers: MAE, RMSE, R²
    Number,
    /// Distributions: KL divergence, calibration
    Distribution,
    /// Sequences of tokens: exact matches, edit distance
    Tokens,
}

fn percent(text: &str) -> std::result::Result<f64, String> {
    let number: f64 =
        text.trim().trim_end_matches('%').parse().map_err(|_| format!("'{text}' is no number"))?;
    let allowed = (0.0..=100.0).contains(&number);
    allowed.then_some(number).ok_or_else(|| format!("'{text}' is not between 0 and 100"))
}

impl Eval {
    pub fn run(&self) -> Result<Outcome> {
        if self.task != Task::Class
            && (self.against.is_some() || self.html.is_some() || self.min_top1.is_some())
        {
            return Err(Error::usage("--against, --html and --min-top1 are for --task class")
                .remedy("leave them out, or use `compare` to set two devices against each other"));
        }
        if self.task != Task::Class && self.labels.is_none() {
            return Err(Error::usage("this --task takes its expected values from a CSV file")
                .remedy("name one with --labels FILE.csv"));
        }
        let (preprocess, found) = Preprocess::for_model(&self.model, self.preset.as_deref())?;
        let samples = match &self.labels {
            Some(csv) => samples::of_csv(csv, &self.folder)?,
            None => samples::of_folders(&self.folder)?,
        };
        if let Some(first) = samples.others.first() {
            let count = samples.others.len();
            say(format_args!(
                "note: {count} files that are no pictures are left out, such as {}",
                first.display()
            ));
        }
        let classes = match self.classes.as_ref().or(preprocess.labels.as_ref()) {
            Some(file) if self.task == Task::Class => Classes::read(file)?,
            _ => Classes::default(),
        };
        let expected = self.expected(&samples.list, &classes)?;
        let session = self.options.load(&self.model)?;
        let other = self.other()?;
        if !found && self.preset.is_none() {
            say("note: no preprocessing is stated for this model; taking --preset imagenet");
        }
        let in_model = |error: Error| error.in_file(&self.model);
        let port = Port::of(&session, self.batch.map(usize::from)).map_err(in_model)?;
        let sessions: Vec<&Session> = std::iter::once(&session).chain(&other).collect();
        let mut counted = Counted::default();
        let bar = ProgressBar::new(samples.list.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}") {
            bar.set_style(style);
        }
        let outcome = pipeline::run(
            &samples.list,
            &port,
            &preprocess,
            &sessions,
            self.output.as_deref(),
            self.skip_bad,
            &mut |index, outputs| {
                bar.inc(1);
                let Some(expected) = expected.get(index) else { return Ok(()) };
                self.count(index, expected, &outputs, &preprocess, &mut counted)
            },
        );
        bar.finish_and_clear();
        let outcome = outcome.map_err(in_model)?;
        let skipped: Vec<Skipped> = outcome
            .bad
            .iter()
            .filter_map(|(index, error)| {
                let file = samples.list.get(*index)?.path.display().to_string();
                Some(Skipped { file, reason: told(error) })
            })
            .collect();
        skipped.iter().for_each(|bad| say(format_args!("skipped: {}", bad.reason)));
        let evaluated = samples.list.len() - skipped.len();
        if evaluated == 0 {
            return Err(
                Error::file(&self.folder, "no file could be read").remedy("look at the reasons above")
            );
        }
        let devices = sessions.iter().map(|session| DeviceFields::of(session.gpu())).collect();
        let course = Course { batch: port.batch, per_second: outcome.per_second, skipped, devices };
        let document = self.document(&counted, &classes, &samples.list, course);
        if let Some(path) = &self.html {
            self.write_html(path, &document, &counted, &classes, &samples.list)?;
        }
        self.json.emit(&document, || print::text(&document, &classes))?;
        let top1 = document.classification.as_ref().map_or(100.0, |scores| scores.top1 * 100.0);
        Ok(if self.min_top1.is_some_and(|least| top1 < least) { Outcome::NotGood } else { Outcome::Good })
    }

    /// The session of --against.
    fn other(&self) -> Result<Option<Session>> {
        let Some(device) = &self.against else { return Ok(None) };
        let mut options = self.options.clone();
        options.device.device.clone_from(device);
        options.load(&self.model).map(Some)
    }
}
