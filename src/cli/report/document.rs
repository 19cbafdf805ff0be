//! The report's JSON document, and its text for a terminal.

use super::super::emit::SCHEMA;
use super::units::{ms, rate, times};
use super::view::View;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

#[derive(Serialize)]
pub struct Document<'a> {
    schema: u32,
    files: Vec<&'a str>,
    /// The device that speeds are relative to.
    baseline: &'a str,
    common_models: Vec<&'a str>,
    answer: String,
    warnings: Vec<String>,
    devices: Vec<Device<'a>>,
    results: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Device<'a> {
    device: &'a str,
    name: &'a str,
    precision: &'a str,
    /// The geometric mean over the models that all ran, `common_models` of the document.
    speed: Option<f64>,
    /// The same over `models`, which this device and the baseline ran.
    speed_shared: Option<f64>,
    models: Vec<&'a str>,
    verdicts: Verdicts,
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct Verdicts {
    ok: usize,
    rounding: usize,
    different: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    model: String,
    device: &'a str,
    precision: &'a str,
    batch: u64,
    median_ms: Option<f64>,
    p5_ms: Option<f64>,
    p95_ms: Option<f64>,
    throughput_per_s: Option<f64>,
    first_inference_ms: Option<f64>,
    verdict: Option<&'a str>,
    max_rel: Option<f64>,
    fallbacks: usize,
    superseded: bool,
    error: Option<String>,
}

pub fn document(view: &View) -> Document<'_> {
    let merged = &view.merged;
    let devices = view.speeds.list.iter().map(|speed| {
        let [ok, rounding, different] = view.verdicts(Some(speed.series));
        Device {
            device: merged.series_label(speed.series),
            name: merged.devices.get(merged.device_of(speed.series)).map_or("?", |device| &device.name),
            precision: merged.precision_of(speed.series),
            speed: speed.common,
            speed_shared: speed.shared,
            models: speed.over.iter().map(|at| merged.workload_label(*at)).collect(),
            verdicts: Verdicts { ok, rounding, different },
        }
    });
    let reasons = view.failed();
    let reason = |index: usize| {
        let cell = merged.cells.get(index)?;
        reasons.iter().find(|(failed, _)| std::ptr::eq(*failed, cell)).map(|(_, reason)| reason.clone())
    };
    let results = merged.cells.iter().enumerate().map(|(index, cell)| Row {
        file: merged.runs.get(cell.run).map_or("?", |run| &run.file),
        model: view.cell_name(cell),
        device: merged.series_label(cell.series),
        precision: merged.precision_of(cell.series),
        batch: cell.batch,
        median_ms: cell.median(),
        p5_ms: cell.spread().0,
        p95_ms: cell.spread().1,
        throughput_per_s: cell.per_second(),
        first_inference_ms: cell.data.first_inference_ms,
        verdict: cell.data.verdict.as_deref(),
        max_rel: cell.difference(),
        fallbacks: cell.data.fallbacks.len(),
        superseded: cell.superseded,
        error: reason(index),
    });
    Document {
        schema: SCHEMA,
        files: merged.runs.iter().map(|run| run.file.as_str()).collect(),
        baseline: merged.series_label(view.baseline),
        common_models: view.speeds.common.iter().map(|at| merged.workload_label(*at)).collect(),
        answer: view.answer(),
        warnings: view.warnings(),
        devices: devices.collect(),
        results: results.collect(),
    }
}

/// The answer, the devices and the results.
pub fn text(view: &View) -> String {
    let merged = &view.merged;
    let mut devices = aligned(&["device", "speed", "all shared", "models"], 1);
    for speed in &view.speeds.list {
        let [ratio, shared] = [speed.ratio(), speed.shared].map(|ratio| ratio.map_or("–".into(), times));
        let label = merged.series_label(speed.series).to_string();
        devices.add_row([label, ratio, shared, speed.over.len().to_string()]);
    }
    let mut results = aligned(&["model", "device", "median ms", "p95 ms", "per second", "verdict"], 2);
    for (index, workload) in merged.measured_workloads() {
        for cell in view.ranked(index) {
            results.add_row([
                workload.label.clone(),
                merged.series_label(cell.series).to_string(),
                ms(cell.median()),
                ms(cell.spread().1),
                rate(cell.per_second()),
                cell.data.verdict.clone().unwrap_or_else(|| "–".into()),
            ]);
        }
    }
    let warnings: String = view.warnings().iter().map(|warning| format!("{warning}\n")).collect();
    let failed: String = view
        .failed()
        .iter()
        .map(|(cell, reason)| {
            format!(
                "{} on {} could not run: {reason}\n",
                view.cell_name(cell),
                merged.series_label(cell.series)
            )
        })
        .collect();
    format!("{}\n{warnings}{devices}\n{results}\n{failed}", view.answer())
}

/// A table whose columns from `numbers` on are aligned at the right.
pub fn aligned(header: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(header.to_vec());
    for index in numbers..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
