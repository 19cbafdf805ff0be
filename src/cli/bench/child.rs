//! A cell in a process of its own, so that its memory and its first inference are its own too, and one that
//! crashes or hangs takes no other along.
//!
//! The process prints a line of JSON when the first inference is done, then one for each line that it reads:
//! `{"runs": N}` or `{"seconds": S}` for a round, `"finish"` for the row.

use super::cell::Started;
use super::measurement::Row;
use super::{Bench, Cell};
use crate::cli::emit::{stdout, told};
use crate::cli::process::{self, Conversation};
use sardonyx::bench::Extent;
use sardonyx::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::io::BufRead;
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How long a process may take for one answer, beyond what a round is to last.
const PATIENCE: Duration = Duration::from_secs(900);

/// What the process is asked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ask {
    Runs(usize),
    Seconds(f64),
    Finish,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// The first inference, or a round, is done.
    Done,
    Row(Box<Row>),
    Failed(String),
}

/// `--cell`: the process's side.
pub fn serve(bench: &Bench, cell: &Cell, start: Instant) -> Result<()> {
    let mut state = match Started::new(bench, cell, start).and_then(|state| state.warm_up().map(|()| state)) {
        Ok(state) => state,
        Err(error) => return say(&Answer::Failed(told(&error.in_file(&cell.model)))),
    };
    say(&Answer::Done)?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|problem| {
            Error::new(ErrorKind::File, format!("standard input can't be read: {problem}"))
        })?;
        let ask = serde_json::from_str(&line)
            .map_err(|problem| Error::usage(format!("a line asks for nothing: {problem}")))?;
        let extent = match ask {
            Ask::Runs(runs) => Extent { runs, duration: None },
            Ask::Seconds(seconds) => Extent { runs: 1, duration: Duration::try_from_secs_f64(seconds).ok() },
            Ask::Finish => {
                return match state.finish() {
                    Ok(row) => say(&Answer::Row(Box::new(row))),
                    Err(error) => say(&Answer::Failed(told(&error.in_file(&cell.model)))),
                };
            }
        };
        match state.round(extent) {
            Ok(_) => say(&Answer::Done)?,
            Err(error) => return say(&Answer::Failed(told(&error.in_file(&cell.model)))),
        }
    }
    Ok(())
}

fn say(answer: &Answer) -> Result<()> {
    let json = serde_json::to_string(answer)
        .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))?;
    stdout(&format!("{json}\n"))
}

/// The side of whoever measures several: a running cell.
pub struct Child(Conversation);

impl Child {
    /// Starts the cell's process and waits for its first inference. Errors say why there is none.
    pub fn start(bench: &Bench, cell: &Cell) -> Result<Self> {
        let mut child = Self(Conversation::start(command(bench, cell)?)?);
        child.answer(PATIENCE)?;
        Ok(child)
    }

    /// A round of runs, or of seconds.
    pub fn round(&mut self, extent: Extent) -> Result<()> {
        let (ask, long) = match extent.duration {
            Some(duration) => (Ask::Seconds(duration.as_secs_f64()), duration),
            None => (Ask::Runs(extent.runs), Duration::ZERO),
        };
        self.ask(&ask)?;
        self.answer(PATIENCE.saturating_add(long)).map(drop)
    }

    /// The row.
    pub fn finish(mut self) -> Result<Row> {
        self.ask(&Ask::Finish)?;
        self.answer(PATIENCE)?.ok_or_else(|| Error::internal("a process gave no row"))
    }

    fn ask(&mut self, ask: &Ask) -> Result<()> {
        if self.0.say(ask) { Ok(()) } else { Err(self.ended()) }
    }

    fn answer(&mut self, patience: Duration) -> Result<Option<Row>> {
        match self.0.hear(patience) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Answer::Done) => Ok(None),
                Ok(Answer::Row(row)) => Ok(Some(*row)),
                Ok(Answer::Failed(message)) => Err(Error::new(ErrorKind::Unsupported, message)),
                Err(_) => Err(self.ended()),
            },
            Err(RecvTimeoutError::Timeout) => {
                Err(Error::new(ErrorKind::Timeout, format!("no answer for {} s", patience.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    /// How the process ended, and its last words.
    fn ended(&mut self) -> Error {
        let (status, talk) = self.0.ended();
        let words = talk.last().map_or(String::new(), |line| format!(": {line}"));
        Error::new(ErrorKind::Internal, format!("the process ended ({status}){words}"))
    }
}

/// The command line of a cell's process.
fn command(bench: &Bench, cell: &Cell) -> Result<Command> {
    let mut command = process::command()?;
    command.args(["bench", "--cell"]).args(bench.run_options(cell).arguments());
    command.args(cell.batch.iter().flat_map(|batch| ["--batch".to_string(), batch.to_string()]));
    command.args(bench.tune.tune.then_some("--tune"));
    let inputs = &bench.inputs;
    command.args(inputs.input.iter().flat_map(|input| ["-i", input]));
    if let Some(folder) = &inputs.inputs {
        command.arg("--inputs").arg(folder);
    }
    command.args(inputs.set.iter().flat_map(|set| ["--set", set]));
    command.args(["--seed", &inputs.seed.to_string(), "--warmup", &bench.warmup.to_string()]);
    command.args(bench.no_accuracy.then_some("--no-accuracy"));
    command.args(bench.profile.then_some("--profile"));
    command.args(bench.slowed.iter().flat_map(|factor| ["--slowed".to_string(), factor.to_string()]));
    if bench.cold_cache {
        command
            .arg("--cold-cache")
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .env("__GL_SHADER_DISK_CACHE", "0");
    }
    // A name that looks like an option is one of a file all the same.
    command.arg("--").arg(&cell.model);
    // An interruption of the measurement is the parent's to hear: it still wants the rows.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(&mut command, 0x200);
    Ok(command)
}
