//! `inspect --plan --html FILE`: the model and its plan as one page that needs no network.

use super::Document;
use super::drawing::{COLOURS, MOST_NODES, draw};
use crate::cli::options::Fallback;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sardonyx::base::BufferId;
use sardonyx::error::Result;
use sardonyx::plan::{Allocation, Placement, Plan, Summary};
use sardonyx::replace::write_whole;
use sardonyx::session::Session;
use std::collections::HashMap;
use std::path::Path;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --line: #d0d0d0; --soft: #f4f4f4; --bar: #3d7ab8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #191b1e; --line: #3d4045; --soft: #24272b; --bar: #6aa5dd; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n { text-align: right; }
.wide { overflow-x: auto; }
.drawing { background: #fff; border: 1px solid var(--line); overflow: auto; max-height: 40rem; padding: .5rem; }
.key span { padding: .1rem .5rem; margin-right: .5rem; color: #1c1c1c; border-radius: 4px; border: 1px solid #888; }
";

/// Writes the page.
///
/// Errors: a file that can't be written.
pub fn write(path: &Path, document: &Document, session: &Session, plan: Option<&Plan>) -> Result<()> {
    write_whole(path, page(document, session, plan).into_string().as_bytes())
}

fn page(document: &Document, session: &Session, plan: Option<&Plan>) -> Markup {
    let place = |plan: &Plan, index: usize| plan.placements.get(index).map(Placement::name);
    let after = plan.map(|plan| (plan.graph.nodes.len(), draw(&plan.graph, |index| place(plan, index))));
    let before = (session.original().nodes.len(), draw(session.original(), |_| None));
    let mut operators: Vec<(&String, &usize)> = document.operators.iter().collect();
    operators.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (document.model) " – sardonyx" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (document.model) }
                (facts(document))
                @if let Some(summary) = document.plan.as_ref().and_then(|plan| plan.summary.as_ref()) {
                    h2 { "Memory" }
                    (memory(summary, plan))
                }
                @if let Some(plan) = document.plan.as_ref().filter(|plan| !plan.fallbacks.is_empty()) {
                    h2 { "What falls back to the CPU" }
                    (fallbacks(&plan.fallbacks))
                }
                @if let Some((count, drawing)) = &after {
                    h2 { "The graph as planned, " (count) " nodes" }
                    p.key {
                        @for (name, colour) in COLOURS {
                            span style={ "background:#" (format!("{:06x}", colour >> 8)) } { (name) }
                        }
                    }
                    (shown(drawing.as_deref()))
                }
                h2 { "The graph as read, " (before.0) " nodes" }
                (shown(before.1.as_deref()))
                h2 { "Operators" }
                table {
                    tr { th { "operator" } th { "nodes" } }
                    @for (name, count) in operators { tr { td { (name) } td.n { (count) } } }
                }
                @if let Some(summary) = document.plan.as_ref().and_then(|plan| plan.summary.as_ref()) {
                    h2 { "Where each node runs" }
                    (placements(summary))
                }
            }
        }
    }
}

fn shown(drawing: Option<&str>) -> Markup {
    html! {
        @match drawing {
            Some(svg) => div.drawing { (PreEscaped(svg)) },
            None => p { "It isn't drawn: only graphs of 1 to " (MOST_NODES) " nodes are." },
        }
    }
}

