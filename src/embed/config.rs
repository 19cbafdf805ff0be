//! What lies beside an encoder and says how its vectors become a text's: sentence-transformers' files.

use super::pooling::Pooling;
use crate::error::{Error, Result};
use crate::text::{ModelFiles, Tokenizer};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the files say. What none says is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EmbedConfig {
    /// Poolings, put side by side, and the file that says them.
    pub pooling: Option<(PathBuf, Vec<Pooling>)>,
    /// The length of the tokens' vectors.
    pub width: Option<usize>,
    /// Whether vectors are brought to length 1.
    pub normalize: bool,
    /// The most tokens of a text, and who says so.
    pub most: Option<usize>,
    /// The token that shorter texts are filled up with.
    pub filling: Option<u32>,
    /// A module that isn't known, with the file that names it.
    pub unknown: Option<(PathBuf, String)>,
}

/// What tokenizers without a limit say theirs is: more than any text has.
const NO_LIMIT: u64 = 1 << 32;

impl EmbedConfig {
    /// Reads what lies beside a model; files that aren't there are no error.
    ///
    /// Errors, with the file: no JSON, a value that can't be.
    pub fn read(files: &ModelFiles, tokenizer: &Tokenizer) -> Result<Self> {
        let mut config = Self { filling: tokenizer.filling(), ..Self::default() };
        let modules = files.json("modules.json")?;
        let mut folder = "1_Pooling".to_string();
        if let Some((path, modules)) = &modules {
            let list = modules.as_array().ok_or_else(|| {
                Error::file(path, "is no list of modules").remedy("take the file that came with the model")
            })?;
            for module in list {
                let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
                match kind.rsplit('.').next().unwrap_or_default() {
                    "Transformer" => {}
                    "Pooling" => {
                        let named = module.get("path").and_then(Value::as_str);
                        folder = named.unwrap_or("1_Pooling").to_string();
                    }
                    "Normalize" => config.normalize = true,
                    _ => config.unknown = Some((path.clone(), kind.to_string())),
                }
            }
        }
        // A path that leaves the model's folder is nobody's honest file.
        if Path::new(&folder).components().all(|part| matches!(part, std::path::Component::Normal(_)))
            && let Some((path, pooling)) = files.json(&format!("{folder}/config.json"))?
        {
            // By the name of today, or the one before.
            config.width = match size(&path, &pooling, "embedding_dimension")? {
                None => size(&path, &pooling, "word_embedding_dimension")?,
                width => width,
            };
            config.pooling = Some((path.clone(), poolings(&path, &pooling)?));
        }
        config.most = most(files, tokenizer)?;
        if config.filling.is_none()
            && let Some((path, model)) = files.json("config.json")?
        {
            config.filling = size(&path, &model, "pad_token_id")?.and_then(|id| u32::try_from(id).ok());
        }
        Ok(config)
    }
}

/// The most tokens of a text, special ones included: what sentence-transformers takes, and `tokenizer.json`
/// where the other files are silent.
fn most(files: &ModelFiles, tokenizer: &Tokenizer) -> Result<Option<usize>> {
    if let Some((path, said)) = files.json("sentence_bert_config.json")?
        && let Some(most) = size(&path, &said, "max_seq_length")?
    {
        return Ok(Some(most));
    }
    let said = files.json("tokenizer_config.json")?;
    let said =
        said.and_then(|(_, said)| said.get("model_max_length")?.as_u64().filter(|most| *most < NO_LIMIT));
    let said = said.and_then(|most| usize::try_from(most).ok());
    let places = match files.json("config.json")? {
        Some((path, model)) => size(&path, &model, "max_position_embeddings")?,
        None => None,
    };
    Ok([said.or(tokenizer.most()), places].into_iter().flatten().min())
}

/// A count that a file may say; null is nothing.
fn size(path: &Path, document: &Value, key: &str) -> Result<Option<usize>> {
    let Some(value) = document.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.map(Some).ok_or_else(|| {
        let shown: String = value.to_string().chars().take(60).collect();
        Error::file(path, format!("{key} is {shown}, which it can't be")).remedy("correct the file")
    })
}

/// The poolings that a file switches on, in the order in which they are put side by side.
fn poolings(path: &Path, document: &Value) -> Result<Vec<Pooling>> {
    let wrong = |what: String| Error::file(path, what).remedy("take the file that came with the model");
    // By one name or several, as newer files have it.
    if let Some(mode) = document.get("pooling_mode") {
        let named: Option<Vec<&str>> = match mode {
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            one => one.as_str().map(|one| one.split('+').collect()),
        };
        let named = named.ok_or_else(|| wrong("pooling_mode is no name of a pooling".into()))?;
        let found: Result<Vec<Pooling>> = named.into_iter().map(Pooling::of).collect();
        return found.map_err(|error| error.in_file(path));
    }
    let key = |pooling: Pooling| match pooling {
        Pooling::Cls => "pooling_mode_cls_token",
        Pooling::Max => "pooling_mode_max_tokens",
        Pooling::Mean => "pooling_mode_mean_tokens",
        Pooling::MeanSqrtLen => "pooling_mode_mean_sqrt_len_tokens",
        Pooling::WeightedMean => "pooling_mode_weightedmean_tokens",
        Pooling::LastToken => "pooling_mode_lasttoken",
    };
    let on = |pooling: &Pooling| document.get(key(*pooling)).and_then(Value::as_bool) == Some(true);
    let found: Vec<Pooling> = Pooling::ALL.into_iter().filter(on).collect();
    match found.is_empty() {
        false => Ok(found),
        true => Err(wrong("switches no pooling on that is known".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn poolings_are_read_in_their_order() {
        let path = Path::new("p");
        let several = json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true,
            "pooling_mode_max_tokens": false});
        assert_eq!(poolings(path, &several).unwrap(), [Pooling::Cls, Pooling::Mean]);
        assert_eq!(poolings(path, &json!({"pooling_mode": "lasttoken"})).unwrap(), [Pooling::LastToken]);
        let told = poolings(path, &json!({})).unwrap_err().to_string();
        assert!(told.contains("p: switches no pooling on"), "{told}");
        let told = poolings(path, &json!({"pooling_mode": "median"})).unwrap_err().to_string();
        assert!(told.contains("'median'") && told.contains('p'), "{told}");
        let told = size(path, &json!({"n": -1}), "n").unwrap_err().to_string();
        assert!(told.contains("n is -1"), "{told}");
    }
}
