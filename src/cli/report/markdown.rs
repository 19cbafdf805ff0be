//! The report as Markdown that fits a pull request's comment.

use super::units::{difference, ms, percent, plural, rate, times, utc};
use super::view::View;

/// GitHub takes 65,536 characters; the end is left for what says that rows are missing.
const MOST: usize = 60_000;

/// Text that Markdown shows as it is.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match character {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}

/// A table; columns whose name begins with `>` are aligned at the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = header.iter().map(|name| name.trim_start_matches('>').to_string()).collect();
    let rule =
        header.iter().map(|name| if name.starts_with('>') { "---:" } else { "---" }.to_string()).collect();
    let rows: String = rows.iter().map(|row| line(row.clone())).collect();
    format!("{}{}{rows}", line(names), line(rule))
}

/// As many lines as there is room for.
pub fn bounded(text: &str) -> String {
    if text.len() <= MOST {
        return text.to_string();
    }
    let mut kept = String::new();
    let mut lines = text.lines();
    for line in lines.by_ref() {
        if kept.len() + line.len() > MOST {
            break;
        }
        kept += line;
        kept.push('\n');
    }
    format!("{kept}\n… and {} lines more, which a comment has no room for.\n", lines.count() + 1)
}

pub fn markdown(view: &View) -> String {
    let merged = &view.merged;
    let mut text = format!("**{}**\n\n", escaped(&view.answer()));
    for warning in view.warnings() {
        text += &format!("> {}\n\n", escaped(&warning));
    }
    let speeds: Vec<Vec<String>> = view
        .speeds
        .list
        .iter()
        .map(|speed| {
            let [ok, rounding, different] = view.verdicts(Some(speed.series));
            vec![
                escaped(merged.series_label(speed.series)),
                speed.ratio().map_or("–".into(), times),
                speed.shared.map_or("–".into(), times),
                speed.over.len().to_string(),
                format!("{ok} / {rounding} / {different}"),
            ]
        })
        .collect();
    text += &table(&["Device", ">Speed", ">All shared", ">Models", ">OK / ROUNDING / DIFFERENT"], &speeds);
    text += &format!(
        "\nSpeed: the geometric mean of the medians' ratios against {}, over the {} that all ran; beside it over all that \
         each shares with it.\n\n",
        escaped(merged.series_label(view.baseline)),
        plural(view.speeds.common.len(), "model")
    );
    let failed: Vec<Vec<String>> = view
        .failed()
        .iter()
        .map(|(cell, reason)| {
            vec![escaped(&view.cell_name(cell)), escaped(merged.series_label(cell.series)), escaped(reason)]
        })
        .collect();
    if !failed.is_empty() {
        text += &format!("Could not run:\n\n{}\n", table(&["Model", "Device", "Reason"], &failed));
    }
    let mut rows = vec![];
    for (index, workload) in merged.measured_workloads() {
        for cell in view.ranked(index) {
            let agreement = cell.data.agreement.and_then(|agreement| agreement.top1);
            rows.push(vec![
                escaped(&workload.label),
                escaped(merged.series_label(cell.series)),
                ms(cell.median()),
                ms(cell.spread().1),
                rate(cell.per_second()),
                ms(cell.data.first_inference_ms),
                cell.data.verdict.as_deref().map_or("–".into(), escaped),
                difference(cell.difference()),
                percent(agreement),
                cell.data.fallbacks.len().to_string(),
            ]);
        }
    }
    let header = [
        "Model",
        "Device",
        ">Median ms",
        ">p95 ms",
        ">Per second",
        ">First ms",
        "Verdict",
        ">Difference",
        ">Top-1",
        ">Fallbacks",
    ];
    text += &format!("<details><summary>All results</summary>\n\n{}\n</details>\n\n", table(&header, &rows));
    for run in &merged.runs {
        let context = &run.context;
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
        text += &format!(
            "- {}: {}, {} {}, {}, sardonyx {}, {}\n",
            escaped(&run.file),
            escaped(&known(&context.host)),
            escaped(&known(&context.os)),
            escaped(&known(&context.arch)),
            escaped(&known(&context.cpu.name)),
            escaped(&known(&context.sardonyx)),
            utc(context.unix_time)
        );
    }
    bounded(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_in_its_cell() {
        assert_eq!(escaped("a|b\n<img src=x> `c` *d*"), r"a\|b &lt;img src=x&gt; \`c\` \*d\*");
        assert_eq!(
            table(&["a", ">b"], &[vec!["1".into(), "2".into()]]),
            "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"
        );
        let long = bounded(&"0123456789\n".repeat(10_000));
        assert!(long.len() < 65_536 && long.contains("lines more"), "{}", long.len());
    }
}
