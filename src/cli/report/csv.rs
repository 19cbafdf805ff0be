//! The results as CSV, a row each.

use super::view::View;
use sardonyx::error::{Error, Result};

const HEADER: [&str; 37] = [
    "file",
    "host",
    "os",
    "cpu",
    "sardonyx",
    "optimised",
    "unix_time",
    "note",
    "model",
    "model_path",
    "model_sha256",
    "device",
    "adapter",
    "backend",
    "driver",
    "precision",
    "batch",
    "median_ms",
    "p5_ms",
    "p95_ms",
    "p99_ms",
    "std_ms",
    "runs",
    "throughput_per_s",
    "speed_against_baseline",
    "gpu_median_ms",
    "first_inference_ms",
    "verdict",
    "max_rel",
    "top1_agreement",
    "top5_agreement",
    "dispatches",
    "fallbacks",
    "peak_device_bytes",
    "peak_host_bytes",
    "superseded",
    "error",
];

pub fn csv(view: &View) -> Result<Vec<u8>> {
    let failed =
        |problem: &dyn std::fmt::Display| Error::internal(format!("CSV could not be made: {problem}"));
    let mut out = csv::Writer::from_writer(vec![]);
    out.write_record(HEADER).map_err(|problem| failed(&problem))?;
    for cell in &view.merged.cells {
        let data = &cell.data;
        let context = view.merged.runs.get(cell.run).map(|run| (run.file.clone(), run.context.clone()));
        let (file, context) = context.unwrap_or_default();
        let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let whole = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let latency = data.latency_ms.unwrap_or_default();
        let (low, high) = cell.spread();
        let agreement = data.agreement.unwrap_or_default();
        let base = view.merged.cell(view.baseline, cell.workload).and_then(|base| base.median());
        let speed = base.zip(cell.median()).map(|(base, own)| base / own);
        let row: [String; 37] = [
            file,
            text(&context.host),
            text(&context.os),
            text(&context.cpu.name),
            text(&context.sardonyx),
            context.optimised.map(|optimised| optimised.to_string()).unwrap_or_default(),
            whole(context.unix_time),
            text(&context.note),
            view.merged.model_label(cell.model).to_string(),
            data.model.clone(),
            text(&data.model_sha256),
            view.merged.series_label(cell.series).to_string(),
            text(&data.adapter),
            text(&data.backend),
            text(&data.driver),
            view.merged.precision_of(cell.series).to_string(),
            cell.batch.to_string(),
            number(cell.median()),
            number(low),
            number(high),
            number(latency.p99),
            number(latency.std),
            data.times().len().to_string(),
            number(cell.per_second()),
            number(speed),
            number(data.gpu_ms.and_then(|gpu| gpu.median)),
            number(data.first_inference_ms),
            text(&data.verdict),
            number(cell.difference()),
            number(agreement.top1),
            number(agreement.top5),
            whole(data.dispatches),
            data.fallbacks.len().to_string(),
            whole(data.peak_device_bytes),
            whole(data.peak_host_bytes),
            cell.superseded.to_string(),
            text(&data.error),
        ];
        out.write_record(&row).map_err(|problem| failed(&problem))?;
    }
    out.into_inner().map_err(|problem| failed(&problem))
}
