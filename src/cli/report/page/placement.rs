//! Where the nodes ran, and what it took; what couldn't run at all; and every result as a row.

use super::super::merge::Cell;
use super::super::units::{count, mebibytes, ms, rate};
use super::super::view::View;
use super::tables::{Field, number, table, text};
use maud::{Markup, html};

fn model(view: &View, cell: &Cell) -> Field {
    Field::Text(view.cell_name(cell))
}
fn device(view: &View, cell: &Cell) -> Field {
    Field::Device(view.merged.device_of(cell.series), view.merged.series_label(cell.series).into())
}
fn whole(value: Option<u64>) -> Field {
    Field::Number(count(value), value.map(|value| value as f64))
}

/// Dispatches, memory, and what fell back to the CPU with its reasons.
pub fn placement(view: &View) -> Markup {
    let cells: Vec<&Cell> =
        view.merged.cells.iter().filter(|cell| cell.median().is_some() && !cell.superseded).collect();
    let mib = |bytes: Option<u64>| Field::Number(mebibytes(bytes), bytes.map(|bytes| bytes as f64));
    let rows = cells.iter().map(|cell| {
        let data = &cell.data;
        let us = data.host_us_per_dispatch;
        vec![
            model(view, cell),
            device(view, cell),
            whole(data.dispatches),
            whole(data.pipelines),
            Field::Number(data.fallbacks.len().to_string(), Some(data.fallbacks.len() as f64)),
            Field::Number(us.map_or("–".into(), |us| format!("{us:.2}")), us),
            mib(data.peak_device_bytes),
            mib(data.needed_device_bytes),
            mib(data.peak_host_bytes),
        ]
    });
    let columns = [
        text("Model"),
        text("Device"),
        number("Dispatches", ""),
        number("Pipelines", ""),
        number("Fallbacks", ""),
        number("Recording", "µs/dispatch"),
        number("Device memory", "peak MiB"),
        number("Needed", "MiB"),
        number("Host memory", "peak MiB"),
    ];
    let reasons = reasons(&cells);
    let rows_of_reasons = reasons.iter().map(|((cell, op, reason), nodes)| {
        vec![
            model(view, cell),
            device(view, cell),
            Field::Text(op.to_string()),
            Field::Text(reason.to_string()),
            Field::Number(nodes.len().to_string(), Some(nodes.len() as f64)),
            Field::Text(named(nodes)),
        ]
    });
    let reason_columns =
        [text("Model"), text("Device"), text("Operator"), text("Reason"), number("Nodes", ""), text("Which")];
    html! {
        @if !cells.is_empty() {
            section #placement {
                h2 { "Placement and memory" }
                (table("placement-table", "What each plan takes", &columns, rows.collect()))
                @if reasons.is_empty() {
                    p { "Nothing fell back from a GPU to the CPU." }
                } @else {
                    (table(
                        "fallbacks-table",
                        "Nodes that ran on the CPU though a GPU was asked for, and why",
                        &reason_columns,
                        rows_of_reasons.collect(),
                    ))
                }
            }
        }
    }
}

type Reason<'a> = ((&'a Cell, &'a str, &'a str), Vec<&'a str>);

/// Fallbacks of one cell, operator and reason together.
fn reasons<'a>(cells: &[&'a Cell]) -> Vec<Reason<'a>> {
    let mut found: Vec<Reason> = vec![];
    for cell in cells {
        let begin = found.len();
        for fallback in &cell.data.fallbacks {
            let same = |((_, op, reason), _): &&mut Reason| *op == fallback.op && *reason == fallback.reason;
            match found.iter_mut().skip(begin).find(same) {
                Some((_, nodes)) => nodes.push(&fallback.node),
                None => found.push(((cell, &fallback.op, &fallback.reason), vec![&fallback.node])),
            }
        }
    }
    found
}

/// The first few of a list of names.
fn named(nodes: &[&str]) -> String {
    let first = nodes.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    if nodes.len() > 3 { format!("{first}, …") } else { first }
}

/// What couldn't run, and why.
pub fn failed(view: &View) -> Markup {
    let failed = view.failed();
    let columns = [text("Model"), text("Device"), text("Reason")];
    let rows = failed
        .iter()
        .map(|(cell, reason)| vec![model(view, cell), device(view, cell), Field::Text(reason.clone())]);
    html! {
        @if !failed.is_empty() {
            section #failed {
                h2 { "Could not run" }
                (table("failed-table", "Models that a device did not run", &columns, rows.collect()))
            }
        }
    }
}

/// All results, older ones too.
pub fn results(view: &View) -> Markup {
    let merged = &view.merged;
    let rows = merged.cells.iter().filter(|cell| cell.median().is_some()).map(|cell| {
        let latency = cell.data.latency_ms.unwrap_or_default();
        let (low, high) = cell.spread();
        let time = |value: Option<f64>| Field::Number(ms(value), value);
        let gpu = cell.data.gpu_ms.and_then(|gpu| gpu.median);
        let runs = cell.data.times().len() as u64;
        vec![
            model(view, cell),
            device(view, cell),
            time(cell.median()),
            time(low),
            time(high),
            time(latency.p99),
            time(latency.std),
            Field::Number(rate(cell.per_second()), cell.per_second()),
            time(gpu),
            time(cell.data.first_inference_ms),
            Field::Verdict(cell.data.verdict.clone()),
            whole((runs > 0).then_some(runs)),
            Field::Text(format!("{}{}", cell.run + 1, if cell.superseded { " (older)" } else { "" })),
        ]
    });
    let columns = [
        text("Model"),
        text("Device"),
        number("Median", "ms"),
        number("p5", "ms"),
        number("p95", "ms"),
        number("p99", "ms"),
        number("Std. dev.", "ms"),
        number("Throughput", "/s"),
        number("On the GPU", "ms"),
        number("First", "ms"),
        text("Verdict"),
        number("Runs", ""),
        text("File"),
    ];
    html! {
        section #results {
            h2 { "All results" }
            (table("results-table", "Every result; the numbers of files are those below", &columns, rows.collect()))
        }
    }
}
