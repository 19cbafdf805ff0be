//! The modules of src/ are layers that import downwards only: docs/architecture.md draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From the ground up. Modules of one layer don't import each other.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["random", "replace", "threads"],
    &["tensor"],
    &["audio", "base", "image", "simd", "value"],
    &["expression"],
    &["kernels", "cpu_kernels"],
    &["ops"],
    &["graph"],
    &["cpu"],
    &["plan"],
    &["passes"],
    &["onnx"],
    &["compiled"],
    &["gpu"],
    &["device"],
    &["session"],
    &["text"],
    &["compare", "embed", "generate", "tune"],
    &["bench", "transcribe"],
];

/// What is no module of the library.
const APART: [&str; 3] = ["cli", "main", "lib"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The modules at the crate's root that a text names, tests and comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    assert!(!code.contains("use crate::{"), "a list of modules is not read here: a line for each");
    let names = |line: &str| -> Vec<String> {
        let behind = line.split("crate::").skip(1);
        behind.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
    };
    lines.flat_map(names).filter(|name: &String| name.starts_with(char::is_lowercase)).collect()
}

/// (from, to) and the files that import.
fn arrows() -> BTreeMap<(String, String), Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for path in sources(&root) {
        let file = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let from = file.split('/').next().unwrap().trim_end_matches(".rs").to_string();
        if APART.contains(&&*from) {
            continue;
        }
        for to in imports(&std::fs::read_to_string(&path).unwrap()) {
            if to != from {
                all.entry((from.clone(), to)).or_default().push(file.clone());
            }
        }
    }
    all
}

#[test]
fn imports_run_downwards() {
    let rank = |module: &str| {
        let found = LAYERS.iter().position(|layer| layer.contains(&module));
        found.unwrap_or_else(|| panic!("the module '{module}' has no layer in tests/layers.rs"))
    };
    let arrows = arrows();
    for ((from, to), files) in &arrows {
        assert!(rank(to) < rank(from), "{from} imports {to}, which doesn't stand below it: {files:?}");
    }
}

#[test]
fn an_import_is_read_from_code_alone() {
    let text = "use crate::plan::Plan;\n// crate::cpu\nfn f() { crate::ops::g(crate::base::H); crate::Error }\n#[cfg(test)]\nuse crate::gpu;";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["base", "ops", "plan"]);
}

/// Passes, layouts and bounds ask an operator what they need of it. Where one is known by its type, the reason stands
/// before that.
#[test]
fn a_downcast_has_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut count = 0;
    for path in sources(&root).into_iter().filter(|path| !path.starts_with(root.join("ops"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(".downcast::<")) {
            let before = &lines[index.saturating_sub(4)..index];
            assert!(
                before.iter().any(|line| line.contains("// By type: ")),
                "{}:{}: {line} has no reason ('// By type: …'); can the operator be asked?",
                path.display(),
                index + 1
            );
            count += 1;
        }
    }
    // The passes over graphs in nodes go into the graphs that they know, those of quantised pairs are about two
    // operators and what is between them.
    assert!(count <= 30, "{count} downcasts: there were 67 once, and 30 when this was written");
}

/// A page in a browser has no threads, no waits that block, no clock of this kind and no mapped files: what takes them
/// on a device is in `gpu/native`, behind an interface that a page can have too.
const NATIVE: [&str; 9] = [
    "std::thread",
    "thread::",
    "mpsc",
    "Instant",
    "SystemTime",
    "memmap2",
    "pollster",
    "block_on",
    "Condvar",
];

#[test]
fn nothing_on_a_device_needs_a_native_process() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gpu");
    let (mut native, mut elsewhere) = (0, vec![]);
    for path in sources(&root) {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let named = lines.filter(|line| NATIVE.iter().any(|item| line.contains(item)));
        match path.starts_with(root.join("native")) {
            true => native += named.count(),
            false => elsewhere.extend(named.map(|line| format!("{}: {line}", path.display()))),
        }
    }
    assert!(elsewhere.is_empty(), "native items outside of gpu/native: {elsewhere:#?}");
    assert!(native > 20, "{native} lines name native items in gpu/native: is the list out of date?");
}

/// What `gpu` imports isn't tied to a process either: packed weights are a trait to it, whoever maps them.
#[test]
fn a_device_knows_no_files() {
    for (from, to) in arrows().keys().filter(|(from, _)| from == "gpu") {
        assert!(!["compiled", "onnx", "threads", "cpu"].contains(&to.as_str()), "{from} imports {to}");
    }
}
