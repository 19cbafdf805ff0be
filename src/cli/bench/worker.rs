//! `--worker`: turns of as many seconds as each line on standard input says, for comparison scripts.

use super::cell::Started;
use super::{Bench, Cell};
use crate::cli::Outcome;
use crate::cli::emit::stdout;
use sardonyx::bench::Extent;
use sardonyx::error::{Error, ErrorKind, Result};
use std::io::BufRead;
use std::time::{Duration, Instant};

/// A number of seconds.
pub fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("'{text}' is not a number of seconds"))?;
    Duration::try_from_secs_f64(number).map_err(|problem| format!("'{text}' seconds: {problem}"))
}

impl Bench {
    pub(super) fn work(&self, cell: &Cell, start: Instant) -> Result<Outcome> {
        let mut state = Started::new(self, cell, start).map_err(|error| error.in_file(&cell.model))?;
        stdout(&format!("{}\n", serde_json::json!({ "first": state.first_ms })))?;
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|problem| {
                Error::new(ErrorKind::File, format!("standard input can't be read: {problem}"))
            })?;
            if line.trim().is_empty() {
                continue;
            }
            let duration = seconds(&line)
                .map_err(|problem| Error::usage(problem).remedy("write a number of seconds a line"))?;
            let times = state.round(Extent { runs: 1, duration: Some(duration) })?;
            stdout(&format!("{}\n", serde_json::json!(times)))?;
        }
        state.write_outputs()?;
        Ok(Outcome::Good)
    }
}
