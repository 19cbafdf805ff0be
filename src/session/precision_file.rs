//! Which nodes of a model are held in float32, as a file: what `compare --precision auto` writes.

use crate::base::Precision;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the file's form.
const SCHEMA: u32 = 1;

/// A file is no longer than this.
const MOST_BYTES: u64 = 64 << 20;

/// Precision by node: float16, but for the nodes that are held in float32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrecisionFile {
    schema: u32,
    /// Of all other nodes.
    pub precision: Precision,
    /// The nodes, by name, whose results are stored as float32.
    pub hold_f32: Vec<String>,
    /// The model that they were found for, and how: for readers, and for who finds them.
    #[serde(default)]
    pub found: serde_json::Value,
}

impl PrecisionFile {
    /// Float16 but for these nodes; `found` says how they were found.
    pub fn new(hold_f32: Vec<String>, found: serde_json::Value) -> Self {
        Self { schema: SCHEMA, precision: Precision::F16, hold_f32, found }
    }

    /// Reads a file.
    ///
    /// Errors, which name it: it can't be read, is none of this kind, or of a later form.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let unread = |problem: std::io::Error| {
            Error::file(path, format!("can't be read: {problem}")).remedy("check the path").caused_by(problem)
        };
        let wrong = |what: String| {
            Error::file(path, what).remedy("give a file that compare --precision auto has written")
        };
        let length = std::fs::metadata(path).map_err(unread)?.len();
        if length > MOST_BYTES {
            return Err(wrong(format!("has {length} bytes; a list of nodes has {MOST_BYTES} at most")));
        }
        let text = std::fs::read_to_string(path).map_err(unread)?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|problem| wrong(format!("is no JSON: {problem}")))?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => {}
            Some(other) => return Err(wrong(format!("is of schema {other}; {SCHEMA} is supported"))),
            None => return Err(wrong("has no \"schema\"".into())),
        }
        serde_json::from_value(value).map_err(|problem| wrong(format!("is no list of nodes: {problem}")))
    }

    /// The file's text.
    ///
    /// Errors: none but a defect's.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_and_what_is_none_is_refused() {
        let path = std::env::temp_dir().join(format!("sardonyx-precision-{}.json", std::process::id()));
        let file = PrecisionFile::new(vec!["a".into(), "b/c".into()], serde_json::json!({"error": 0.5}));
        std::fs::write(&path, file.text().unwrap()).unwrap();
        assert_eq!(PrecisionFile::read(&path).unwrap(), file);
        for (text, part) in [
            ("", "no JSON"),
            ("{\"schema\": 1, \"precision\": \"f16\"", "no JSON"),
            ("{\"schema\": 2}", "schema 2; 1 is supported"),
            ("{}", "no \"schema\""),
            ("{\"schema\": 1, \"precision\": \"f8\", \"hold_f32\": []}", "f8"),
            ("{\"schema\": 1, \"precision\": \"f16\"}", "hold_f32"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = PrecisionFile::read(&path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("sardonyx-precision"), "{text}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(PrecisionFile::read(&path).is_err());
    }
}
