//! What each file is: machine, system, versions, options.

use super::super::merge::Run;
use super::super::read::Measurement;
use super::super::units::utc;
use super::super::view::View;
use maud::{Markup, html};
use std::collections::BTreeSet;

pub fn runs(view: &View) -> Markup {
    html! {
        section #runs {
            h2 { "Machines and options" }
            div.panels {
                @for (index, run) in view.merged.runs.iter().enumerate() {
                    @let cells: Vec<&Measurement> = view.merged.cells.iter()
                        .filter(|cell| cell.run == index).map(|cell| &cell.data).collect();
                    div.panel.context {
                        h3 { (index + 1) ". " (run.file) }
                        dl { @for (name, value) in facts(run, &cells) { dt { (name) } dd { (value) } } }
                    }
                }
            }
        }
    }
}

/// What is told of a run; what isn't is left out.
fn facts(run: &Run, cells: &[&Measurement]) -> Vec<(&'static str, String)> {
    let context = &run.context;
    let joined = |parts: &[Option<String>], by: &str| {
        let parts: Vec<String> = parts.iter().flatten().filter(|part| !part.is_empty()).cloned().collect();
        (!parts.is_empty()).then(|| parts.join(by))
    };
    let threads = context.cpu.threads.map(|threads| format!("{threads} threads"));
    let adapters: BTreeSet<String> = cells
        .iter()
        .filter_map(|cell| {
            let driver = [cell.backend.clone(), cell.driver.clone()];
            let behind = joined(&driver, ", ").map(|told| format!(" ({told})")).unwrap_or_default();
            cell.adapter.as_ref().map(|adapter| format!("{adapter}{behind}"))
        })
        .collect();
    let build = match context.optimised {
        Some(false) => Some("build not optimised".to_string()),
        _ => None,
    };
    let memory = context.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64));
    let rows = [
        ("Machine", context.host.clone()),
        ("System", joined(&[context.os.clone(), context.os_version.clone(), context.arch.clone()], " ")),
        ("CPU", joined(&[context.cpu.name.clone(), threads], ", ")),
        ("Memory", memory),
        ("Adapters", (!adapters.is_empty()).then(|| adapters.into_iter().collect::<Vec<_>>().join("; "))),
        ("sardonyx", joined(&[context.sardonyx.clone(), build], ", ")),
        ("Options", joined(&options(run), ", ")),
        ("Note", context.note.clone()),
        ("When", context.unix_time.map(|seconds| utc(Some(seconds)))),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The options as they were given, those that say something.
fn options(run: &Run) -> Vec<Option<String>> {
    let (context, options) = (&run.context, &run.context.options);
    let named = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let word = |value: &Option<serde_json::Value>| match value {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(serde_json::Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let switch = |value: Option<bool>, name: &str| (value == Some(true)).then(|| name.to_string());
    vec![
        named("runs", number(options.runs)),
        named("warmup", number(options.warmup.or(context.warmup))),
        named("seconds", options.duration_s.map(|seconds| seconds.to_string())),
        named("seed", number(options.seed.or(context.seed))),
        named("limits", options.limits.clone().or(context.limits.clone())),
        named("kernels", word(&options.kernels)),
        named("checks", word(&options.checks)),
        switch(options.strict, "strict"),
        switch(options.tune, "tuned"),
    ]
}
