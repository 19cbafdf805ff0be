//! What a bundle says of itself.

use super::dispatches::Document;
use sardonyx::compare::Evidence;
use std::fmt::Write;
use std::path::Path;

/// README.md of a bundle. `lacking`: why there is no model.onnx.
pub(super) fn text(file: &Path, evidence: &Evidence, document: &Document, lacking: Option<&str>) -> String {
    let model = file.file_name().unwrap_or_default().to_string_lossy();
    let step = &evidence.step;
    let mut text = format!("# {} ({}) of {model}\n\n", step.node, step.op);
    let found = match (evidence.differs, evidence.local) {
        (false, _) => "The step agrees with the reference.",
        (true, true) => "The step, fed with the reference's values, differs from the reference.",
        (true, false) => "The step is right by itself; in the run as planned its result differs.",
    };
    _ = writeln!(text, "{found} The value is `{}`.\n", step.output);
    _ = writeln!(text, "| | |\n| --- | --- |");
    for (name, value) in [
        ("adapter", document.adapter.as_deref()),
        ("driver", document.driver.as_deref()),
        ("backend", document.backend.as_deref()),
        ("sardonyx", Some(document.sardonyx)),
    ] {
        _ = writeln!(text, "| {name} | {} |", value.unwrap_or("-"));
    }
    text += "\n## Run it\n\n";
    match &document.cannot_replay {
        Some(why) => _ = writeln!(text, "There are no dispatches to run: {why}.\n"),
        None => {
            text += "```sh\npip install numpy wgpu   # or wgpudawn\npython replay.py\n```\n\n\
                Exit code 0: every element is right; 1: the difference is there; 2: it can't run here. \
                `--package wgpudawn` takes Dawn, `--adapter NAME` another adapter.\n\n";
            if evidence.replay.as_ref().is_some_and(|replay| replay.differs && replay.steps.len() > 1) {
                text += "More than one step is run: an earlier one writes over what the last one reads.\n\n";
            }
            if !document.differs_alone {
                text += "When the bundle was written these dispatches, run by themselves, made the right \
                    result: what differs depends on more of the run than they are.\n\n";
            }
            let lacking = |one: &super::dispatches::Dispatch| one.shaders.iter().all(|form| !form.standard);
            if document.dispatches.iter().any(lacking) {
                text += "Not every kernel has a text in standard WGSL: wgpudawn can't run it.\n\n";
            }
        }
    }
    text += "## What is here\n\n";
    match lacking {
        None => {
            text += "- `model.onnx`, `test_data_set_0/`: the step's nodes, their inputs and what they \
            should make, as an ONNX test case.\n"
        }
        Some(why) => _ = writeln!(text, "- No `model.onnx`: {why}."),
    }
    if document.cannot_replay.is_none() {
        text += "- `dispatch.json`: the dispatches in order, with shaders, bindings, parameters and grid; each \
            buffer's contents before them (`fill`, a 32-bit word, where there is no file), and the \
            result.\n\
            - `*.wgsl`: a kernel as it ran, and with less than it takes where that is more than WebGPU's \
            core.\n\
            - `result/`: where in the buffer the value's elements are, what the device made of them, and each \
            right answer with how far every element may be off.\n";
    }
    text
}
