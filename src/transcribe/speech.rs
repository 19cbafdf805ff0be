//! What a model of speech says of itself in `generation_config.json`.

use crate::error::{Error, Result};
use crate::generate::Suppressed;
use crate::text::{ModelFiles, Tokenizer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tokens that say what is to be done, and those that aren't text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SpeechConfig {
    /// The token of each language, by its code: `en`.
    pub languages: BTreeMap<String, u32>,
    /// The token of each task: `transcribe`, `translate`.
    pub tasks: BTreeMap<String, u32>,
    /// The token behind which no times are written. All tokens behind it are times.
    pub no_times: Option<u32>,
    /// Tokens that a model without languages begins with.
    pub forced: Vec<u32>,
    pub suppressed: Suppressed,
    /// The file that says it.
    pub path: Option<PathBuf>,
}

impl SpeechConfig {
    /// Reads what lies beside a model.
    ///
    /// Errors, with the file: no JSON, a value that can't be.
    pub fn read(files: &ModelFiles, tokenizer: &Tokenizer) -> Result<Self> {
        let mut config = Self { no_times: tokenizer.id("<|notimestamps|>"), ..Self::default() };
        let found = match files.json("generation_config.json")? {
            None => files.json("config.json")?,
            found => found,
        };
        let Some((path, said)) = found else { return Ok(config) };
        if said.get("is_multilingual").and_then(Value::as_bool) != Some(false) {
            config.languages = tokens_by_name(&path, &said, "lang_to_id")?;
            config.tasks = tokens_by_name(&path, &said, "task_to_id")?;
        }
        if let Some(id) = said.get("no_timestamps_token_id").filter(|id| !id.is_null()) {
            config.no_times = Some(token(&path, "no_timestamps_token_id", id)?);
        }
        // [place, token]; null is the model's own choice.
        for pair in list(&path, &said, "forced_decoder_ids")? {
            let id = pair.as_array().and_then(|pair| pair.get(1));
            let id = id.ok_or_else(|| unusable(&path, "forced_decoder_ids", &pair))?;
            if !id.is_null() {
                config.forced.push(token(&path, "forced_decoder_ids", id)?);
            }
        }
        let tokens = |key: &str| -> Result<Vec<u32>> {
            list(&path, &said, key)?.iter().map(|id| token(&path, key, id)).collect()
        };
        config.suppressed =
            Suppressed { always: tokens("suppress_tokens")?, first: tokens("begin_suppress_tokens")? };
        config.path = Some(path);
        Ok(config)
    }
}

fn unusable(path: &Path, key: &str, value: &Value) -> Error {
    let shown: String = value.to_string().chars().take(60).collect();
    Error::file(path, format!("{key} has {shown}, which it can't")).remedy("correct the file")
}

fn token(path: &Path, key: &str, value: &Value) -> Result<u32> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| unusable(path, key, value))
}

/// A list that a file may say; null is an empty one.
fn list(path: &Path, document: &Value, key: &str) -> Result<Vec<Value>> {
    match document.get(key) {
        None | Some(Value::Null) => Ok(vec![]),
        Some(Value::Array(list)) => Ok(list.clone()),
        Some(other) => Err(unusable(path, key, other)),
    }
}

/// Tokens by name; a language's is without the marks around it: `<|en|>` is `en`.
fn tokens_by_name(path: &Path, document: &Value, key: &str) -> Result<BTreeMap<String, u32>> {
    let named = match document.get(key) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(named)) => named,
        Some(other) => return Err(unusable(path, key, other)),
    };
    let one = |(name, id): (&String, &Value)| {
        let short = name.trim_start_matches("<|").trim_end_matches("|>");
        Ok((short.to_string(), token(path, key, id)?))
    };
    named.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_that_cannot_be_are_named() {
        let path = Path::new("g.json");
        let named = tokens_by_name(path, &json!({"l": {"<|en|>": 7}}), "l").unwrap();
        assert_eq!(named, BTreeMap::from([("en".to_string(), 7)]));
        let told = tokens_by_name(path, &json!({"l": {"en": -1}}), "l").unwrap_err().to_string();
        assert!(told.contains("g.json: l has -1"), "{told}");
        let told = list(path, &json!({"l": 5}), "l").unwrap_err().to_string();
        assert!(told.contains("l has 5"), "{told}");
        assert!(list(path, &json!({"l": null}), "l").unwrap().is_empty());
    }
}
