//! Results of `bench --json`, as read: every field may be missing, since files of older and newer versions
//! are merged.

use super::super::emit::{SCHEMA, one_line};
use sardonyx::error::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::path::Path;

/// The largest file that is read.
const MAX_BYTES: u64 = 256 << 20;

const REMEDY: &str = "give files that `sardonyx bench MODEL --json FILE` wrote";

#[derive(Deserialize)]
pub struct Document {
    #[serde(default, deserialize_with = "or_default")]
    pub context: Context,
    #[serde(default, deserialize_with = "or_default")]
    pub results: Vec<Measurement>,
}

/// What a run of `bench` was.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Context {
    pub sardonyx: Option<String>,
    pub optimised: Option<bool>,
    pub host: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub arch: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub cpu: Cpu,
    pub memory_bytes: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub options: Options,
    pub note: Option<String>,
    pub unix_time: Option<u64>,
    pub seed: Option<u64>,
    pub warmup: Option<u64>,
    pub limits: Option<String>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Cpu {
    pub name: Option<String>,
    pub threads: Option<u64>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Options {
    pub runs: Option<u64>,
    pub warmup: Option<u64>,
    pub duration_s: Option<f64>,
    pub seed: Option<u64>,
    pub limits: Option<String>,
    pub kernels: Option<Value>,
    pub checks: Option<Value>,
    pub strict: Option<bool>,
    pub tune: Option<bool>,
}

/// A cell: a model on a device.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Measurement {
    pub model: String,
    pub model_sha256: Option<String>,
    pub device: Option<String>,
    pub adapter: Option<String>,
    pub backend: Option<String>,
    pub driver: Option<String>,
    pub checks: Option<bool>,
    /// What was asked for: a cell that couldn't run may know no more of its device.
    pub asked: Option<String>,
    pub precision: Option<String>,
    pub batch: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub inputs: Vec<Input>,
    pub error: Option<String>,
    pub first_inference_ms: Option<f64>,
    pub cold_start_ms: Option<ColdStart>,
    pub shader_cache: Option<String>,
    pub latency_ms: Option<Statistics>,
    pub throughput_per_s: Option<f64>,
    #[serde(deserialize_with = "or_default")]
    pub runs_ms: Vec<Option<f64>>,
    #[serde(deserialize_with = "or_default")]
    pub rounds_ms: Vec<Vec<Option<f64>>>,
    pub split_ms: Option<Split>,
    pub gpu_ms: Option<Statistics>,
    #[serde(deserialize_with = "or_default")]
    pub steps: Vec<Step>,
    pub peak_gflops: Option<f64>,
    pub peak_gb_per_s: Option<f64>,
    pub peak_host_bytes: Option<u64>,
    pub peak_device_bytes: Option<u64>,
    pub needed_device_bytes: Option<u64>,
    pub host_us_per_dispatch: Option<f64>,
    pub dispatches: Option<u64>,
    pub pipelines: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub fallbacks: Vec<Fallback>,
    pub accuracy: Option<Accuracy>,
    pub verdict: Option<String>,
    pub agreement: Option<Agreement>,
}

