//! Latency and throughput, a panel for each model.

use super::super::merge::Cell;
use super::super::plot::bars::{Bar, bars};
use super::super::units::{ms, plural, rate, significant};
use super::super::view::View;
use maud::{Markup, html};

pub fn latency(view: &View) -> Markup {
    let bar = |cell: &Cell| {
        let median = cell.median()?;
        let (low, high) = cell.spread();
        let text = format!("{} ms", significant(median, 3));
        Some(bar_of(view, cell, median, text, (low, high)))
    };
    html! {
        section #latency {
            h2 { "Latency" }
            p.about {
                "Milliseconds of a run, the inputs' upload and the outputs' read-back included; shorter is better. \
                 Bars: the median. Error bars: the 5th to the 95th percentile of the runs."
            }
            (panels(view, bar))
        }
    }
}

pub fn throughput(view: &View) -> Markup {
    let bar = |cell: &Cell| {
        let value = cell.per_second()?;
        let batch = cell.batch.max(1) as f64 * 1e3;
        let (low, high) = cell.spread();
        let text = format!("{}/s", significant(value, 3));
        // The slowest run is the lowest rate.
        Some(bar_of(view, cell, value, text, (high.map(|ms| batch / ms), low.map(|ms| batch / ms))))
    };
    html! {
        section #throughput {
            h2 { "Throughput" }
            p.about {
                "Inferences a second, one run after another: the batch ÷ the latency, with the same percentiles; \
                 longer is better."
            }
            (panels(view, bar))
        }
    }
}

fn bar_of(
    view: &View,
    cell: &Cell,
    value: f64,
    text: String,
    (low, high): (Option<f64>, Option<f64>),
) -> Bar {
    let merged = &view.merged;
    let latency = cell.data.latency_ms.unwrap_or_default();
    let title = format!(
        "{} on {}: median {} ms, p95 {} ms, p99 {} ms, standard deviation {} ms, {}/s, {}",
        merged.workload_label(cell.workload),
        merged.series_label(cell.series),
        ms(cell.median()),
        ms(cell.spread().1),
        ms(latency.p99),
        ms(latency.std),
        rate(cell.per_second()),
        plural(cell.data.times().len(), "run"),
    );
    Bar {
        label: merged.series_label(cell.series).to_string(),
        value,
        text,
        low,
        high,
        colour: merged.device_of(cell.series),
        light: merged.precision_of(cell.series) != "f32",
        warning: cell.is_wrong().then_some("✗ wrong"),
        title,
    }
}

fn panels(view: &View, bar: impl Fn(&Cell) -> Option<Bar>) -> Markup {
    html! {
        div.panels {
            @for (index, workload) in view.merged.measured_workloads() {
                @let rows: Vec<Bar> = view.ranked(index).into_iter().filter_map(&bar).collect();
                figure.panel {
                    figcaption { (workload.label) }
                    (bars(&workload.label, &rows))
                }
            }
        }
    }
}
