//! `sardonyx.toml`.

use super::check::{Budget, Job, Tolerance};
use sardonyx::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The file. What it says above holds for every model that doesn't say otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    devices: Option<Vec<String>>,
    precision: Option<Vec<String>>,
    reference: Option<String>,
    per_node: Option<bool>,
    strict: Option<bool>,
    /// How many samples of seeded noise a model gets that lists none.
    noise: Option<u64>,
    /// Seconds that a check may take.
    timeout_s: Option<f64>,
    /// By class of device: cpu, software, integrated, discrete.
    #[serde(default)]
    tolerance: BTreeMap<Class, Tolerance>,
    #[serde(default, rename = "model")]
    models: Vec<Model>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    file: String,
    name: Option<String>,
    devices: Option<Vec<String>>,
    precision: Option<Vec<String>>,
    reference: Option<String>,
    per_node: Option<bool>,
    strict: Option<bool>,
    noise: Option<u64>,
    timeout_s: Option<f64>,
    /// Symbolic sizes.
    #[serde(default)]
    set: BTreeMap<String, u64>,
    /// Folders with NAME.npy of every input.
    #[serde(default)]
    samples: Vec<String>,
    #[serde(default)]
    tolerance: BTreeMap<Class, Tolerance>,
    /// A file of `bench --json` that speeds are held against, by what differs all the same.
    baseline: Option<String>,
    #[serde(default)]
    ignore: Vec<String>,
    /// By device, as `devices` has it.
    #[serde(default)]
    budget: BTreeMap<String, Budget>,
}

/// A class of devices that share tolerances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Cpu,
    Software,
    Integrated,
    Discrete,
}

/// Seconds that a check may take where nothing else is said.
const TIMEOUT_S: f64 = 600.0;

impl Config {
    /// Reads the file.
    ///
    /// Errors: it can't be read, isn't TOML, has a key that nobody knows, which is named with the nearest that
    /// there is.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|problem| {
            Error::file(path, format!("can't be read: {problem}")).remedy("write one: docs/ci.md")
        })?;
        toml::from_str(&text).map_err(|problem| {
            let line = problem.span().map_or(String::new(), |span| {
                format!("line {}: ", text[..span.start.min(text.len())].lines().count().max(1))
            });
            Error::usage(format!("{line}{}", with_nearest(problem.message())))
                .in_file(path)
                .remedy("see docs/ci.md for every key")
        })
    }

    /// The jobs, in the order of the file. `only`: parts of the names of models to take; `devices`: those to
    /// take in place of the file's.
    ///
    /// Errors: a budget for a device that isn't listed, a wrong number of seconds.
    pub fn jobs(&self, folder: &Path, only: &[String], devices: &[String]) -> Result<Vec<Job>> {
        let mut jobs = vec![];
        for model in &self.models {
            let name = model.name.clone().unwrap_or_else(|| model.file.clone());
            if !only.is_empty() && !only.iter().any(|part| name.contains(part) || model.file.contains(part)) {
                continue;
            }
            let listed = model.devices.clone().or_else(|| self.devices.clone());
            let listed = listed.unwrap_or_else(|| vec!["cpu".into(), "gpu".into()]);
            if let Some(stray) = model.budget.keys().find(|device| !listed.contains(device)) {
                return Err(Error::usage(format!(
                    "'{name}' has a budget for '{stray}', which is none of its devices"
                ))
                .remedy(format!("its devices are {}", listed.join(", "))));
            }
            let chosen = if devices.is_empty() { &listed } else { devices };
            let precision = model.precision.clone().or_else(|| self.precision.clone());
            let seconds = model.timeout_s.or(self.timeout_s).unwrap_or(TIMEOUT_S);
            let limit = Duration::try_from_secs_f64(seconds)
                .map_err(|problem| Error::usage(format!("timeout_s = {seconds}: {problem}")))?;
            let mut tolerance = self.tolerance.clone();
            tolerance.extend(model.tolerance.clone());
            for device in chosen {
                for precision in precision.clone().unwrap_or_else(|| vec!["f32".into()]) {
                    // Else the file of a mix, which lies beside this one.
                    let precision = match precision.as_str() {
                        "f32" | "f16" => precision,
                        file => folder.join(file).display().to_string(),
                    };
                    jobs.push(Job {
                        name: name.clone(),
                        file: folder.join(&model.file),
                        device: device.clone(),
                        precision,
                        reference: model.reference.clone().or_else(|| self.reference.clone()),
                        per_node: model.per_node.or(self.per_node).unwrap_or(true),
                        strict: model.strict.or(self.strict).unwrap_or(false),
                        set: model.set.iter().map(|(name, size)| format!("{name}={size}")).collect(),
                        samples: model.samples.iter().map(|sample| folder.join(sample)).collect(),
                        noise: model.noise.or(self.noise).unwrap_or(1),
                        tolerance: tolerance.clone(),
                        baseline: model.baseline.as_ref().map(|file| folder.join(file)),
                        ignore: model.ignore.clone(),
                        budget: model.budget.get(device).cloned(),
                        limit,
                    });
                }
            }
        }
        Ok(jobs)
    }
}

