//! `--trace`: the steps of a run in the Trace Event Format, which Perfetto and chrome://tracing open
//! ([the format](https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU)).

use super::measurement::Row;
use sardonyx::error::{Error, Result};
use sardonyx::replace::write_whole;
use serde_json::{Value, json};
use std::path::Path;

/// Writes a process for each cell, with its steps one after the other, each as long as its median.
pub fn write(path: &Path, rows: &[Row]) -> Result<()> {
    let document = json!({ "displayTimeUnit": "ms", "traceEvents": events(rows) });
    let text = serde_json::to_string(&document)
        .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))?;
    write_whole(path, text.as_bytes())
}

fn events(rows: &[Row]) -> Vec<Value> {
    let mut events = vec![];
    for (pid, row) in rows.iter().enumerate() {
        let Some(steps) = row.measured.as_ref().and_then(|result| result.steps.as_ref()) else { continue };
        let device = row.device.adapter.as_deref().unwrap_or("CPU");
        let name = format!("{} on {device}, {}", row.model, row.precision);
        events.push(json!({ "ph": "M", "name": "process_name", "pid": pid, "args": { "name": name } }));
        let mut steps: Vec<_> = steps.iter().collect();
        steps.sort_by_key(|step| step.index);
        let mut at = 0.0;
        for step in steps {
            let microseconds = step.ms * 1e3;
            let per_second = (step.ms * 1e6).max(1e-9);
            events.push(json!({
                "ph": "X", "pid": pid, "tid": 0, "ts": at, "dur": microseconds,
                "name": step.node, "cat": step.op,
                "args": {
                    "operator": step.op,
                    "kernels": step.kernels,
                    "GFLOP/s": step.flops as f64 / per_second,
                    "GB/s": step.bytes as f64 / per_second,
                },
            }));
            at += microseconds;
        }
    }
    events
}
