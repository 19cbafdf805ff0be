//! `verify`: ONNX test cases against their recorded outputs.

use super::Outcome;
use super::emit::{JsonOption, SCHEMA};
use super::junit;
use super::options::{DeviceFields, Precision, RunOptions};
use super::verify_case::{Case, CaseResult, Status};
use super::verify_pool::Pool;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sardonyx::error::{Error, Result};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tolerances where no index.tsv gives any.
const TOLERANCES: (f64, f64) = (1e-3, 1e-7);

/// With --precision f16, tolerances are at least these: eleven bits, and a few roundings on the way.
const F16_TOLERANCES: (f64, f64) = (2e-2, 5e-3);

/// Folders below each other that are searched: deeper ones are a loop of links.
const DEPTH: usize = 16;

/// Run ONNX test cases (folders with model.onnx and test_data_set_N) and count what passes
#[derive(Args)]
#[command(after_help = "Example:\n  sardonyx verify cases --device gpu --strict --json result.json\n\n\
Tolerances come from cases/index.tsv (columns name, rtol, atol) where there is one, else rtol 1e-3 and atol 1e-7; with --precision f16 at least 2e-2 and 5e-3.\n\
Exit code 0: none failed and none was an error; 1: some did; 2: no case was found.")]
pub struct Verify {
    /// Folders below which the cases lie
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    options: RunOptions,
    /// Seconds after which a case is given up
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Cases that run at once; by default as many as there are cores, 8 at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Count by operator, too: a case counts for each operator of its model
    #[arg(long)]
    by_operator: bool,
    /// Write the results as JUnit's XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    #[serde(flatten)]
    device: &'a DeviceFields,
    precision: Precision,
    limits: Option<&'a str>,
    strict: bool,
    counts: Counts,
    cases: &'a [CaseResult],
}

#[derive(Serialize, Default, Clone, Copy)]
struct Counts {
    passed: usize,
    failed: usize,
    unsupported: usize,
    error: usize,
}

