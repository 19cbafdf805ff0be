//! The measurements for a reader: in full of one cell, as a table of several.

use super::measurement::{Measured, Row, Step};
use comfy_table::{CellAlignment, Table, presets};
use sardonyx::bench::Statistics;

/// Above this the runs of a cell scatter so much that a reader should know.
const NOISY: f64 = 0.1;

/// What a table calls a row's device.
fn device(row: &Row) -> &str {
    row.device.adapter.as_deref().unwrap_or(if row.error.is_some() { &row.asked } else { "CPU" })
}

fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or("?".to_string(), |bytes| format!("{:.2} MiB", bytes as f64 / (1 << 20) as f64))
}

/// One cell in full.
pub fn one(row: &Row) -> String {
    let Some(result) = &row.measured else {
        return format!("{}: {}\n", row.model, row.error.as_deref().unwrap_or("nothing was measured"));
    };
    let (stages, latency) = (&result.cold_start_ms, &result.latency_ms);
    let mut text = format!("{} on {}\n", row.model, device(row));
    text += &format!(
        "  latency      median {:.3} ms, min {:.3}, mean {:.3} ± {:.3}, p90 {:.3}, p95 {:.3}, p99 {:.3}, max {:.3} over {} runs\n",
        latency.median,
        latency.min,
        latency.mean,
        latency.std,
        latency.p90,
        latency.p95,
        latency.p99,
        latency.max,
        result.runs_ms.len()
    );
    if latency.cv > NOISY {
        text += &format!(
            "               the runs scatter: their deviation is {:.0} % of the mean; compare medians, or measure longer\n",
            latency.cv * 100.0
        );
    }
    let batch = row.batch.unwrap_or(1);
    text += &format!("  throughput   {:.2}/s at batch {batch}\n", result.throughput_per_s);
    if let Some(gpu) = &result.gpu_ms {
        text += &format!("  on the GPU   median {:.3} ms\n", gpu.median);
    }
    if let Some(split) = &result.split_ms {
        let part = |part: &Statistics| format!("{:.3}", part.median);
        text += &format!(
            "  a run        upload {} ms, enqueue {}, compute {}, readback {}\n",
            part(&split.upload),
            part(&split.enqueue),
            part(&split.compute),
            part(&split.readback)
        );
    }
    text += &format!(
        "  first        {:.1} ms: device {:.1}, parse {:.1}, optimise {:.1}, plan {:.1}, upload {:.1}, shaders {:.1}, first run {:.1}\n",
        result.first_inference_ms,
        stages.device,
        stages.parse,
        stages.optimise,
        stages.plan,
        stages.upload,
        stages.shaders,
        stages.first_run
    );
    let memory = match (result.peak_device_bytes, result.needed_device_bytes) {
        (Some(peak), Some(needed)) => format!(
            ", device {} ({:.2} of what is needed)",
            mebibytes(Some(peak)),
            peak as f64 / needed.max(1) as f64
        ),
        (Some(peak), None) => format!(", device {}", mebibytes(Some(peak))),
        _ => String::new(),
    };
    text += &format!("  memory       host {}{memory}\n", mebibytes(result.peak_host_bytes));
    text += &format!(
        "  plan         {} dispatches, {} pipelines, {} fallbacks",
        result.dispatches,
        result.pipelines,
        result.fallbacks.len()
    );
    text += &result
        .host_us_per_dispatch
        .map_or("\n".to_string(), |us| format!("; {us:.2} µs a dispatch on the host\n"));
    for one in result.steps.iter().flatten() {
        text += &step(one, result);
    }
    if let Some(accuracy) = &result.accuracy {
        let measured =
            accuracy.max_rel.map_or("not comparable".to_string(), |difference| format!("{difference:.2e}"));
        let verdict = result.verdict.map_or("", |verdict| verdict.word());
        text += &format!("  accuracy     {verdict}: {measured} relative to the CPU ({})\n", row.precision);
    }
    text
}

