//! What lies beside a model and says how it is to be used: `genai_config.json` (onnxruntime-genai),
//! `generation_config.json` and `config.json` (transformers).

use crate::error::{Error, Result};
use crate::text::ModelFiles;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A model's own numbers. What no file says is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelConfig {
    /// How many tokens there are scores for.
    pub vocabulary: Option<usize>,
    /// The most tokens that the model can look back on.
    pub context: Option<usize>,
    /// Heads of keys and values.
    pub kv_heads: Option<usize>,
    /// Numbers in a key.
    pub head_size: Option<usize>,
    /// Layers, each with a cache.
    pub layers: Option<usize>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The token that begins one.
    pub bos: Option<u32>,
    /// The token that a decoder of an encoder's states begins with.
    pub decoder_start: Option<u32>,
    /// The token that its answer begins with.
    pub forced_bos: Option<u32>,
    /// How to choose tokens, as the model's makers recommend it.
    pub search: SearchConfig,
    /// Where files differ and both may be meant: for people.
    pub notes: Vec<String>,
}

/// How tokens are to be chosen, as far as files say so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SearchConfig {
    /// Whether tokens are drawn at all.
    pub do_sample: Option<bool>,
    /// See [`Sampling`](super::Sampling), as the others.
    pub temperature: Option<f32>,
    /// Of the likeliest tokens so many.
    pub top_k: Option<usize>,
    /// Of the likeliest tokens those that make up this share.
    pub top_p: Option<f32>,
    /// Tokens at least this likely, relative to the likeliest.
    pub min_p: Option<f32>,
    /// What repetition costs.
    pub repetition_penalty: Option<f32>,
}

/// The files, in the order in which they are believed.
const FILES: [&str; 3] = ["genai_config.json", "generation_config.json", "config.json"];

/// A value, and the file that says it.
type Said<T> = (PathBuf, T);

impl ModelConfig {
    /// Reads what lies beside a model; files that aren't there are no error.
    ///
    /// Errors, with the file: no JSON, a number that is none, two files that contradict each other in what
    /// the model is.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let mut all = vec![];
        for name in FILES {
            all.extend(files.json(name)?);
        }
        Self::of(&all)
    }

    fn of(all: &[Said<Value>]) -> Result<Self> {
        let mut config = Self {
            vocabulary: agreed(all, &["/model/vocab_size", "/vocab_size"])?,
            kv_heads: agreed(all, &["/model/decoder/num_key_value_heads", "/num_key_value_heads"])?,
            head_size: agreed(all, &["/model/decoder/head_size", "/head_dim"])?,
            layers: agreed(all, &["/model/decoder/num_hidden_layers", "/num_hidden_layers"])?,
            ..Self::default()
        };
        let contexts = said(
            all,
            &["/model/context_length", "/max_position_embeddings", "/max_target_positions"],
            count,
        )?;
        config.context = contexts.iter().map(|(_, size)| *size).min();
        if let Some((other, more)) = contexts.iter().find(|(_, size)| Some(*size) != config.context) {
            let least = config.context.unwrap_or_default();
            config.notes.push(format!(
                "{} says {more} tokens of context, another file {least}; {least} are taken",
                other.display()
            ));
        }
        let ends = said(all, &["/model/eos_token_id", "/eos_token_id"], tokens)?;
        if let Some((first, eos)) = ends.first() {
            config.eos = eos.clone();
            if let Some((other, _)) = ends.iter().find(|(_, list)| !list.iter().any(|id| eos.contains(id))) {
                config.notes.push(format!(
                    "{} and {} name other tokens that end a text; the first is taken",
                    first.display(),
                    other.display()
                ));
            }
        }
        let begins = said(all, &["/model/bos_token_id", "/bos_token_id"], tokens)?;
        config.bos = begins.first().and_then(|(_, list)| list.first().copied());
        let token = |key: &str| first(all, &[key], |value| tokens(value)?.first().copied());
        config.decoder_start = token("/decoder_start_token_id")?;
        config.forced_bos = token("/forced_bos_token_id")?;
        for (key, plain) in [("num_beams", 1), ("no_repeat_ngram_size", 0)] {
            if let Some(other) = first(all, &[&format!("/{key}")], count)?.filter(|other| *other != plain) {
                config.notes.push(format!("{key} of {other} is not applied: tokens are chosen one by one"));
            }
        }
        let float = |key: &str| first(all, &[&format!("/search/{key}"), &format!("/{key}")], number);
        config.search = SearchConfig {
            do_sample: first(all, &["/search/do_sample", "/do_sample"], Value::as_bool)?,
            temperature: float("temperature")?,
            top_k: first(all, &["/search/top_k", "/top_k"], count)?,
            top_p: float("top_p")?,
            min_p: float("min_p")?,
            repetition_penalty: float("repetition_penalty")?,
        };
        Ok(config)
    }
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}
fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
}
/// One token's number, or a list of them.
fn tokens(value: &Value) -> Option<Vec<u32>> {
    let one = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    match value {
        Value::Array(list) => list.iter().map(one).collect(),
        value => one(value).map(|id| vec![id]),
    }
}

