//! Results as JUnit's XML, which CI systems show
//! ([the form](https://github.com/testmoapp/junitxml)).

use super::verify_case::{CaseResult, Status};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use sardonyx::error::{Error, Result};
use sardonyx::replace::write_whole;
use std::path::Path;

/// Writes the results of `verify`'s cases that ran on `device`.
pub fn write(path: &Path, device: &str, results: &[CaseResult]) -> Result<()> {
    let cases = results.iter().map(case).collect();
    write_suite(path, &format!("sardonyx verify on {device}"), cases)
}

/// Writes a suite of test cases.
pub fn write_suite(path: &Path, name: &str, cases: Vec<TestCase>) -> Result<()> {
    write_whole(path, document(name, cases)?.as_bytes())
}

fn document(name: &str, cases: Vec<TestCase>) -> Result<String> {
    let mut suite = TestSuite::new(name);
    suite.add_test_cases(cases);
    let mut report = Report::new("sardonyx");
    report.add_test_suite(suite);
    report.to_string().map_err(|problem| Error::internal(format!("JUnit's XML could not be made: {problem}")))
}

fn case(result: &CaseResult) -> TestCase {
    let name = result.path.file_name().unwrap_or_default().to_string_lossy();
    let group = result.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let mut status = match result.status {
        Status::Passed => TestCaseStatus::success(),
        Status::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Status::Unsupported => TestCaseStatus::skipped(),
    };
    if let Some(reason) = &result.reason {
        status.set_message(reason.clone());
    }
    let mut case = TestCase::new(name.into_owned(), status);
    case.set_classname(group.into_owned());
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_element() {
        let made = |name: &str, status, reason: &str| {
            CaseResult::new(Path::new(name), status, Some(reason.to_string()).filter(|text| !text.is_empty()))
        };
        let results = [
            made("suite/node/a", Status::Passed, ""),
            made("suite/node/b", Status::Failed, "1 < 2 & \"3\"\u{1}\n"),
            made("suite/node/c", Status::Unsupported, "no"),
            made("suite/node/d", Status::Error, "crashed"),
        ];
        let text = document("sardonyx verify on CPU", results.iter().map(case).collect()).unwrap();
        assert!(text.contains("tests=\"4\"") && text.contains("disabled=\"1\""), "{text}");
        assert!(text.contains("failures=\"1\"") && text.contains("errors=\"1\""), "{text}");
        assert!(text.contains("<testcase name=\"a\" classname=\"node\""), "{text}");
        assert!(text.contains("1 &lt; 2 &amp; &quot;3&quot;") && !text.contains('\u{1}'), "{text}");
        assert!(text.contains("<skipped message=\"no\"/>") && text.contains("crashed"), "{text}");
    }
}
