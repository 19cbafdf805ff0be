//! docs/operators.md is made from the register and its cases; `UPDATE_DOCS=1 cargo test --test docs` writes
//! it anew.

use sardonyx::ops::operators;
use std::collections::BTreeSet;
use std::fmt::Write;

fn page() -> String {
    let mut text = String::from(
        "# Operators\n\nMade from the register by `UPDATE_DOCS=1 cargo test --test docs`; a test holds it to that.\n\n\
         Where an operator runs when a GPU is there is what its cases show: `gpu` a kernel, `view` nothing moves, `plan` computed when\n\
         the plan is made, `cpu` a form that falls back (said in every report, refused by `--strict`).\n\n\
         | operator | from version | runs |\n| --- | --- | --- |\n",
    );
    let mut rows: Vec<_> = operators().collect();
    rows.sort_by_key(|def| (def.domain, def.name));
    for def in rows {
        let runs: BTreeSet<&str> = def.cases.iter().map(|case| case.runs).collect();
        let domain = if def.domain.is_empty() { String::new() } else { format!("{}::", def.domain) };
        let _ = writeln!(
            text,
            "| {domain}{} | {} | {} |",
            def.name,
            def.since,
            runs.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    text += "\n## onnxruntime's own operators\n\nWhat its optimiser leaves in models is taken apart into standard operators (`src/onnx/contrib`), which run as above.\n\n| operator |\n| --- |\n";
    for (domain, name) in sardonyx::onnx::contrib::names() {
        let domain = if domain.is_empty() { String::new() } else { format!("{domain}::") };
        let _ = writeln!(text, "| {domain}{name} |");
    }
    text
}

#[test]
fn the_list_of_operators_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operators.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/operators.md is out of date: run UPDATE_DOCS=1 cargo test --test docs");
}

#[test]
fn no_operator_is_registered_twice() {
    let mut seen = BTreeSet::new();
    for def in operators() {
        assert!(seen.insert((def.domain, def.name)), "{} has two rows", def.name);
    }
}

/// Each code block of docs/adding-an-operator.md that names a file is a part of it.
#[test]
fn what_the_walk_through_quotes_is_the_source() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/adding-an-operator.md")).unwrap();
    let mut quotes = 0;
    for block in page.split("```").skip(1).step_by(2) {
        let (head, code) = block.split_once('\n').unwrap();
        let Some((_, file)) = head.split_once(' ') else { continue };
        let source =
            std::fs::read_to_string(root.join(file)).unwrap_or_else(|problem| panic!("{file}: {problem}"));
        assert!(
            source.contains(code),
            "docs/adding-an-operator.md quotes what {file} no longer says:\n{code}"
        );
        quotes += 1;
    }
    assert!(quotes >= 8, "{quotes}");
}