/// A message about an unknown key, with the nearest of those that it lists.
fn with_nearest(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let [unknown, known @ ..] = quoted.as_slice() else { return message.to_string() };
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, _)| *distance <= unknown.len().div_ceil(2))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((_, known)) if message.starts_with("unknown") => {
            format!("unknown key '{unknown}'; did you mean '{known}'?")
        }
        _ => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Config, String> {
        toml::from_str(text).map_err(|problem| with_nearest(problem.message()))
    }

    #[test]
    fn a_model_says_otherwise_than_the_file() {
        let config = read(
            "devices = [\"cpu\"]\ntolerance.software = { rtol = 1e-3 }\n[[model]]\nfile = \"a.onnx\"\n\
             [[model]]\nfile = \"b.onnx\"\ndevices = [\"gpu\", \"cpu\"]\nprecision = [\"f32\", \"f16\"]\n\
             budget.gpu = { median_ms = 3.5 }\nset = { batch = 4 }\n",
        )
        .unwrap();
        let jobs = config.jobs(Path::new("models"), &[], &[]).unwrap();
        let named: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "a.onnx on cpu, f32",
                "b.onnx on gpu, f32",
                "b.onnx on gpu, f16",
                "b.onnx on cpu, f32",
                "b.onnx on cpu, f16"
            ]
        );
        assert_eq!(jobs[1].set, ["batch=4"]);
        assert!(jobs[1].budget.is_some() && jobs[3].budget.is_none());
        assert!(jobs.iter().all(|job| job.tolerance.contains_key(&Class::Software)));
        assert_eq!(config.jobs(Path::new(""), &["b.".into()], &["cpu".into()]).unwrap().len(), 2);
    }

    #[test]
    fn wrong_keys_are_named_with_the_nearest() {
        let unknown = read("devcies = [\"cpu\"]").unwrap_err();
        assert_eq!(unknown, "unknown key 'devcies'; did you mean 'devices'?");
        let unknown = read("[[model]]\nfile = \"a\"\nbudget.gpu = { median = 3 }").unwrap_err();
        assert_eq!(unknown, "unknown key 'median'; did you mean 'median_ms'?");
        assert!(read("[[model]]\nname = \"a\"").unwrap_err().contains("file"));
        assert!(read("tolerance.discreet = { rtol = 1 }").unwrap_err().contains("discrete"));
    }

    #[test]
    fn a_budget_is_for_a_listed_device() {
        let config =
            read("[[model]]\nfile = \"a\"\ndevices = [\"cpu\"]\nbudget.gpu = { median_ms = 1 }").unwrap();
        let error = config.jobs(Path::new(""), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("'gpu', which is none of its devices"), "{error}");
    }
}
