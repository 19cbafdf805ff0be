//! A comparison as JUnit's XML.

use super::super::junit;
use super::document::Document;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus};
use sardonyx::compare::{Measure, Verdict};
use sardonyx::error::Result;
use std::path::Path;

/// Writes a test case for each output of each sample, for each node that was measured, and for the rewrites.
pub fn write(file: &Path, model: &str, document: &Document) -> Result<()> {
    junit::write_suite(file, &format!("sardonyx compare on {}", document.ran_on()), cases(model, document))
}

fn cases(model: &str, document: &Document) -> Vec<TestCase> {
    let mut cases = vec![];
    for sample in &document.samples {
        for output in &sample.outputs {
            let why = || match sample.first_different {
                Some(first) => format!("off by {:.3e}; first different: {}", output.max_abs, first.node),
                None => format!("off by {:.3e}", output.max_abs),
            };
            let name = format!("{}: output {}", sample.name, output.name);
            cases.push(case(model, &name, (!output.same).then(why)));
        }
        // What differs though every output is the same.
        if sample.verdict != Verdict::Same && sample.outputs.iter().all(|output| output.same) {
            let why = sample.first_different.map_or("a node or the rewrites differ".into(), |first| {
                format!("first different: {}", first.node)
            });
            cases.push(case(model, &format!("{}: nodes", sample.name), Some(why)));
        }
    }
    for row in document.nodes.iter().filter(|row| row.local.is_some() || row.cumulative.is_some()) {
        let wrong = |kind: &str, of: &Option<Measure>| {
            let of = of.as_ref().filter(|of| !of.same)?;
            Some(format!("{kind} off by {:.3e}, allowed {:.3e}", of.max_abs, of.tolerance.value))
        };
        let wrong = wrong("by itself", &row.local).or_else(|| wrong("as it runs", &row.cumulative));
        cases.push(case(model, &format!("node {} ({}): {}", row.node, row.op, row.output), wrong));
    }
    cases
}

fn case(model: &str, name: &str, wrong: Option<String>) -> TestCase {
    let status = match wrong {
        None => TestCaseStatus::success(),
        Some(why) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(why);
            status
        }
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(model);
    case
}