/// A step: its time, its rates, and their shares of what the adapter reaches.
fn step(step: &Step, result: &Measured) -> String {
    let seconds = (step.ms * 1e6).max(1e-9);
    let (gflops, gigabytes) = (step.flops as f64 / seconds, step.bytes as f64 / seconds);
    let share = |rate: f64, peak: Option<f64>| {
        peak.filter(|&peak| peak > 0.0)
            .map_or(String::new(), |peak| format!(" {:3.0} %", rate / peak * 100.0))
    };
    let rate = match step.flops {
        0 => " ".repeat(15 + if result.peak_gflops.is_some() { 6 } else { 0 }),
        _ => format!("{gflops:7.1} GFLOP/s{}", share(gflops, result.peak_gflops)),
    };
    let kernels =
        if step.kernels.is_empty() { String::new() } else { format!(": {}", step.kernels.join(", ")) };
    format!(
        "  {:9.3} ms {rate} {gigabytes:7.1} GB/s{}  {} ({}){kernels}\n",
        step.ms,
        share(gigabytes, result.peak_gb_per_s),
        step.node,
        step.op
    )
}

/// All cells, a line each, and why those without numbers have none.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "model",
        "device",
        "",
        "batch",
        "median ms",
        "p95",
        "± %",
        "/s",
        "first ms",
        "host",
        "device memory",
        "fallbacks",
        "verdict",
        "off by",
        "top 1",
    ]);
    for column in 3..12 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let names = distinct(rows);
    for (row, name) in rows.iter().zip(names) {
        let head = [name, device(row).to_string(), row.precision.clone()];
        let batch = row.batch.map_or(String::new(), |batch| batch.to_string());
        let Some(result) = &row.measured else {
            table.add_row(head.into_iter().chain([batch, "–".into()]));
            continue;
        };
        let latency = &result.latency_ms;
        let memory = |bytes: Option<u64>| {
            bytes.map_or(String::new(), |bytes| format!("{:.0} MiB", bytes as f64 / (1 << 20) as f64))
        };
        let off = result.accuracy.as_ref().map(|accuracy| {
            accuracy.max_rel.map_or("not comparable".to_string(), |off| format!("{off:.1e}"))
        });
        table.add_row(head.into_iter().chain([
            batch,
            format!("{:.3}", latency.median),
            format!("{:.3}", latency.p95),
            format!("{:.0}{}", latency.cv * 100.0, if latency.cv > NOISY { "!" } else { "" }),
            format!("{:.1}", result.throughput_per_s),
            format!("{:.0}", result.first_inference_ms),
            memory(result.peak_host_bytes),
            memory(result.peak_device_bytes),
            result.fallbacks.len().to_string(),
            result.verdict.map_or(String::new(), |verdict| verdict.word().to_string()),
            off.unwrap_or_default(),
            result.agreement.map_or(String::new(), |one| format!("{:.1} %", one.top1 * 100.0)),
        ]));
    }
    let mut text = format!("{table}\n");
    for row in rows {
        if let Some(error) = &row.error {
            // The error names the model's file.
            text += &format!("{}, {}: {error}\n", device(row), row.precision);
        }
    }
    let noisy = |row: &&Row| row.measured.as_ref().is_some_and(|one| one.latency_ms.cv > NOISY);
    if rows.iter().any(|row| noisy(&row)) {
        text +=
            "!: the runs scatter by more than a tenth of their mean; compare medians, or measure longer.\n";
    }
    text
}

/// The models' names, with as much of their folders as tells them apart.
fn distinct(rows: &[Row]) -> Vec<String> {
    let parts = |row: &Row| row.model.split(['/', '\\']).map(str::to_string).collect::<Vec<_>>();
    let name = |row: &Row, count: usize| {
        let parts = parts(row);
        parts[parts.len().saturating_sub(count)..].join("/")
    };
    let longest = rows.iter().map(|row| parts(row).len()).max().unwrap_or(1);
    let tells_apart = |count: &usize| {
        rows.iter().all(|a| rows.iter().all(|b| a.model == b.model || name(a, *count) != name(b, *count)))
    };
    let count = (1..longest).find(tells_apart).unwrap_or(longest);
    rows.iter().map(|row| name(row, count)).collect()
}
