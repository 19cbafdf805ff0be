//! The report as text.

use super::Document;
use comfy_table::{Cell, CellAlignment, Table, presets};

/// A table of the layers, then the whole.
pub fn report(document: &Document) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["layer", "weights", "KiB", "to KiB", "error", "cosine"]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for row in &document.layers {
        let kib = |bytes: u64| format!("{:.1}", bytes as f64 / 1024.0);
        let weighs = row.sizes != [0; 2];
        let cost = |of: fn(&super::Cost) -> String| row.cost.as_ref().map_or("-".to_string(), of);
        table.add_row([
            Cell::new(format!("{} ({})", row.node, row.op)),
            right(if weighs { format!("{} x {}", row.sizes[0], row.sizes[1]) } else { "-".into() }),
            right(if weighs { kib(row.before_bytes) } else { "-".into() }),
            right(match row.kept {
                true => "kept".into(),
                false if weighs => kib(row.after_bytes),
                false => "-".into(),
            }),
            right(cost(|cost| format!("{:.2e}", cost.max_rel))),
            right(cost(|cost| format!("{:.6}", cost.cosine))),
        ]);
    }
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let kept = document.layers.iter().filter(|row| row.kept).count();
    let mut text = format!("{}\n", table.trim_fmt());
    let (quantised, all) = (document.layers.len() - kept, document.layers.len());
    text += &format!(
        "{quantised} of {all} layers in {}: {:.1} MiB to {:.1} MiB\n",
        document.form,
        mib(document.before_bytes),
        mib(document.after_bytes)
    );
    if let Some(first) = document.left.first() {
        let more = document.left.len() - 1;
        text += &format!("in floats: {} ({}), as {}", first.node, first.op, first.reason);
        text += &if more > 0 { format!("; and {more} more (--json lists them)\n") } else { "\n".into() };
    }
    text += &format!(
        "outputs over {} sample{}: an error of {:.2e}, cosine {:.6}\n",
        document.samples,
        if document.samples == 1 { "" } else { "s" },
        document.error.max_rel,
        document.error.cosine
    );
    text
}
