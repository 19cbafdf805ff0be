//! docs/operators.md is made from the registry of operators and their cases; `UPDATE_DOCS=1 cargo test --test
//! docs` writes it anew.

use sardonyx::ops::operators;
use std::collections::BTreeSet;
use std::fmt::Write;

fn page() -> String {
    let mut text = String::from(
        "# Operators\n\n\
         Made from the registry by `UPDATE_DOCS=1 cargo test --test docs`; a test keeps it up to date.\n\n\
         The last column says where an operator's test cases run when there is a GPU: `gpu` by a kernel, `view`\n\
         without moving an element, `plan` while the plan is made, `cpu` as a fallback, which every report says\n\
         and `--strict` refuses.\n\n\
         | operator | from version | runs |\n| --- | --- | --- |\n",
    );
    let mut rows: Vec<_> = operators().collect();
    rows.sort_by_key(|def| (def.domain, def.name));
    for def in rows {
        // What has no cases works on values that cases don't hold: sequences, graphs.
        let none = def.cases.is_empty().then_some(match def.name {
            "If" | "Loop" | "Scan" => "gpu: their graphs",
            _ => "cpu",
        });
        let runs: BTreeSet<&str> = def.cases.iter().map(|case| case.runs).chain(none).collect();
        let domain = if def.domain.is_empty() { String::new() } else { format!("{}::", def.domain) };
        let _ = writeln!(
            text,
            "| {domain}{} | {} | {} |",
            def.name,
            def.since,
            runs.into_iter().collect::<Vec<_>>().join(", ")
        );
    }
    text += "\n## onnxruntime's own operators\n\n\
             onnxruntime's optimiser leaves these in models. They are replaced by standard operators\n\
             (`src/onnx/contrib`), which run as above.\n\n\
             | operator |\n| --- |\n";
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