#[derive(Deserialize, Default, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct Input {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<u64>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
pub struct ColdStart {
    pub device: Option<f64>,
    pub parse: Option<f64>,
    pub optimise: Option<f64>,
    pub plan: Option<f64>,
    pub upload: Option<f64>,
    pub shaders: Option<f64>,
    pub first_run: Option<f64>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
pub struct Statistics {
    pub min: Option<f64>,
    pub mean: Option<f64>,
    pub std: Option<f64>,
    pub median: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
pub struct Split {
    pub upload: Option<Statistics>,
    pub enqueue: Option<Statistics>,
    pub compute: Option<Statistics>,
    pub readback: Option<Statistics>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Step {
    pub node: String,
    pub op: String,
    #[serde(deserialize_with = "or_default")]
    pub kernels: Vec<String>,
    pub ms: Option<f64>,
    pub flops: Option<f64>,
    pub bytes: Option<f64>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Fallback {
    pub node: String,
    pub op: String,
    pub reason: String,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Accuracy {
    pub reference: Option<String>,
    pub max_rel: Option<f64>,
}

#[derive(Deserialize, Default, Clone, Copy, Debug)]
#[serde(default)]
pub struct Agreement {
    pub top1: Option<f64>,
    pub top5: Option<f64>,
}

/// null is as good as a field that isn't there.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

impl Measurement {
    /// The times of the runs, those that are times.
    pub fn times(&self) -> Vec<f64> {
        positive(&self.runs_ms)
    }
    /// The times by round; where none are told, all runs are one.
    pub fn rounds(&self) -> Vec<Vec<f64>> {
        let rounds: Vec<Vec<f64>> = self.rounds_ms.iter().map(|round| positive(round)).collect();
        if rounds.iter().any(|round| !round.is_empty()) { rounds } else { vec![self.times()] }
    }
}

fn positive(list: &[Option<f64>]) -> Vec<f64> {
    list.iter().flatten().copied().filter(|time| time.is_finite() && *time > 0.0).collect()
}

/// Reads a file. Errors name it, and say what it is where that can be told.
pub fn read(path: &Path) -> Result<Document> {
    let unreadable = |problem: std::io::Error| {
        Error::file(path, format!("can't be read: {problem}")).remedy("check the path").caused_by(problem)
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(Error::file(
            path,
            format!("has {size} bytes; a file of results has {MAX_BYTES} at most"),
        )
        .remedy(REMEDY));
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    parse(&text).map_err(|error| error.in_file(path))
}

/// The text of a file of results.
pub fn parse(text: &[u8]) -> Result<Document> {
    let wrong = |what: String| Error::new(sardonyx::ErrorKind::File, what).remedy(REMEDY);
    // The schema first: another one's fields may mean something else.
    let header: Value = serde_json::from_slice(text).map_err(|problem| {
        wrong(format!("is not one whole JSON document: {}", one_line(&problem.to_string())))
    })?;
    match header.get("schema") {
        Some(schema) if schema.as_u64() == Some(SCHEMA.into()) => {}
        Some(schema) => {
            let schema = one_line(&schema.to_string().chars().take(40).collect::<String>());
            let what = format!("has schema {schema}; this version reads schema {SCHEMA}");
            return Err(Error::new(sardonyx::ErrorKind::File, what)
                .remedy("write it anew with this version's `bench`, or use the version that wrote it"));
        }
        None => return Err(wrong("has no \"schema\"".into())),
    }
    if header.get("results").is_none() {
        let what = if header.get("kernels").is_some() { ": it holds kernels, not models" } else { "" };
        return Err(wrong(format!("has no \"results\"{what}")));
    }
    drop(header);
    // Read again from the text, so that an error has its line and column.
    let document: Document = serde_json::from_slice(text).map_err(|problem| {
        wrong(format!("has a field of another type: {}", one_line(&problem.to_string())))
    })?;
    if document.results.is_empty() {
        return Err(wrong("holds no results".into()));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_missing_or_null() {
        let text =
            br#"{"schema":1,"results":[{"model":"m.onnx","runs_ms":[1.0,null,-1],"steps":null,"new":[]}]}"#;
        let document = parse(text).unwrap();
        let cell = &document.results[0];
        assert_eq!((cell.times(), cell.rounds()), (vec![1.0], vec![vec![1.0]]));
        assert!(cell.latency_ms.is_none() && document.context.host.is_none());
    }

    #[test]
    fn errors_say_what_a_file_is() {
        let told = |text: &str| parse(text.as_bytes()).err().unwrap().to_string();
        assert!(told(r#"{"schema":1,"results":[{"#).contains("not one whole JSON document"));
        assert!(told("").contains("not one whole JSON document"));
        assert!(told(r#"{"schema":2}"#).contains("has schema 2; this version reads schema 1"));
        assert!(told(r#"{"results":[]}"#).contains("no \"schema\""));
        assert!(told(r#"{"schema":1,"kernels":[]}"#).contains("kernels, not models"));
        assert!(told(r#"{"schema":1,"results":[]}"#).contains("holds no results"));
        let other = told(r#"{"schema":1,"results":[{"model":"m","batch":"many"}]}"#);
        assert!(other.contains("line 1 column") && other.contains("bench MODEL"), "{other}");
        assert!(told("[]").contains("no \"schema\""));
    }
}
