//! A comparison as Markdown: for a pull request's comment or a CI job's summary, of which GitHub shows 1,024 kB.

use super::document::Document;
use sardonyx::compare::Verdict;
use std::fmt::Write;

/// The most bytes of the text.
const MOST: usize = 1_024_000;
/// What is kept for the end.
const END: usize = 4096;

/// The document as Markdown, of less than 1,024 kB: rows beyond are counted, not shown.
pub fn text(model: &str, document: &Document) -> String {
    let verdict = if document.verdict == Verdict::Same { "same" } else { "different" };
    let mut text = format!("## {}: {verdict}\n\n", plain(model));
    _ = writeln!(text, "On {}, against {}.\n", plain(&document.ran_on()), plain(document.reference));
    if let Some(first) = document.first_different() {
        let names = [&first.node, &first.op, &first.output].map(|name| plain(name));
        _ = writeln!(
            text,
            "First different: node **{}** ({}), output **{}**.\n",
            names[0], names[1], names[2]
        );
    }
    text += "| output | verdict | max abs | max rel | ulp | cosine | Top-1 | needed of c |\n";
    text += "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    let outputs = document.outputs.iter().map(|output| {
        let (measure, metrics) = (&output.row.measure, output.metrics);
        format!(
            "| {} | {} | {:.2e} | {:.2e} | {} | {:.6} | {} | {} |\n",
            plain(&output.row.name),
            word(measure.same),
            measure.max_abs,
            measure.max_rel,
            metrics.max_ulp_f32.map_or("-".into(), |ulp| ulp.to_string()),
            measure.cosine,
            metrics.top1.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share)),
            measure.needed.map_or("none".into(), |c| format!("{c:.2}")),
        )
    });
    rows(&mut text, outputs, "outputs");
    if document.samples.len() > 1 {
        text += "\n| sample | verdict | first different |\n| --- | --- | --- |\n";
        let samples = document.samples.iter().map(|sample| {
            let first = sample.first_different.map_or(String::new(), |first| plain(&first.node));
            format!("| {} | {} | {first} |\n", plain(sample.name), word(sample.verdict == Verdict::Same))
        });
        rows(&mut text, samples, "samples");
    }
    let wrong = document.nodes.iter().filter(|row| !row.same);
    if wrong.clone().next().is_some() {
        text += "\n| node | operator | by itself | as it runs |\n| --- | --- | --- | --- |\n";
        let wrong = wrong.map(|row| {
            let of = |measure: &Option<sardonyx::compare::Measure>| {
                measure.as_ref().map_or("-".into(), |of| format!("{} {:.2e}", word(of.same), of.max_abs))
            };
            format!(
                "| {} | {} | {} | {} |\n",
                plain(&row.node),
                plain(&row.op),
                of(&row.local),
                of(&row.cumulative)
            )
        });
        rows(&mut text, wrong, "nodes");
    }
    text
}

/// Adds a table's rows as far as there is room.
fn rows(text: &mut String, mut rows: impl Iterator<Item = String>, of: &str) {
    let mut left = 0usize;
    for row in rows.by_ref() {
        if text.len() + row.len() + END > MOST {
            left = 1 + rows.by_ref().count();
            break;
        }
        *text += &row;
    }
    if left > 0 {
        _ = writeln!(text, "\n{left} more {of} are not shown.");
    }
}

fn word(same: bool) -> &'static str {
    if same { "same" } else { "DIFFERENT" }
}

/// A name in a table's cell, of no more than 200 characters.
fn plain(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars().take(200) {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '\\' | '&' | '#' | '~' => text.extend(['\\', c]),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_counted() {
        let mut text = String::new();
        rows(&mut text, (0..20_000).map(|row| format!("| {row} {} |\n", "x".repeat(100))), "nodes");
        let shown = text.lines().filter(|line| line.starts_with("| ")).count();
        assert!(text.len() < MOST && text.contains(&format!("{} more nodes are not shown", 20_000 - shown)));
    }

    #[test]
    fn names_stay_within_their_cell() {
        assert_eq!(plain("a|b\n_c"), "a\\|b \\_c");
        assert_eq!(plain(&"é".repeat(500)).chars().count(), 200);
    }
}
