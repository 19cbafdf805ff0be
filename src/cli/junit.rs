//! Results of cases as JUnit's XML, which CI systems show
//! ([the form](https://github.com/testmoapp/junitxml)).

use super::verify_case::{CaseResult, Status};
use sardonyx::error::Result;
use sardonyx::replace::write_whole;
use std::path::Path;

/// Writes the results of cases that ran on `device`.
pub fn write(path: &Path, device: &str, results: &[CaseResult]) -> Result<()> {
    write_whole(path, document(device, results).as_bytes())
}

fn document(device: &str, results: &[CaseResult]) -> String {
    let count = |status| results.iter().filter(|result| result.status == status).count();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text += &format!(
        "<testsuite name=\"sardonyx verify on {}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n",
        escaped(device),
        results.len(),
        count(Status::Failed),
        count(Status::Error),
        count(Status::Unsupported)
    );
    for result in results {
        let name = result.path.file_name().unwrap_or_default().to_string_lossy();
        let group = result.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let head = format!("  <testcase classname=\"{}\" name=\"{}\"", escaped(&group), escaped(&name));
        let kind = match result.status {
            Status::Passed => {
                text += &format!("{head}/>\n");
                continue;
            }
            Status::Failed => "failure",
            Status::Error => "error",
            Status::Unsupported => "skipped",
        };
        let reason = escaped(result.reason.as_deref().unwrap_or_default());
        text += &format!("{head}>\n    <{kind} message=\"{reason}\"/>\n  </testcase>\n");
    }
    text + "</testsuite>\n"
}

/// Text as an attribute's value: XML has no place for most control characters.
fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        '"' => "&quot;".to_string(),
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => " ".to_string(),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_element() {
        let case = |name: &str, status, reason: &str| {
            CaseResult::new(Path::new(name), status, Some(reason.to_string()).filter(|text| !text.is_empty()))
        };
        let results = [
            case("suite/node/a", Status::Passed, ""),
            case("suite/node/b", Status::Failed, "1 < 2 & \"3\"\n"),
            case("suite/node/c", Status::Unsupported, "no"),
            case("suite/node/d", Status::Error, "crashed"),
        ];
        let text = document("CPU", &results);
        assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\""), "{text}");
        assert!(text.contains("<testcase classname=\"node\" name=\"a\"/>"), "{text}");
        assert!(text.contains("<failure message=\"1 &lt; 2 &amp; &quot;3&quot; \"/>"), "{text}");
        assert!(text.contains("<skipped message=\"no\"/>") && text.contains("<error message=\"crashed\"/>"));
    }
}
