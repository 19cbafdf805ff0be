//! What is checked: a model on a device against the reference, for each sample, and its speed and memory against
//! a budget. Each check is a process of its own.

use super::config::Class;
use crate::cli::process;
use sardonyx::gpu::{self, DeviceType, Selection};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// In place of the derived tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    rtol: Option<f64>,
    atol: Option<f64>,
}

/// The most of each that a model may take on a device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    median_ms: Option<f64>,
    p95_ms: Option<f64>,
    first_inference_ms: Option<f64>,
    peak_host_mib: Option<f64>,
    peak_device_mib: Option<f64>,
    fallbacks: Option<f64>,
    /// Timed runs.
    runs: Option<u32>,
}

/// A model on a device at a precision.
#[derive(Debug)]
pub struct Job {
    pub name: String,
    pub file: PathBuf,
    pub device: String,
    /// As `--precision` takes it.
    pub precision: String,
    pub reference: Option<String>,
    pub per_node: bool,
    pub strict: bool,
    /// As `--set` has them.
    pub set: Vec<String>,
    pub samples: Vec<PathBuf>,
    /// Samples of noise, where there are no others.
    pub noise: u64,
    pub tolerance: BTreeMap<Class, Tolerance>,
    /// A file of `bench --json`, and what `--ignore` passes over.
    pub baseline: Option<PathBuf>,
    pub ignore: Vec<String>,
    pub budget: Option<Budget>,
    pub limit: Duration,
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}, {}", self.name, self.device, &self.precision)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Passed,
    /// It differs, or is over its budget.
    Failed,
    /// It could not run.
    Error,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub model: String,
    /// As the file names it.
    pub device: String,
    pub adapter: Option<String>,
    pub precision: String,
    pub sample: Option<String>,
    /// `compare`, `budget` or `baseline`.
    pub check: &'static str,
    pub status: Status,
    pub message: String,
    pub seconds: f64,
}

impl Job {
    /// Runs the job's checks, one after the other.
    pub fn run(&self, plant_fault: Option<u64>) -> Vec<Check> {
        let mut checks = vec![];
        let files = self.samples.iter().map(|folder| {
            let name = folder.display().to_string();
            (name, vec![OsString::from("--inputs"), folder.into()])
        });
        let noise = (0..if self.samples.is_empty() { self.noise.max(1) } else { 0 })
            .map(|seed| (format!("seed {seed}"), vec!["--seed".into(), seed.to_string().into()]));
        for (sample, given) in files.chain(noise) {
            checks.push(self.compare(&sample, &given, plant_fault));
        }
        checks.extend(self.budget.as_ref().map(|budget| self.hold(budget)));
        checks.extend(self.baseline.as_ref().map(|file| self.against(file)));
        checks
    }

    /// What every verb is told.
    fn arguments(&self, verb: &str) -> Vec<OsString> {
        let mut list: Vec<OsString> = vec![verb.into(), (&self.file).into()];
        list.extend(["--device", &self.device, "--precision", &self.precision].map(Into::into));
        list.extend(self.set.iter().flat_map(|set| ["--set".into(), set.into()]));
        list.extend(self.strict.then(|| "--strict".into()));
        list.extend(["--json", "-"].map(Into::into));
        list
    }

    /// A check that ran the program with these arguments: `judge` gets the exit code and the document.
    fn checked(
        &self,
        check: &'static str,
        sample: Option<&str>,
        arguments: &[OsString],
        judge: impl FnOnce(i32, &Value) -> (Status, String),
    ) -> Check {
        let start = Instant::now();
        let mut adapter = None;
        let (status, message) = match process::run(arguments, self.limit) {
            Err(error) => (Status::Error, error.to_string()),
            Ok(finished) => match (finished.code, serde_json::from_str::<Value>(&finished.stdout)) {
                (Some(code @ (0 | 1)), Ok(document)) => {
                    let row = document.pointer("/results/0").unwrap_or(&document);
                    adapter = row.get("adapter").and_then(Value::as_str).map(str::to_string);
                    judge(code, &document)
                }
                _ => (Status::Error, finished.reason()),
            },
        };
        Check {
            model: self.name.clone(),
            device: self.device.clone(),
            adapter,
            precision: self.precision.clone(),
            sample: sample.map(str::to_string),
            check,
            status,
            message,
            seconds: start.elapsed().as_secs_f64(),
        }
    }

    fn compare(&self, sample: &str, given: &[OsString], plant_fault: Option<u64>) -> Check {
        let mut arguments = self.arguments("compare");
        arguments.extend(given.iter().cloned());
        arguments.extend(self.per_node.then(|| "--per-node".into()));
        arguments
            .extend(self.reference.iter().flat_map(|reference| ["--reference".into(), reference.into()]));
        if let Some(tolerance) = class(&self.device).and_then(|class| self.tolerance.get(&class)) {
            for (option, value) in [("--rtol", tolerance.rtol), ("--atol", tolerance.atol)] {
                arguments.extend(value.iter().flat_map(|value| [option.into(), value.to_string().into()]));
            }
        }
        if let Some(seed) = plant_fault {
            arguments.extend(["--plant-fault".into(), seed.to_string().into()]);
        }
        self.checked("compare", Some(sample), &arguments, |code, document| {
            if code == 0 { (Status::Passed, same(document)) } else { (Status::Failed, different(document)) }
        })
    }

