//! The JSON document of a comparison, schema 1: the report of one sample, and what all of them come to.

use super::mechanisms::Change;
use super::metrics::Metrics;
use super::range::NodeRange;
use super::repeat::Repeated;
use super::stated;
use sardonyx::compare::{Fallback, FirstDifferent, FusedPlan, NodeRow, OutputRow, Planted, Report, Verdict};
use sardonyx::plan::Precision;
use serde::Serialize;
use std::path::PathBuf;

/// What was found of one sample.
pub struct Found {
    pub name: String,
    pub report: Report,
    /// Of each output.
    pub metrics: Vec<Metrics>,
    pub stated: Vec<Option<Vec<stated::Outcome>>>,
}

/// Everything.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: u32,
    pub verdict: Verdict,
    first_different: Option<&'a FirstDifferent>,
    device: &'a str,
    adapter: Option<&'a str>,
    backend: Option<&'a str>,
    driver: Option<&'a str>,
    precision: Precision,
    pub reference: &'a str,
    pub c: f64,
    /// The sample that the outputs and nodes are of: the first that differs, else the first.
    pub sample: &'a str,
    pub outputs: Vec<Output<'a>>,
    fused_plan: Option<&'a FusedPlan>,
    pub nodes: &'a [NodeRow],
    fallbacks: &'a [Fallback],
    #[serde(skip_serializing_if = "Option::is_none")]
    planted: Option<&'a Planted>,
    pub samples: Vec<Sample<'a>>,
    /// Of each output, the sample that needs the largest part of its tolerance.
    pub worst: Vec<Worst<'a>>,
    pub bundle: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Vec<NodeRange>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeated>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ab: Vec<Change>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heatmaps: Vec<PathBuf>,
}

/// An output of the sample that is shown.
#[derive(Serialize)]
pub struct Output<'a> {
    #[serde(flatten)]
    pub row: &'a OutputRow,
    #[serde(flatten)]
    pub metrics: &'a Metrics,
    /// What `--tolerance` asks, in place of the derived tolerance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated: Option<&'a [stated::Outcome]>,
}

/// A sample in short.
#[derive(Serialize)]
pub struct Sample<'a> {
    pub name: &'a str,
    pub verdict: Verdict,
    pub first_different: Option<&'a FirstDifferent>,
    pub outputs: Vec<SampleOutput<'a>>,
}

#[derive(Serialize)]
pub struct SampleOutput<'a> {
    pub name: &'a str,
    pub same: bool,
    pub max_abs: f64,
    pub max_rel: f64,
    pub needed: Option<f64>,
    pub top1: Option<f64>,
    pub top5: Option<f64>,
}

/// Where an output is worst.
#[derive(Serialize)]
pub struct Worst<'a> {
    pub output: &'a str,
    pub sample: &'a str,
    pub same: bool,
    pub max_abs: f64,
    pub needed: Option<f64>,
}

impl<'a> Document<'a> {
    /// What samples come to; `None` without any.
    pub fn of(found: &'a [Found]) -> Option<Self> {
        let shown = found.iter().find(|one| one.report.verdict != Verdict::Same).or(found.first())?;
        let report = &shown.report;
        let mut rows = report.outputs.iter().zip(&shown.metrics).zip(&shown.stated);
        let outputs =
            rows.by_ref().map(|((row, metrics), stated)| Output { row, metrics, stated: stated.as_deref() });
        Some(Self {
            schema: report.schema,
            verdict: Verdict::from(found.iter().all(|one| one.report.verdict == Verdict::Same)),
            first_different: report.first_different.as_ref(),
            device: report.device,
            adapter: report.adapter.as_deref(),
            backend: report.backend.as_deref(),
            driver: report.driver.as_deref(),
            precision: report.precision,
            reference: &report.reference,
            c: report.c,
            sample: &shown.name,
            outputs: outputs.collect(),
            fused_plan: report.fused_plan.as_ref(),
            nodes: &report.nodes,
            fallbacks: &report.fallbacks,
            planted: report.planted.as_ref(),
            samples: found.iter().map(Sample::of).collect(),
            worst: (0..report.outputs.len()).filter_map(|at| Worst::of(found, at)).collect(),
            bundle: None,
            range: None,
            repeat: None,
            ab: vec![],
            heatmaps: vec![],
        })
    }

    /// The device's name for a reader.
    pub fn ran_on(&self) -> String {
        match (self.adapter, self.driver) {
            (Some(adapter), Some(driver)) => format!("{adapter} ({driver})"),
            _ => "CPU".to_string(),
        }
    }
    pub fn first_different(&self) -> Option<&FirstDifferent> {
        self.first_different
    }
    pub fn fused_plan(&self) -> Option<&FusedPlan> {
        self.fused_plan
    }
}

impl<'a> Sample<'a> {
    fn of(found: &'a Found) -> Self {
        let output = |(row, metrics): (&'a OutputRow, &Metrics)| SampleOutput {
            name: &row.name,
            same: row.measure.same,
            max_abs: row.measure.max_abs,
            max_rel: row.measure.max_rel,
            needed: row.measure.needed,
            top1: metrics.top1,
            top5: metrics.top5,
        };
        Self {
            name: &found.name,
            verdict: found.report.verdict,
            first_different: found.report.first_different.as_ref(),
            outputs: found.report.outputs.iter().zip(&found.metrics).map(output).collect(),
        }
    }
}

impl<'a> Worst<'a> {
    fn of(found: &'a [Found], at: usize) -> Option<Self> {
        let rows = found.iter().filter_map(|one| Some((one, one.report.outputs.get(at)?)));
        // What no factor would do for is worse than any; of equals the larger error.
        let badness = |row: &OutputRow| {
            (!row.measure.same, row.measure.needed.unwrap_or(f64::INFINITY), row.measure.max_abs)
        };
        let (one, row) = rows.reduce(|a, b| if badness(b.1) > badness(a.1) { b } else { a })?;
        let measure = &row.measure;
        Some(Self {
            output: &row.name,
            sample: &one.name,
            same: measure.same,
            max_abs: measure.max_abs,
            needed: measure.needed,
        })
    }
}
