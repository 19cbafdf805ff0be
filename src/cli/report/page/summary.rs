//! The answer: who is how much faster, and whether it was right.

use super::super::plot::key;
use super::super::units::{plural, times};
use super::super::view::View;
use super::tables::verdict;
use maud::{Markup, html};

pub fn summary(view: &View) -> Markup {
    let merged = &view.merged;
    let failed = view.failed().len();
    let [ok, rounding, different] = view.verdicts(None);
    let judged = ok + rounding + different;
    html! {
        section #answer {
            p.answer { (view.answer()) }
            p.facts {
                (plural(merged.models.len(), "model")) " · " (plural(merged.devices.len(), "device")) " · "
                (plural(merged.cells.len(), "result")) " from " (plural(merged.runs.len(), "file"))
                @if judged > 0 { " · " (ok + rounding) " of " (judged) " right" }
                @if failed > 0 { " · " a href="#failed" { (failed) " could not run" } }
            }
            @for warning in view.warnings() { p.warn { (warning) } }
            (speeds(view))
        }
    }
}

/// Every device with its mean speed as a bar and a number.
fn speeds(view: &View) -> Markup {
    let merged = &view.merged;
    let most = view.speeds.list.iter().filter_map(|speed| speed.ratio()).fold(0.0, f64::max);
    html! {
        div.frame {
            p.caption {
                    "Speed against " strong { (merged.series_label(view.baseline)) }
                    ": the geometric mean of the medians' ratios, "
                    @match view.speeds.common.len() {
                        0 => "over the models that each shares with it",
                        1 => { "on " (merged.workload_label(*view.speeds.common.first().unwrap_or(&0))) ", which all ran" }
                        count => { "over the " (count) " models that all ran" }
                    }
                    "; more is better"
                }
            div.scroll { table.speeds {
                thead { tr {
                    th scope="col" { "Device" }
                    th.number scope="col" { "Speed" }
                    th.wide scope="col" aria-hidden="true" {}
                    th.number.extra scope="col" { "All shared" }
                    th.number scope="col" { "Models" }
                    th scope="col" { "Verdicts" }
                } }
                tbody {
                    @for speed in &view.speeds.list {
                        tr class=(if speed.series == view.baseline { "baseline" } else { "" }) {
                            th scope="row" {
                                (key(merged.device_of(speed.series), merged.series_label(speed.series)))
                                @if speed.series == view.baseline { " " span.tag { "baseline" } }
                            }
                            td.number.strong { @if let Some(ratio) = speed.ratio() { (times(ratio)) } @else { "–" } }
                            td.wide {
                                @if let Some(ratio) = speed.ratio() {
                                    svg.meter viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
                                        rect class=(format!("bar c{}", merged.device_of(speed.series) % super::super::plot::COLOURS))
                                            width=(format!("{:.1}", (ratio / most * 100.0).max(0.5))) height="10" {}
                                    }
                                }
                            }
                            td.number.extra { @if let Some(ratio) = speed.shared { (times(ratio)) } @else { "–" } }
                            td.number { (speed.over.len()) @if speed.wrong > 0 { span.unit { " (" (speed.wrong) " wrong)" } } }
                            td { (verdicts(view.verdicts(Some(speed.series)))) }
                        }
                    }
                }
            } }
        }
        details {
            summary { "Over which models" }
            p { strong { "All ran" } ": " (names(view, &view.speeds.common)) }
            @for speed in view.speeds.list.iter().filter(|speed| speed.shared.is_some()) {
                p {
                    strong { (merged.series_label(speed.series)) } ": "
                    (names(view, &speed.over))
                }
            }
        }
    }
}

fn names(view: &View, workloads: &[usize]) -> String {
    let names: Vec<&str> = workloads.iter().map(|at| view.merged.workload_label(*at)).collect();
    if names.is_empty() { "none".to_string() } else { names.join("; ") }
}

fn verdicts(counts: [usize; 3]) -> Markup {
    let named = ["OK", "ROUNDING", "DIFFERENT"].into_iter().zip(counts).filter(|(_, count)| *count > 0);
    let named: Vec<_> = named.collect();
    html! {
        @if named.is_empty() { "–" }
        @for (name, count) in named { (verdict(Some(name))) " " (count) " " }
    }
}