    /// Whether it is as fast as it was.
    fn against(&self, baseline: &Path) -> Check {
        let mut arguments = self.arguments("bench");
        arguments.extend(["--no-accuracy".into(), "--baseline".into(), baseline.into()]);
        arguments.extend(self.ignore.iter().flat_map(|what| ["--ignore".into(), what.into()]));
        if let Some(folder) = self.samples.first() {
            arguments.extend(["--inputs".into(), folder.into()]);
        }
        self.checked("baseline", None, &arguments, |code, document| {
            let cell = |name: &str| document.pointer(&format!("/baseline/cells/0/{name}"));
            let judgement = cell("judgement").and_then(Value::as_str).unwrap_or("not comparable");
            let ratio = cell("ratio").and_then(Value::as_f64);
            let ratio =
                ratio.map_or(String::new(), |ratio| format!(", {ratio:.3} times the baseline's time"));
            let status = if code == 0 { Status::Passed } else { Status::Failed };
            (status, format!("{judgement}{ratio}"))
        })
    }

    fn hold(&self, budget: &Budget) -> Check {
        let mut arguments = self.arguments("bench");
        arguments.extend(["--no-accuracy".into()]);
        arguments.extend(budget.runs.iter().flat_map(|runs| ["--runs".into(), runs.to_string().into()]));
        if let Some(folder) = self.samples.first() {
            arguments.extend(["--inputs".into(), folder.into()]);
        }
        self.checked("budget", None, &arguments, |_, document| budget.judge(document))
    }
}

impl Budget {
    fn judge(&self, document: &Value) -> (Status, String) {
        let number =
            |pointer: &str| document.pointer(&format!("/results/0{pointer}")).and_then(Value::as_f64);
        let mebibytes = |pointer: &str| number(pointer).map(|bytes| bytes / (1 << 20) as f64);
        let fallbacks =
            document.pointer("/results/0/fallbacks").and_then(Value::as_array).map(|list| list.len() as f64);
        let (mut over, mut held) = (vec![], vec![]);
        for (name, most, found) in [
            ("median_ms", self.median_ms, number("/latency_ms/median")),
            ("p95_ms", self.p95_ms, number("/latency_ms/p95")),
            ("first_inference_ms", self.first_inference_ms, number("/first_inference_ms")),
            ("peak_host_mib", self.peak_host_mib, mebibytes("/peak_host_bytes")),
            ("peak_device_mib", self.peak_device_mib, mebibytes("/peak_device_bytes")),
            ("fallbacks", self.fallbacks, fallbacks),
        ] {
            let Some(most) = most else { continue };
            match found {
                Some(found) if found <= most => held.push(format!("{name} {} of {most}", short(found))),
                Some(found) => over.push(format!("{name} is {}; the budget is {most}", short(found))),
                None => over.push(format!("{name} is not measured here; the budget is {most}")),
            }
        }
        if over.is_empty() { (Status::Passed, held.join(", ")) } else { (Status::Failed, over.join("; ")) }
    }
}

/// A number with as many digits as a reader wants.
fn short(number: f64) -> String {
    if number.fract() == 0.0 { number.to_string() } else { format!("{number:.3}") }
}

/// The class of the device that a text names; `None` where there is none.
fn class(device: &str) -> Option<Class> {
    let found = gpu::select(&Selection::from_str(device).ok()?).ok()?;
    Some(match found.map(|found| found.info.device_type) {
        None => Class::Cpu,
        Some(DeviceType::Discrete) => Class::Discrete,
        Some(DeviceType::Integrated) => Class::Integrated,
        Some(_) => Class::Software,
    })
}

/// By how much a comparison holds: the output that needs most of what it is allowed.
fn same(document: &Value) -> String {
    let outputs = document.get("outputs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let worst = outputs
        .iter()
        .filter_map(|output| Some((output.get("max_abs")?.as_f64()?, output.get("name")?.as_str()?)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    worst.map_or("the same".into(), |(off, name)| format!("the same; '{name}' is off by at most {off:.2e}"))
}

/// The node or the output that differs.
fn different(document: &Value) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("?").to_string();
    if let Some(first) = document.get("first_different").filter(|first| first.is_object()) {
        return format!(
            "first different: node '{}' ({}), output '{}'",
            text(first, "node"),
            text(first, "op"),
            text(first, "output")
        );
    }
    let outputs = document.get("outputs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let wrong = outputs.iter().find(|output| output.get("same") == Some(&Value::Bool(false)));
    wrong.map_or("different".into(), |output| {
        let off = output.get("max_abs").and_then(Value::as_f64);
        let off = off.map_or("not comparable".into(), |off| format!("off by {off:.2e}"));
        format!("output '{}' differs: {off}", text(output, "name"))
    })
}
