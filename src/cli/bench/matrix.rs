//! The cells of a measurement: every model on every device at every precision and batch size.

use super::cell::Started;
use super::child::Child;
use super::context::sha256;
use super::measurement::Row;
use super::{Bench, Cell};
use crate::cli::emit::{say, told};
use indicatif::{ProgressBar, ProgressStyle};
use sardonyx::bench::Extent;
use sardonyx::error::{Error, ErrorKind, Result};
use sardonyx::gpu;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Whether whoever is at the keyboard has had enough: what is measured by then is kept.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Hears interruptions from now on; a second one ends the process.
pub fn hear_interruptions() {
    let heard = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        say("interrupted: the rounds so far count; once more to stop at once");
    });
    // Without a handler an interruption ends the process, as it always did.
    drop(heard);
}

pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

impl Bench {
    /// What `--device` asks for, one by one.
    fn devices(&self) -> Vec<String> {
        let mut all: Vec<String> = vec![];
        for part in self.device.device.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part.eq_ignore_ascii_case("all") {
                all.push("cpu".into());
                all.extend(gpu::adapters().into_iter().map(|adapter| format!("gpu:{}", adapter.index)));
            } else {
                all.push(part.to_string());
            }
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|device| seen.insert(device.clone()));
        all
    }

    /// The cells, those of a model together.
    pub fn cells(&self) -> Vec<Vec<Cell>> {
        let batches: Vec<Option<usize>> = match self.batch.as_slice() {
            [] => vec![None],
            list => list.iter().copied().map(Some).collect(),
        };
        let devices = self.devices();
        let of_model = |model: &std::path::PathBuf| {
            let mut cells = vec![];
            for device in &devices {
                for precision in &self.precision {
                    cells.extend(batches.iter().map(|&batch| Cell {
                        model: model.display().to_string(),
                        device: device.clone(),
                        precision: precision.clone(),
                        batch,
                    }));
                }
            }
            cells
        };
        self.models.iter().map(of_model).collect()
    }

    /// How many rounds the runs are divided into, and the extent of each.
    pub fn extents(&self) -> Vec<Extent> {
        let rounds = self.rounds.unwrap_or(5).clamp(1, self.runs) as usize;
        if let Some(duration) = self.duration {
            let rounds = self.rounds.unwrap_or(5).max(1);
            return vec![Extent { runs: 1, duration: Some(duration / rounds) }; rounds as usize];
        }
        let (each, more) = (self.runs as usize / rounds, self.runs as usize % rounds);
        (0..rounds).map(|k| Extent { runs: each + usize::from(k < more), duration: None }).collect()
    }

    /// The one cell there is, in this process.
    pub fn one(&self, cell: &Cell, start: Instant) -> Result<Row> {
        let measure = || {
            let mut state = Started::new(self, cell, start)?;
            state.warm_up()?;
            for (round, extent) in self.extents().into_iter().enumerate() {
                if round > 0 && interrupted() {
                    break;
                }
                state.round(extent)?;
            }
            state.write_outputs()?;
            state.finish()
        };
        let row = measure().map_err(|error: Error| error.in_file(&cell.model))?;
        Ok(Row { model_sha256: Some(sha256(cell.model.as_ref())?), ..row })
    }

    /// All cells, each in a process of its own; the rounds of a model's cells alternate, so that what drifts on
    /// the machine hits all alike. A cell that can't run is a row with its reason.
    pub fn all(&self, models: &[Vec<Cell>]) -> Vec<Row> {
        let extents = self.extents();
        let count: usize = models.iter().map(Vec::len).sum();
        let bar = ProgressBar::new((count * (extents.len() + 2)) as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        let mut rows = vec![];
        for cells in models {
            rows.extend(self.model(cells, &extents, &bar));
        }
        bar.finish_and_clear();
        rows
    }

    fn model(&self, cells: &[Cell], extents: &[Extent], bar: &ProgressBar) -> Vec<Row> {
        let hash = cells.first().and_then(|cell| sha256(cell.model.as_ref()).ok());
        let mut running: Vec<std::result::Result<Child, Error>> = vec![];
        for cell in cells {
            bar.set_message(cell.to_string());
            running.push(if interrupted() {
                Err(Error::new(ErrorKind::Usage, "interrupted before it ran"))
            } else {
                Child::start(self, cell)
            });
            bar.inc(1);
        }
        for (round, extent) in extents.iter().enumerate() {
            // One round is what a row can't do without.
            if round > 0 && interrupted() {
                break;
            }
            for (cell, state) in cells.iter().zip(&mut running) {
                bar.set_message(cell.to_string());
                if let Ok(child) = state
                    && let Err(error) = child.round(*extent)
                {
                    *state = Err(error);
                }
                bar.inc(1);
            }
        }
        let finish = |(cell, state): (&Cell, std::result::Result<Child, Error>)| {
            bar.set_message(cell.to_string());
            let row = state.and_then(Child::finish).unwrap_or_else(|error| {
                bar.suspend(|| {
                    say(format_args!("{}, {}: {}", cell.device, cell.precision.text(), told(&error)))
                });
                cell.row(Some(&error))
            });
            bar.inc(1);
            Row { model_sha256: hash.clone(), ..row }
        };
        cells.iter().zip(running).map(finish).collect()
    }
}
