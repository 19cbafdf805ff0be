//! An evaluation as text.

use super::super::options::{DeviceFields, precision_name};
use super::classes::Classes;
use super::document::Document;
use super::scores::Scores;
use comfy_table::{CellAlignment, Table, presets};

/// The most classes whose whole confusion matrix is printed, and the most lines of mistakes beyond.
const MATRIX: usize = 20;

/// A device as a reader calls it.
pub fn device(fields: &DeviceFields) -> String {
    fields.adapter.clone().unwrap_or_else(|| "CPU".to_string())
}

fn share(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The lines that say how it went.
pub fn facts(document: &Document) -> Vec<String> {
    let rate = document.per_second.map(|rate| format!(", {rate:.1} a second with reading and preprocessing"));
    let mut lines = vec![format!(
        "{} files on {}, {}, batch {}{}",
        document.evaluated,
        device(&document.device),
        precision_name(&document.precision),
        document.batch,
        rate.unwrap_or_default()
    )];
    if let Some(scores) = &document.classification {
        lines.push(format!(
            "Top-1 {} ({} of {}), Top-5 {} ({} of {})",
            share(scores.top1),
            scores.correct_top1,
            scores.count,
            share(scores.top5),
            scores.correct_top5,
            scores.count
        ));
        lines.push(format!(
            "Top-1 as a mean over classes {}, expected calibration error {:.4}",
            share(scores.mean_class_top1),
            scores.expected_calibration_error
        ));
    }
    let number = |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.6}"));
    if let Some(found) = &document.regression {
        lines.push(format!(
            "MAE {:.6}, RMSE {:.6}, R² {} over {} numbers",
            found.mean_absolute_error,
            found.root_mean_square_error,
            number(found.r2),
            found.count
        ));
    }
    if let Some(found) = &document.distribution {
        lines.push(format!(
            "KL divergence {}, total variation {:.6}, expected calibration error {:.4}",
            number(found.kl_divergence),
            found.total_variation,
            found.expected_calibration_error
        ));
    }
    if let Some(found) = &document.tokens {
        lines.push(format!(
            "exact match {}, edit distance {:.3} a sequence, token error rate {}",
            share(found.exact_match),
            found.mean_edit_distance,
            share(found.token_error_rate)
        ));
    }
    if let Some(against) = &document.against {
        lines.push(format!(
            "against {}: Top-1 {}, Top-5 {}; both agree on {}, differ on {}",
            device(&against.device),
            share(against.top1),
            share(against.top5),
            share(against.agreement),
            super::super::report::plural(against.disagreements, "file")
        ));
    }
    if !document.skipped.is_empty() {
        lines.push(format!(
            "skipped {} that can't be read",
            super::super::report::plural(document.skipped.len(), "file")
        ));
    }
    lines
}

pub fn text(document: &Document, classes: &Classes) -> String {
    let mut text: String = facts(document).iter().map(|line| format!("{line}\n")).collect();
    if let Some(scores) = &document.classification {
        text += &format!("{}\n{}", per_class(scores), confusion(scores, classes));
    }
    for one in document.against.iter().flat_map(|against| &against.listed).take(MATRIX) {
        text += &format!(
            "differs: {} ({}): {} {:.1} %, against {} {:.1} %\n",
            one.file,
            one.label,
            one.predicted,
            one.probability * 100.0,
            one.against,
            one.against_probability * 100.0
        );
    }
    text
}

fn table(header: Vec<String>) -> Table {
    let columns = header.len();
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(header);
    for index in 1..columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn per_class(scores: &Scores) -> Table {
    let header = ["class", "files", "Top-1", "Top-5", "precision"];
    let mut table = table(header.iter().map(|name| name.to_string()).collect());
    for class in &scores.per_class {
        let precision = class.precision.map_or("–".to_string(), share);
        table.add_row([
            class.label.clone(),
            class.count.to_string(),
            share(class.top1),
            share(class.top5),
            precision,
        ]);
    }
    table
}

/// A matrix where the classes are few, else the mistakes that were made most often.
fn confusion(scores: &Scores, classes: &Classes) -> String {
    let mut seen: Vec<usize> =
        scores.confusion.iter().flat_map(|field| [field.expected, field.predicted]).collect();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() > MATRIX {
        let mut mistakes: Vec<_> =
            scores.confusion.iter().filter(|field| field.expected != field.predicted).collect();
        mistakes.sort_by_key(|field| std::cmp::Reverse(field.count));
        let line = |field: &&super::scores::Confusion| {
            format!(
                "{} times {} for {}\n",
                field.count,
                classes.name(field.predicted),
                classes.name(field.expected)
            )
        };
        return mistakes.iter().take(MATRIX).map(line).collect();
    }
    let short = |class: usize| super::super::report::shortened(&classes.name(class), 14);
    let header = std::iter::once("is \\ taken for".to_string()).chain(seen.iter().map(|class| short(*class)));
    let mut table = table(header.collect());
    for expected in &seen {
        let count = |predicted: &usize| {
            let field = scores
                .confusion
                .iter()
                .find(|field| (field.expected, field.predicted) == (*expected, *predicted));
            field.map_or("·".to_string(), |field| field.count.to_string())
        };
        let row: Vec<String> = std::iter::once(short(*expected)).chain(seen.iter().map(count)).collect();
        if row.iter().skip(1).any(|field| field != "·") {
            table.add_row(row);
        }
    }
    format!("{table}\n")
}
