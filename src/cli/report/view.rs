//! What pages, Markdown and text all tell: the merged files, seen against a baseline.

use super::merge::{Cell, Merged};
use super::speed::{self, Speeds};
use super::units;
use sardonyx::error::Result;
use std::path::PathBuf;

pub struct View {
    pub merged: Merged,
    /// The series that speeds are relative to.
    pub baseline: usize,
    pub speeds: Speeds,
}

impl View {
    pub fn of(files: &[PathBuf], baseline: Option<&str>) -> Result<Self> {
        Self::over(super::merge::merge(files)?, baseline)
    }

    pub fn over(merged: Merged, baseline: Option<&str>) -> Result<Self> {
        let baseline = speed::baseline(&merged, baseline)?;
        let speeds = speed::speeds(&merged, baseline);
        Ok(Self { merged, baseline, speeds })
    }

    /// The answer in a sentence: the fastest, by how much, over what.
    pub fn answer(&self) -> String {
        let label = |series: usize| self.merged.series_label(series).to_string();
        let base = label(self.baseline);
        let list = &self.speeds.list;
        let best = list.iter().find(|speed| speed.ratio().is_some() && speed.series != self.baseline);
        let Some((best, ratio)) = best.and_then(|best| Some((best, best.ratio()?))) else {
            let ran = self.merged.measured_workloads().len();
            return format!(
                "{base}: {} measured, and no other device to set against it.",
                units::plural(ran, "model")
            );
        };
        let over = match if best.common.is_some() { &self.speeds.common } else { &best.over }.as_slice() {
            [one] => format!("on {}", self.merged.workload_label(*one)),
            more => format!("geometric mean over {} models", more.len()),
        };
        if ratio >= 1.0 {
            format!(
                "{} is the fastest: {} as fast as {base}, {over}.",
                label(best.series),
                units::times(ratio)
            )
        } else {
            format!(
                "{base} is the fastest: {} as fast as {}, {over}.",
                units::times(1.0 / ratio),
                label(best.series)
            )
        }
    }

    /// What a reader must know before believing the numbers.
    pub fn warnings(&self) -> Vec<String> {
        let (mut found, merged) = (vec![], &self.merged);
        let unoptimised: Vec<&str> = merged
            .runs
            .iter()
            .filter(|run| run.context.optimised == Some(false))
            .map(|run| run.file.as_str())
            .collect();
        if !unoptimised.is_empty() {
            found.push(format!(
                "Measured by a build that is not optimised; its times say little: {}.",
                unoptimised.join(", ")
            ));
        }
        let wrong = merged.cells.iter().filter(|cell| cell.is_wrong() && !cell.superseded).count();
        if wrong > 0 {
            found.push(format!(
                "{} different from the reference by more than rounding explains. Speeds are not counted there.",
                if wrong == 1 { "1 result is".to_string() } else { format!("{wrong} results are") }
            ));
        }
        if self.speeds.common.is_empty() && self.speeds.list.iter().any(|speed| speed.shared.is_some()) {
            found.push(
                "No model ran on every device: each speed is over the models that a device shares with the baseline."
                    .to_string(),
            );
        }
        let old = merged.cells.iter().filter(|cell| cell.superseded).count();
        if old > 0 {
            found.push(format!(
                "{} measured again later; plots and means show the newest, the table of results all.",
                if old == 1 { "1 result was".to_string() } else { format!("{old} results were") }
            ));
        }
        let unhashed = merged.models.iter().filter(|model| model.hash.is_none()).count();
        if unhashed > 0 && merged.runs.len() > 1 {
            found.push(format!(
                "{} no hash in these files: told apart by path alone.",
                if unhashed == 1 { "1 model has".to_string() } else { format!("{unhashed} models have") }
            ));
        }
        found
    }

    /// The cells that couldn't run, with the reason.
    pub fn failed(&self) -> Vec<(&Cell, String)> {
        let reason = |cell: &Cell| match (&cell.data.error, cell.median()) {
            (Some(error), _) => Some(error.clone()),
            (None, None) => Some("no times are told".to_string()),
            _ => None,
        };
        self.merged.cells.iter().filter_map(|cell| Some((cell, reason(cell)?))).collect()
    }

    /// The cells of a workload that ran and count, in the order of the devices' speeds.
    pub fn ranked(&self, workload: usize) -> Vec<&Cell> {
        let rank = |series: usize| self.speeds.list.iter().position(|speed| speed.series == series);
        let mut cells = self.merged.measured(workload);
        cells.sort_by_key(|cell| rank(cell.series));
        cells
    }

    /// How many results that count have a verdict, by verdict.
    pub fn verdicts(&self, series: Option<usize>) -> [usize; 3] {
        let counted = |verdict: &str| {
            let cells = self.merged.cells.iter().filter(|cell| !cell.superseded);
            cells
                .filter(|cell| series.is_none_or(|series| cell.series == series))
                .filter(|cell| cell.data.verdict.as_deref() == Some(verdict))
                .count()
        };
        ["OK", "ROUNDING", "DIFFERENT"].map(counted)
    }

    /// The name of a model as a cell has it.
    pub fn cell_name(&self, cell: &Cell) -> String {
        let batch = if cell.batch == 1 { String::new() } else { format!(", batch {}", cell.batch) };
        match cell.median() {
            Some(_) => self.merged.workload_label(cell.workload).to_string(),
            None => format!("{}{batch}", self.merged.model_label(cell.model)),
        }
    }
}
