//! A comparison for a reader.

use super::document::Document;
use super::{mechanisms, range, repeat};
use sardonyx::compare::{Measure, Verdict};
use std::fmt::Write;

/// The document as text.
pub fn text(document: &Document) -> String {
    let mut text = String::new();
    let c = document.c;
    for row in document.nodes {
        match (&row.fused_into, &row.local, &row.cumulative) {
            (Some(into), ..) => _ = writeln!(text, "{} ({}): fused into {into}", row.node, row.op),
            (None, None, None) => _ = writeln!(text, "{} ({}): {}", row.node, row.op, row.ran_on),
            _ => {
                let place = if row.ran_on == "view" {
                    "in place, made with its parts".into()
                } else {
                    format!("on the {}", row.ran_on)
                };
                _ = writeln!(text, "{} ({}) {place}:", row.node, row.op);
                for (name, measure) in [("by itself", &row.local), ("as it runs", &row.cumulative)] {
                    if let Some(measure) = measure {
                        _ = writeln!(text, "  {name}: {}", line(measure, c));
                    }
                }
            }
        }
    }
    if document.samples.len() > 1 {
        _ = writeln!(text, "sample {}:", document.sample);
    }
    for output in &document.outputs {
        let (row, metrics) = (output.row, output.metrics);
        _ = writeln!(text, "output {} against {}: {}", row.name, document.reference, line(&row.measure, c));
        let mut more = vec![];
        if let Some(ulp) = metrics.max_ulp_f32 {
            more.push(format!("{ulp} ulp"));
        }
        more.push(format!("cosine {:.9}", row.measure.cosine));
        more.extend(metrics.psnr_db.map(|db| format!("PSNR {db:.1} dB")));
        let share =
            |name: &str, share: Option<f64>| share.map(|share| format!("{name} {:.2} %", 100.0 * share));
        more.extend(share("Top-1", metrics.top1));
        more.extend(share("Top-5", metrics.top5));
        for (name, counts) in [("NaN", metrics.nan), ("infinite", metrics.infinite)] {
            if counts.got + counts.reference > 0 {
                more.push(format!("{} {name} (reference {})", counts.got, counts.reference));
            }
        }
        _ = writeln!(text, "  {}", more.join(", "));
        for one in output.stated.unwrap_or_default() {
            let found = one.found.map_or("-".into(), |found| format!("{found:.6}"));
            let verdict = if one.same { "same" } else { "DIFFERENT" };
            _ = writeln!(text, "  {}: {found}, {verdict}", one.criterion);
        }
    }
    if let Some(fused) = document.fused_plan().filter(|fused| !fused.same) {
        for row in fused.outputs.iter().filter(|row| !row.measure.same) {
            _ = writeln!(text, "rewrites alone, on the CPU, output {}: {}", row.name, line(&row.measure, c));
        }
    }
    if let Some(first) = document.first_different() {
        _ = writeln!(
            text,
            "first different: node '{}' ({}), output '{}'",
            first.node, first.op, first.output
        );
    }
    if document.samples.len() > 1 {
        let same = document.samples.iter().filter(|sample| sample.verdict == Verdict::Same).count();
        _ = writeln!(text, "{same} of {} samples are the same", document.samples.len());
        for worst in &document.worst {
            _ = writeln!(
                text,
                "output {} is worst for {}: off by at most {:.2e}",
                worst.output, worst.sample, worst.max_abs
            );
        }
    }
    if let Some(rows) = &document.range {
        text += &range::text(rows);
    }
    if let Some(repeated) = &document.repeat {
        text += &repeat::text(repeated);
    }
    text += &mechanisms::text(&document.ab);
    for file in &document.heatmaps {
        _ = writeln!(text, "heat map: {}", file.display());
    }
    _ = writeln!(text, "{}", if document.verdict == Verdict::Same { "same" } else { "different" });
    text
}

fn line(measure: &Measure, c: f64) -> String {
    let verdict = if measure.same { "same" } else { "DIFFERENT" };
    let needed = measure.needed.map_or("none".into(), |c| format!("{c:.2}"));
    format!(
        "{verdict}, off by at most {:.2e} (allowed {:.2e} where nearest; c needed {needed} of {c})",
        measure.max_abs, measure.tolerance.value
    )
}