impl Verify {
    pub fn run(&self) -> Result<Outcome> {
        if matches!(self.options.precision, Precision::Mixed(_) | Precision::Auto)
            || !self.options.hold_f32.is_empty()
        {
            return Err(Error::usage("nodes are held in f32 in one model, and verify runs many")
                .remedy("use --precision f32 or f16"));
        }
        let mut cases = vec![];
        for folder in &self.folders {
            let tolerances = index(folder)?;
            let mut paths = vec![];
            find(folder, DEPTH, &mut paths)?;
            paths.sort();
            cases.extend(paths.into_iter().map(|path| self.case(path, &tolerances)));
        }
        if cases.is_empty() {
            let list: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
            return Err(Error::usage(format!("no case was found below {}", list.join(", ")))
                .remedy("a case is a folder with model.onnx and test_data_set_0"));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let jobs = self.jobs.map_or(cores, usize::from).min(cases.len());
        let bar = ProgressBar::new(cases.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        let pool = Pool { options: &self.options, timeout: Duration::from_secs(self.timeout), jobs };
        let (device, results) = pool.run(&cases, &|result: &CaseResult| {
            bar.set_message(result.path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            bar.inc(1);
        })?;
        bar.finish_and_clear();
        self.options.device.announce(&device);
        let counts = count(&results);
        let limits = self.options.device.limits.as_deref();
        let document = Document {
            schema: SCHEMA,
            device: &device,
            precision: self.options.precision.clone(),
            limits,
            strict: self.options.strict,
            counts,
            cases: &results,
        };
        if let Some(path) = &self.junit {
            junit::write(path, device.adapter.as_deref().unwrap_or("CPU"), &results)?;
        }
        let operators = if self.by_operator { by_operator(&results) } else { String::new() };
        self.json.emit(&document, || operators + &text(&results, counts))?;
        Ok(if counts.failed + counts.error == 0 { Outcome::Good } else { Outcome::NotGood })
    }

    fn case(&self, path: PathBuf, tolerances: &HashMap<String, (f64, f64)>) -> Case {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (mut rtol, mut atol) = tolerances.get(&*name).copied().unwrap_or(TOLERANCES);
        if self.options.precision == Precision::F16 {
            (rtol, atol) = (rtol.max(F16_TOLERANCES.0), atol.max(F16_TOLERANCES.1));
        }
        Case { path, rtol, atol }
    }
}

/// The folders at and below this one that hold model.onnx.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |problem: std::io::Error| {
        Error::file(folder, format!("can't be read: {problem}")).remedy("verify takes folders of test cases")
    };
    if folder.join("model.onnx").is_file() {
        found.push(folder.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if depth > 0 && path.is_dir() {
            find(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// Tolerances by case from a folder's index.tsv, if it has one. Errors where a column or number is missing.
fn index(folder: &Path) -> Result<HashMap<String, (f64, f64)>> {
    let path = folder.join("index.tsv");
    if !path.is_file() {
        return Ok(HashMap::new());
    }
    let wrong = |what: String| {
        Error::file(&path, what).remedy("it is tab-separated, with the columns name, rtol and atol")
    };
    let text =
        std::fs::read_to_string(&path).map_err(|problem| wrong(format!("can't be read: {problem}")))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        header.iter().position(|cell| *cell == name).ok_or_else(|| wrong(format!("has no column '{name}'")))
    };
    let columns = [column("name")?, column("rtol")?, column("atol")?];
    let mut tolerances = HashMap::new();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |column: usize| cells.get(column).map(|cell| cell.trim());
        let value = |column| {
            cell(column)
                .and_then(|cell| cell.parse::<f64>().ok())
                .ok_or_else(|| wrong(format!("line {} has no tolerances", number + 2)))
        };
        let name = cell(columns[0]).unwrap_or_default().to_string();
        tolerances.insert(name, (value(columns[1])?, value(columns[2])?));
    }
    Ok(tolerances)
}

fn count<'a>(results: impl IntoIterator<Item = &'a CaseResult> + Clone) -> Counts {
    let count = |status| results.clone().into_iter().filter(|result| result.status == status).count();
    Counts {
        passed: count(Status::Passed),
        failed: count(Status::Failed),
        unsupported: count(Status::Unsupported),
        error: count(Status::Error),
    }
}

/// The counts, each case that failed or was an error, and the unsupported ones by reason.
fn text(results: &[CaseResult], counts: Counts) -> String {
    let mut text = String::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for result in results {
        let reason = result.reason.as_deref().unwrap_or_default();
        match result.status {
            Status::Passed => {}
            Status::Failed => text += &format!("failed  {}: {reason}\n", result.path.display()),
            Status::Error => text += &format!("error   {}: {reason}\n", result.path.display()),
            Status::Unsupported => *reasons.entry(general(reason, &result.path)).or_default() += 1,
        }
    }
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (reason, count) in reasons {
        text += &format!("unsupported {count:5}  {reason}\n");
    }
    text += &format!(
        "passed {}  failed {}  unsupported {}  error {}  of {}\n",
        counts.passed,
        counts.failed,
        counts.unsupported,
        counts.error,
        results.len()
    );
    text
}

/// A line for each operator: how many of the cases with it came to what.
fn by_operator(results: &[CaseResult]) -> String {
    let mut operators: BTreeMap<&str, Vec<&CaseResult>> = BTreeMap::new();
    for result in results {
        for operator in &result.operators {
            operators.entry(operator).or_default().push(result);
        }
    }
    let width = operators.keys().map(|name| name.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}  passed  failed  unsupported  error\n", "");
    for (name, results) in operators {
        let Counts { passed, failed, unsupported, error } = count(results.iter().copied());
        text += &format!("{name:width$}  {passed:6}  {failed:6}  {unsupported:11}  {error:5}\n");
    }
    text
}

/// A reason without the file and the node, which differ from case to case.
fn general(reason: &str, path: &Path) -> String {
    let rest = reason
        .strip_prefix(&path.join("model.onnx").display().to_string())
        .map_or(reason, |rest| rest.trim_start_matches(": "));
    let Some((_, rest)) = rest.strip_prefix("node '").and_then(|rest| rest.split_once("' ")) else {
        return rest.to_string();
    };
    rest.strip_prefix('(').map_or_else(|| rest.to_string(), |rest| rest.replacen("): ", ": ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_gathered_without_their_places() {
        let path = Path::new("suite/test_a");
        assert_eq!(general("suite/test_a/model.onnx: node 'n' (LSTM): is unknown", path), "LSTM: is unknown");
        assert_eq!(general("random-valued", path), "random-valued");
    }
}
