//! Speed against accuracy, and how right every result was.

use super::super::plot::key;
use super::super::plot::scatter::{Point, scatter};
use super::super::speed::ratio;
use super::super::units::{difference, percent, times};
use super::super::view::View;
use super::tables::{Field, number, table, text};
use maud::{Markup, html};
use std::collections::BTreeSet;

pub fn accuracy(view: &View) -> Markup {
    let merged = &view.merged;
    let cells: Vec<_> =
        merged.cells.iter().filter(|cell| cell.median().is_some() && !cell.superseded).collect();
    let told = |cell: &&&super::super::merge::Cell| {
        cell.data.accuracy.is_some() || cell.data.verdict.is_some() || cell.data.agreement.is_some()
    };
    let judged: Vec<_> = cells.iter().filter(told).collect();
    let mut points = vec![];
    for cell in &judged {
        let speed = ratio(merged, cell.series, view.baseline, cell.workload);
        let (Some(x), Some(y)) = (speed, cell.difference()) else { continue };
        points.push(Point {
            x,
            y,
            index: merged.device_of(cell.series),
            hollow: cell.data.verdict.as_deref() == Some("ROUNDING"),
            crossed: cell.is_wrong(),
            title: format!(
                "{} on {}: {}, off by {}{}",
                merged.workload_label(cell.workload),
                merged.series_label(cell.series),
                times(x),
                difference(Some(y)),
                cell.data.verdict.as_ref().map(|verdict| format!(", {verdict}")).unwrap_or_default()
            ),
        });
    }
    let drawn: BTreeSet<usize> = points.iter().map(|point| point.index).collect();
    let left_out = judged.len() - points.len();
    let rows = judged.iter().map(|cell| {
        let agreement = cell.data.agreement.unwrap_or_default();
        let reference = cell.data.accuracy.as_ref().and_then(|accuracy| accuracy.reference.clone());
        let share = |share: Option<f64>| Field::Number(percent(share), share);
        vec![
            Field::Text(merged.workload_label(cell.workload).into()),
            Field::Device(merged.device_of(cell.series), merged.series_label(cell.series).into()),
            Field::Verdict(cell.data.verdict.clone()),
            Field::Number(difference(cell.difference()), cell.difference()),
            share(agreement.top1),
            share(agreement.top5),
            Field::Text(reference.unwrap_or_else(|| "–".into())),
        ]
    });
    let columns = [
        text("Model"),
        text("Device"),
        text("Verdict"),
        number("Largest difference", "relative"),
        number("Top-1", "agreement"),
        number("Top-5", "agreement"),
        text("Reference"),
    ];
    html! {
        @if !judged.is_empty() {
            section #accuracy {
                h2 { "Speed and accuracy" }
                p.about {
                    strong { "OK" } ": within what float32 explains of the reference. " strong { "ROUNDING" }
                    ": beyond that, and no further than the precision explains. " strong { "DIFFERENT" }
                    ": more than rounding explains."
                }
                div.beside {
                    @if !points.is_empty() {
                        figure.panel {
                            figcaption { "Every model: further right is faster, further down is nearer to the reference" }
                            (scatter(
                                "Speed against accuracy",
                                ["times as fast as the baseline", "largest relative difference"],
                                &points,
                            ))
                            div.legend {
                                @for index in drawn {
                                    @if let Some(device) = merged.devices.get(index) { (key(index, &device.label)) }
                                }
                            }
                            p.small {
                                "Filled: OK. Outline: ROUNDING. Crossed out: DIFFERENT."
                                @if left_out > 0 { " Not drawn: " (left_out) " without a speed or a difference." }
                            }
                        }
                    }
                    div { (table("accuracy-table", "How far each result is from the reference", &columns, rows.collect())) }
                }
            }
        }
    }
}
