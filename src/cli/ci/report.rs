//! The checks as text, as Markdown for a pull request, and as JUnit's XML for whatever shows test results.

use super::Counts;
use super::check::{Check, Status};
use comfy_table::{Table, presets};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use sardonyx::error::{Error, Result};
use sardonyx::replace::write_whole;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// GitHub takes this many bytes of a step's summary.
const MOST_MARKDOWN: usize = 1_000 << 10;

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::Failed => "FAILED",
            Status::Error => "ERROR",
        }
    }
}

/// What a check is called.
fn name(check: &Check) -> String {
    let sample = check.sample.as_ref().map_or(String::new(), |sample| format!(", {sample}"));
    format!("{} {} on {}, {}{sample}", check.check, check.model, check.device, check.precision)
}

/// A check in a line.
pub fn line(check: &Check) -> String {
    format!("{}: {}: {}", check.status.word(), name(check), check.message)
}

fn summary(counts: Counts) -> String {
    format!("{} passed, {} failed, {} could not run", counts.passed, counts.failed, counts.error)
}

pub fn text(checks: &[Check], counts: Counts) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["", "model", "device", "", "check", "sample", "result", "s"]);
    for check in checks {
        table.add_row([
            check.status.word(),
            &check.model,
            check.adapter.as_deref().unwrap_or(&check.device),
            &check.precision,
            check.check,
            check.sample.as_deref().unwrap_or(""),
            &check.message,
            &format!("{:.1}", check.seconds),
        ]);
    }
    format!("{table}\n{}\n", summary(counts))
}

/// Text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

/// What failed first, then all; as much as GitHub shows.
pub fn markdown(checks: &[Check], counts: Counts) -> String {
    let verdict = if counts.failed + counts.error == 0 { "✅" } else { "❌" };
    let mut text = format!("### {verdict} sardonyx: {}\n\n", summary(counts));
    text += "| | model | device | | check | sample | result |\n| --- | --- | --- | --- | --- | --- | --- |\n";
    let mut sorted: Vec<&Check> = checks.iter().collect();
    sorted.sort_by_key(|check| check.status == Status::Passed);
    for (index, check) in sorted.iter().enumerate() {
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            if check.status == Status::Passed { "✅" } else { "❌" },
            cell(&check.model),
            cell(check.adapter.as_deref().unwrap_or(&check.device)),
            check.precision,
            check.check,
            cell(check.sample.as_deref().unwrap_or("")),
            cell(&check.message),
        );
        if text.len() + row.len() > MOST_MARKDOWN {
            _ = writeln!(text, "\n{} more checks are left out here.", sorted.len() - index);
            break;
        }
        text += &row;
    }
    text
}

/// Adds text to the end of a file, as a step's summary wants it.
pub fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|problem| Error::file(path, format!("can't be written: {problem}")))
}

/// Writes a test suite for each model and device.
pub fn write_junit(path: &Path, checks: &[Check]) -> Result<()> {
    let mut report = Report::new("sardonyx ci");
    let mut suites: Vec<(String, TestSuite)> = vec![];
    for check in checks {
        let suite = format!("{} on {}", check.model, check.adapter.as_deref().unwrap_or(&check.device));
        let mut status = match check.status {
            Status::Passed => TestCaseStatus::success(),
            Status::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
            Status::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        };
        if check.status != Status::Passed {
            status.set_message(check.message.as_str());
        }
        let mut case = TestCase::new(name(check), status);
        case.set_classname(check.model.as_str());
        case.set_time(Duration::try_from_secs_f64(check.seconds).unwrap_or_default());
        case.set_system_out(check.message.as_str());
        match suites.iter_mut().find(|(name, _)| *name == suite) {
            Some((_, suite)) => drop(suite.add_test_case(case)),
            None => {
                let mut new = TestSuite::new(suite.as_str());
                new.add_test_case(case);
                suites.push((suite, new));
            }
        }
    }
    report.add_test_suites(suites.into_iter().map(|(_, suite)| suite));
    let text = report
        .to_string()
        .map_err(|problem| Error::internal(format!("JUnit's XML could not be made: {problem}")))?;
    write_whole(path, text.as_bytes())
}
