//! The page: one HTML file that needs nothing else, in the order of a reader's questions.

mod accuracy;
mod placement;
mod roofline;
mod runs;
mod stages;
mod summary;
mod tables;
mod times;

use super::units::utc;
use super::view::View;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The page loads nothing, whatever a file holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The parts, each with the id that the list of contents points to.
fn parts(view: &View) -> Vec<(&'static str, &'static str, Markup)> {
    vec![
        ("answer", "Result", summary::summary(view)),
        ("latency", "Latency", times::latency(view)),
        ("throughput", "Throughput", times::throughput(view)),
        ("accuracy", "Accuracy", accuracy::accuracy(view)),
        ("cold-start", "First inference", stages::cold_start(view)),
        ("split", "Stages of a run", stages::split(view)),
        ("roofline", "Kernels", roofline::rooflines(view)),
        ("placement", "Placement", placement::placement(view)),
        ("failed", "Could not run", placement::failed(view)),
        ("results", "All results", placement::results(view)),
        ("runs", "Machines", runs::runs(view)),
    ]
}

pub fn page(view: &View) -> String {
    let parts: Vec<_> = parts(view).into_iter().filter(|(_, _, content)| !content.0.is_empty()).collect();
    let newest = view.merged.runs.iter().filter_map(|run| run.context.unix_time).max();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { "sardonyx: " (view.answer()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "sardonyx benchmark" }
                    @if newest.is_some() { p.when { (utc(newest)) } }
                    button #theme type="button" hidden { "Dark" }
                    nav { @for (id, name, _) in &parts { a href=(format!("#{id}")) { (name) } } }
                }
                main { @for (_, _, content) in &parts { (content) } }
                footer {
                    "Made by sardonyx " (env!("CARGO_PKG_VERSION"))
                    ". Latency and throughput are those of `sardonyx bench`; its --help says how they are measured."
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::super::merge::of_texts;
    use super::*;

    /// Numbers that no measurement gives make no plot that can't be drawn.
    #[test]
    fn odd_numbers_are_left_out() {
        let stages = r#""cold_start_ms":{"device":1e308,"parse":1e308,"plan":-1,"first_run":0.5},"first_inference_ms":-4"#;
        let steps = r#""peak_gflops":1e-300,"peak_gb_per_s":1e300,"steps":[{"node":"a","op":"A","ms":1e-9,"flops":1e24,"bytes":1e-300},
            {"node":"b","op":"B","ms":0},{"node":"c","op":"C","ms":1e-320,"flops":1e308,"bytes":0}]"#;
        let cells: Vec<String> = ["1e-320", "1e308", "-1", "0", "1e-9", "1e12"]
            .iter()
            .enumerate()
            .map(|(index, median)| {
                format!(
                    r#"{{"model":"m{}","adapter":"X{index}","device":"gpu","batch":{},"latency_ms":{{"median":{median},"p95":1e308}},"runs_ms":[1e-320,{median},1e308],"accuracy":{{"max_rel":1e308}},"verdict":"odd",{stages},{steps}}}"#,
                    index / 3,
                    if index == 4 { u64::MAX } else { 0 },
                )
            })
            .collect();
        let text = format!(
            r#"{{"schema":1,"context":{{"unix_time":{}}},"results":[{}]}}"#,
            u64::MAX,
            cells.join(",")
        );
        let view = View::over(of_texts(&[&text]), None).unwrap();
        let page = page(&view).replace(SCRIPT, "");
        for odd in ["NaN", ">inf", "\"inf", "inf×", "inf ms", "-inf"] {
            assert!(
                !page.contains(odd),
                "{odd} in {}",
                page.split(odd)
                    .next()
                    .map_or("", |before| before.get(before.len().saturating_sub(300)..).unwrap_or(before))
            );
        }
        assert!(page.contains("no times are told"));
        // The other forms come to an end too.
        assert!(!super::super::markdown::markdown(&view).contains("NaN"));
        assert!(!super::super::csv::csv(&view).unwrap().is_empty());
        assert!(!super::super::document::text(&view).is_empty());
    }
}