fn facts(document: &Document) -> Markup {
    let planned = document.plan.as_ref();
    let device = planned.map(|plan| match (&plan.profile, &plan.device.adapter) {
        (Some(profile), _) => {
            format!("{}: {}", profile.name, profile.about.as_deref().unwrap_or("limits of a file"))
        }
        (None, Some(adapter)) => adapter.clone(),
        (None, None) => "WebGPU's limits".to_string(),
    });
    html! {
        div.wide { table {
            tr { th { "producer" } td { (document.producer) } }
            tr { th { "parameters" } td { (document.parameters) } }
            tr { th { "FLOPs of a run" } td {
                (document.flops.map_or("unknown".into(), |flops| format!("{:.3} GFLOP", flops as f64 / 1e9)))
            } }
            @if let Some(device) = device { tr { th { "planned for" } td { (device) } } }
            @if let Some(summary) = planned.and_then(|plan| plan.summary.as_ref()) {
                tr { th { "dispatches" } td { (summary.dispatches) " of " (summary.pipelines) " kernels" } }
            }
            @if let Some(plan) = planned {
                tr { th { "fallbacks" } td { (plan.fallbacks.len()) } }
                @if let Some(shaders) = &plan.translations {
                    tr { th { "shaders elsewhere" } td { pre style="margin:0" { (shaders.text()) } } }
                }
            }
            @for (kind, ports) in [("inputs", &document.inputs), ("outputs", &document.outputs)] {
                tr { th { (kind) } td { @for port in ports {
                    (port.name) ": " (port.dtype) " "
                    (port.shape.as_ref().map_or("of any rank".into(), |shape| serde_json::json!(shape).to_string()))
                    br;
                } } }
            }
        } }
    }
}

fn fallbacks(list: &[Fallback]) -> Markup {
    html! {
        div.wide { table {
            tr { th { "node" } th { "operator" } th { "why" } }
            @for one in list { tr { td { (one.node) } td { (one.op) } td { (one.reason) } } }
        } }
    }
}

fn placements(summary: &Summary) -> Markup {
    html! {
        div.wide { table {
            tr { th { "node" } th { "operator" } th { "fused with it" } th { "on" } th { "why" } }
            @for node in &summary.nodes {
                tr {
                    td { (node.node) }
                    td { (node.op) }
                    td { (node.fused.join(", ")) }
                    td { (node.placement) }
                    td { (node.reason.as_deref().unwrap_or("")) }
                }
            }
        } }
    }
}

/// Bytes of the activations that live at each step, between the step that writes them first and the last that
/// reads them.
fn live(plan: &Plan) -> Vec<u64> {
    let mut spans: HashMap<BufferId, (usize, usize)> = HashMap::new();
    for (index, step) in plan.steps.iter().enumerate() {
        for id in step.reads.iter().chain(&step.writes) {
            spans.entry(*id).or_insert((index, index)).1 = index;
        }
    }
    let mut bytes = vec![0u64; plan.steps.len()];
    for (id, (first, last)) in spans {
        let place =
            plan.buffers.get(id.0 as usize).filter(|place| matches!(place.allocation, Allocation::Slot(_)));
        let Some(place) = place else { continue };
        for at in bytes.iter_mut().take(last + 1).skip(first) {
            *at = at.saturating_add(place.content_bytes());
        }
    }
    bytes
}

fn memory(summary: &Summary, plan: Option<&Plan>) -> Markup {
    let mebibytes = |bytes: u64| format!("{:.2} MiB", bytes as f64 / (1 << 20) as f64);
    let bytes = plan.map(live).unwrap_or_default();
    let most = bytes.iter().copied().max().unwrap_or(0).max(1);
    const HEIGHT: f64 = 120.0;
    let width = 960.0 / bytes.len().max(1) as f64;
    html! {
        p {
            "Weights " (mebibytes(summary.constant_bytes)) "; activations " (mebibytes(summary.activation_bytes))
            " in shared buffers (" (mebibytes(summary.unshared_bytes)) " without sharing); inputs and outputs "
            (mebibytes(summary.external_bytes)) "."
        }
        @if !bytes.is_empty() {
            svg viewBox="0 0 960 140" width="100%" role="img" aria-label="activations over the steps" {
                @for (index, bytes) in bytes.iter().enumerate() {
                    @let height = *bytes as f64 / most as f64 * HEIGHT;
                    rect x=(format!("{:.2}", index as f64 * width)) y=(format!("{:.2}", HEIGHT - height))
                        width=(format!("{:.2}", (width - 0.5).max(0.5))) height=(format!("{height:.2}"))
                        fill="var(--bar)" {
                        title { "step " (index) ": " (mebibytes(*bytes)) }
                    }
                }
                text x="0" y="136" font-size="12" fill="currentColor" {
                    "activations that live at each of " (bytes.len()) " steps; the most: " (mebibytes(most))
                }
            }
        }
    }
}
