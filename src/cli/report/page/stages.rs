//! The first inference, and every later one, by stages.

use super::super::merge::{Cell, TIMES};
use super::super::plot::stacked::{Stack, stacked};
use super::super::units::significant;
use super::super::view::View;
use maud::{Markup, html};

const COLD: [&str; 7] = ["device", "parse", "optimise", "plan", "upload", "shaders", "first run"];
const RUN: [&str; 4] = ["upload", "enqueue", "compute", "read back"];

pub fn cold_start(view: &View) -> Markup {
    let stack = |cell: &Cell| {
        let stages = cell.data.cold_start_ms?;
        let parts = [
            stages.device,
            stages.parse,
            stages.optimise,
            stages.plan,
            stages.upload,
            stages.shaders,
            stages.first_run,
        ];
        let cache = cell.data.shader_cache.as_ref().map(|cache| format!(" · {cache} shader cache"));
        Some(stack_of(view, cell, &COLD, &parts, cell.data.first_inference_ms, cache))
    };
    html! {
        (section(
            view,
            "cold-start",
            "First inference",
            "Milliseconds from the start of the process to the first outputs in host memory, by stage; shorter is better.",
            &COLD,
            stack,
        ))
    }
}

pub fn split(view: &View) -> Markup {
    let stack = |cell: &Cell| {
        let split = cell.data.split_ms?;
        let parts = [split.upload, split.enqueue, split.compute, split.readback];
        let parts = parts.map(|part| part.and_then(|part| part.median));
        Some(stack_of(view, cell, &RUN, &parts, None, None))
    };
    html! {
        (section(
            view,
            "split",
            "Where a run's time goes",
            "Milliseconds of a run by stage, each stage's median; shorter is better.",
            &RUN,
            stack,
        ))
    }
}

fn stack_of(
    view: &View,
    cell: &Cell,
    names: &[&str],
    parts: &[Option<f64>],
    whole: Option<f64>,
    more: Option<String>,
) -> Stack {
    let parts: Vec<f64> =
        parts.iter().map(|part| part.filter(|ms| TIMES.contains(ms)).unwrap_or(0.0)).collect();
    let sum: f64 = parts.iter().sum();
    let whole = whole.filter(|whole| TIMES.contains(whole)).unwrap_or(sum).max(sum);
    let told = names.iter().zip(&parts).map(|(name, ms)| format!("{name} {} ms", significant(*ms, 3)));
    let label = format!("{}{}", view.merged.series_label(cell.series), more.unwrap_or_default());
    Stack {
        title: format!("{label}: {}", told.collect::<Vec<_>>().join(", ")),
        label,
        parts,
        whole,
        text: format!("{} ms", significant(whole, 3)),
    }
}

fn section(
    view: &View,
    id: &str,
    heading: &str,
    about: &str,
    names: &[&str],
    stack: impl Fn(&Cell) -> Option<Stack>,
) -> Markup {
    let mut panels = vec![];
    for (index, workload) in view.merged.measured_workloads() {
        let rows: Vec<Stack> = view.ranked(index).into_iter().filter_map(&stack).collect();
        if rows.iter().any(|row| row.whole > 0.0) {
            panels.push((workload.label.clone(), rows));
        }
    }
    let rest = panels.iter().flat_map(|(_, rows)| rows);
    let rest = rest.into_iter().any(|row| row.whole > row.parts.iter().sum::<f64>() * 1.01);
    html! {
        @if !panels.is_empty() {
            section id=(id) {
                h2 { (heading) }
                p.about { (about) }
                div.legend {
                    @for (index, name) in names.iter().enumerate() {
                        span.key { span class=(format!("swatch t{index}")) {} (name) }
                    }
                    @if rest { span.key { span class="swatch rest" {} "what no stage has" } }
                }
                div.panels {
                    @for (label, rows) in &panels {
                        figure.panel { figcaption { (label) } (stacked(label, rows)) }
                    }
                }
            }
        }
    }
}