/// What each file says at one of these places. Null is nothing.
fn said<T>(all: &[Said<Value>], places: &[&str], read: impl Fn(&Value) -> Option<T>) -> Result<Vec<Said<T>>> {
    let mut found = vec![];
    for (file, document) in all {
        let at = places.iter().find_map(|place| Some((place, document.pointer(place)?)));
        if let Some((place, value)) = at.filter(|(_, value)| !value.is_null()) {
            found.push((file.clone(), read(value).ok_or_else(|| unusable(file, place, value))?));
        }
    }
    Ok(found)
}

fn unusable(file: &Path, place: &str, value: &Value) -> Error {
    let shown: String = value.to_string().chars().take(60).collect();
    let key = place.trim_start_matches('/').replace('/', ".");
    Error::file(file, format!("{key} is {shown}, which it can't be")).remedy("correct the file")
}

fn first<T>(all: &[Said<Value>], places: &[&str], read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
    Ok(said(all, places, read)?.into_iter().next().map(|(_, value)| value))
}

/// What all files that say it agree on.
fn agreed(all: &[Said<Value>], places: &[&str]) -> Result<Option<usize>> {
    let found = said(all, places, count)?;
    let Some((file, value)) = found.first() else { return Ok(None) };
    if let Some((other, differs)) = found.iter().find(|(_, other)| other != value) {
        let key = places.last().map_or("", |place| place.trim_start_matches('/'));
        return Err(Error::file(file, format!("{key} is {value}, but {differs} in {}", other.display()))
            .remedy("take both files of the same model"));
    }
    Ok(Some(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(files: &[(&str, Value)]) -> Result<ModelConfig> {
        ModelConfig::of(
            &files.iter().map(|(name, value)| ((*name).into(), value.clone())).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn files_are_read_where_they_say_something() {
        assert_eq!(of(&[]).unwrap(), ModelConfig::default());
        let genai = json!({"model": {"eos_token_id": [2, 0], "vocab_size": 99, "context_length": 64,
            "decoder": {"head_size": 8, "num_key_value_heads": 2}}, "search": {"top_k": 50, "do_sample": true}});
        let config =
            json!({"vocab_size": 99, "eos_token_id": 2, "bos_token_id": null, "max_position_embeddings": 32});
        let read = of(&[("g", genai), ("c", config)]).unwrap();
        assert_eq!((read.vocabulary, read.context, read.bos), (Some(99), Some(32), None));
        assert_eq!(read.eos, [2, 0]);
        assert_eq!((read.search.top_k, read.search.do_sample), (Some(50), Some(true)));
        assert!(read.notes[0].contains("g says 64"), "{:?}", read.notes);
    }

    #[test]
    fn what_contradicts_is_named() {
        let error = of(&[("g", json!({"vocab_size": 5})), ("c", json!({"vocab_size": 6}))]).unwrap_err();
        assert!(error.to_string().contains("g: vocab_size is 5, but 6 in c"), "{error}");
        let error = of(&[("c", json!({"eos_token_id": ["x"]}))]).unwrap_err();
        assert!(error.to_string().contains("eos_token_id is [\"x\"]"), "{error}");
        let error = of(&[("c", json!({"top_k": -3}))]).unwrap_err();
        assert!(error.to_string().contains("top_k is -3"), "{error}");
        let read = of(&[("g", json!({"eos_token_id": 1})), ("c", json!({"eos_token_id": 2}))]).unwrap();
        assert_eq!((read.eos, read.notes.len()), (vec![1], 1));
    }
}
