//! Files of results as one: which cells there are, of which models, on which devices.

use super::names::{Identity, device_labels, model_labels};
use super::read::{self, Context, Measurement};
use sardonyx::bench::Statistics;
use sardonyx::error::Result;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Milliseconds that a run can take. What lies beyond was not measured by a clock.
pub const TIMES: std::ops::RangeInclusive<f64> = 1e-9..=1e12;

/// All that was measured, in the order of the files.
pub struct Merged {
    pub runs: Vec<Run>,
    pub models: Vec<Model>,
    pub devices: Vec<Device>,
    pub series: Vec<Series>,
    pub workloads: Vec<Workload>,
    pub cells: Vec<Cell>,
    /// Which cell counts, by series and workload.
    counted: HashMap<(usize, usize), usize>,
}

/// A file: one call of `bench`.
pub struct Run {
    pub file: String,
    pub context: Context,
}

/// A model, by its hash where one is told.
pub struct Model {
    pub label: String,
    pub hash: Option<String>,
}

/// A device as it was used: the adapter or CPU, with driver, machine and options as far as they differ.
pub struct Device {
    pub label: String,
    /// The adapter's or the CPU's name alone.
    pub name: String,
}

/// A device at a precision: what a bar stands for.
pub struct Series {
    pub label: String,
    pub device: usize,
    pub precision: String,
}

/// What all devices can be measured by: a model at a batch and shapes.
pub struct Workload {
    pub label: String,
}

pub struct Cell {
    pub run: usize,
    pub model: usize,
    pub series: usize,
    pub workload: usize,
    pub batch: u64,
    /// Whether another file measured the same later: plots show that one.
    pub superseded: bool,
    pub data: Measurement,
}

impl Cell {
    /// The median latency in milliseconds, if the cell ran.
    pub fn median(&self) -> Option<f64> {
        let told = self.data.latency_ms.and_then(|latency| latency.median);
        let found = told.or_else(|| Statistics::of(&self.data.times()).map(|times| times.median));
        found.filter(|median| self.data.error.is_none() && TIMES.contains(median))
    }
    /// The 5th and the 95th percentile of the runs; where these aren't told, what the file tells of the 95th.
    pub fn spread(&self) -> (Option<f64>, Option<f64>) {
        let mut times = self.data.times();
        times.retain(|time| TIMES.contains(time));
        let upper =
            self.data.latency_ms.and_then(|latency| latency.p95).filter(|upper| TIMES.contains(upper));
        if times.is_empty() { (None, upper) } else { (percentile(&times, 0.05), percentile(&times, 0.95)) }
    }
    /// Inferences a second at the median.
    pub fn per_second(&self) -> Option<f64> {
        self.median().map(|median| self.batch.max(1) as f64 * 1e3 / median)
    }
    /// Whether the outputs are wrong by more than rounding explains: a speed that says nothing.
    pub fn is_wrong(&self) -> bool {
        self.data.verdict.as_deref() == Some("DIFFERENT")
    }
    /// The largest relative difference from the reference.
    pub fn difference(&self) -> Option<f64> {
        self.data.accuracy.as_ref()?.max_rel.filter(|value| value.is_finite() && *value >= 0.0)
    }
}

/// Between the two nearest ranks.
pub fn percentile(times: &[f64], share: f64) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = share * sorted.len().checked_sub(1)? as f64;
    let low = *sorted.get(rank as usize)?;
    let high = sorted.get(rank as usize + 1).copied().unwrap_or(low);
    Some(low + rank.fract() * (high - low))
}

/// Reads the files and merges them.
pub fn merge(paths: &[PathBuf]) -> Result<Merged> {
    let documents =
        paths.iter().map(|path| Ok((path.as_path(), read::read(path)?))).collect::<Result<Vec<_>>>()?;
    Ok(merged(documents))
}

fn merged(documents: Vec<(&Path, read::Document)>) -> Merged {
    let (mut runs, mut measured) = (vec![], vec![]);
    for (path, document) in documents {
        measured.extend(document.results.into_iter().map(|cell| (runs.len(), cell)));
        runs.push(Run { file: path.display().to_string(), context: document.context });
    }
    let mut models: Vec<(String, Option<String>)> = vec![];
    let mut identities: Vec<Identity> = vec![];
    let mut series: Vec<(usize, String)> = vec![];
    let mut workloads: Vec<(usize, u64, String)> = vec![];
    let mut cells: Vec<Cell> = vec![];
    // Models with a hash first: what comes without one is the file of the same path, if there is one.
    let hashed = |(_, cell): &&(usize, Measurement)| cell.model_sha256.is_some();
    for (_, cell) in measured.iter().filter(hashed) {
        if !models.iter().any(|(_, hash)| *hash == cell.model_sha256) {
            models.push((cell.model.clone(), cell.model_sha256.clone()));
        }
    }
    for (run, data) in measured {
        let same = |(path, hash): &(String, Option<String>)| match &data.model_sha256 {
            Some(own) => hash.as_ref() == Some(own),
            None => *path == data.model,
        };
        let model = models.iter().position(same).unwrap_or_else(|| {
            models.push((data.model.clone(), None));
            models.len() - 1
        });
        let context = runs.get(run).map(|run| run.context.clone()).unwrap_or_default();
        let device = place(&mut identities, Identity::of(&context, &data));
        let precision = data.precision.clone().unwrap_or_else(|| "f32".into());
        let series = place(&mut series, (device, precision));
        let batch = data.batch.unwrap_or(1);
        let workload = place(&mut workloads, (model, batch, shapes(&data)));
        cells.push(Cell { run, model, series, workload, batch, superseded: false, data });
    }
    let counted = supersede(&mut cells, &runs);
    let model_labels = model_labels(&models);
    let models: Vec<Model> =
        models.into_iter().zip(model_labels).map(|((_, hash), label)| Model { label, hash }).collect();
    let labels = device_labels(&identities);
    let devices: Vec<Device> = identities
        .into_iter()
        .zip(labels)
        .map(|(identity, label)| Device { label, name: identity.name })
        .collect();
    let series = series
        .into_iter()
        .map(|(device, precision)| {
            let name = devices.get(device).map_or("", |device| device.label.as_str());
            let label = if precision == "f32" { name.to_string() } else { format!("{name} · {precision}") };
            Series { label, device, precision }
        })
        .collect();
    let workloads = labelled(workloads, &models, &cells);
    Merged { runs, models, devices, series, workloads, cells, counted }
}

/// The place of a value in a list that it becomes part of.
fn place<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    list.iter().position(|known| *known == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    })
}

/// `ids 1x128`, a part for each input.
fn shapes(cell: &Measurement) -> String {
    let shape = |shape: &[u64]| shape.iter().map(u64::to_string).collect::<Vec<_>>().join("x");
    let parts = cell.inputs.iter().map(|input| format!("{} {}", input.name, shape(&input.shape)));
    parts.collect::<Vec<_>>().join(", ")
}

/// A workload says its batch where that isn't 1, and its shapes where the model has others at the same batch.
fn labelled(found: Vec<(usize, u64, String)>, models: &[Model], cells: &[Cell]) -> Vec<Workload> {
    // A cell that didn't run may not know its shapes.
    let ran = |index: usize| cells.iter().any(|cell| cell.workload == index && cell.median().is_some());
    let label = |index: usize, (model, batch, shapes): &(usize, u64, String)| {
        let name = models.get(*model).map_or("?", |model| model.label.as_str());
        let batch_text = if *batch == 1 { String::new() } else { format!(", batch {batch}") };
        let mut others = found.iter().enumerate().filter(|(other, (other_model, other_batch, _))| {
            *other != index && (other_model, other_batch) == (model, batch) && ran(*other)
        });
        let shapes =
            if others.next().is_some() && ran(index) { format!(" ({shapes})") } else { String::new() };
        format!("{name}{batch_text}{shapes}")
    };
    let labels: Vec<String> = found.iter().enumerate().map(|(index, key)| label(index, key)).collect();
    labels.into_iter().map(|label| Workload { label }).collect()
}

/// Of cells that measured the same the last one counts: of the newest run, else of the last file.
fn supersede(cells: &mut [Cell], runs: &[Run]) -> HashMap<(usize, usize), usize> {
    let time = |run: usize| runs.get(run).and_then(|run| run.context.unix_time).unwrap_or(0);
    let mut last: HashMap<(usize, usize), usize> = HashMap::new();
    let mut old = vec![];
    for (index, cell) in cells.iter().enumerate() {
        let held = last.entry((cell.series, cell.workload)).or_insert(index);
        if *held != index {
            let older = cells.get(*held).is_some_and(|before| time(before.run) <= time(cell.run));
            old.push(if older { std::mem::replace(held, index) } else { index });
        }
    }
    for index in old {
        if let Some(cell) = cells.get_mut(index) {
            cell.superseded = true;
        }
    }
    last
}

impl Merged {
    /// The cell of a device and a workload that counts.
    pub fn cell(&self, series: usize, workload: usize) -> Option<&Cell> {
        self.cells.get(*self.counted.get(&(series, workload))?)
    }
    /// The cells of a workload that ran and count, in the order of the devices.
    pub fn measured(&self, workload: usize) -> Vec<&Cell> {
        let found = (0..self.series.len()).filter_map(|series| self.cell(series, workload));
        found.filter(|cell| cell.median().is_some()).collect()
    }
    /// The workloads that ran somewhere.
    pub fn measured_workloads(&self) -> Vec<(usize, &Workload)> {
        let all = self.workloads.iter().enumerate();
        all.filter(|(index, _)| !self.measured(*index).is_empty()).collect()
    }
    pub fn series_label(&self, index: usize) -> &str {
        self.series.get(index).map_or("?", |series| &series.label)
    }
    pub fn model_label(&self, index: usize) -> &str {
        self.models.get(index).map_or("?", |model| &model.label)
    }
    pub fn workload_label(&self, index: usize) -> &str {
        self.workloads.get(index).map_or("?", |workload| &workload.label)
    }
    /// The device whose colour a series has.
    pub fn device_of(&self, series: usize) -> usize {
        self.series.get(series).map_or(0, |series| series.device)
    }
    pub fn precision_of(&self, series: usize) -> &str {
        self.series.get(series).map_or("?", |series| &series.precision)
    }
}

/// Files made in a test, merged.
#[cfg(test)]
pub fn of_texts(texts: &[&str]) -> Merged {
    let parsed = texts.iter().map(|text| (Path::new("test.json"), serde_json::from_str(text).unwrap()));
    merged(parsed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"schema":1,"context":{"unix_time":5},"results":[
        {"model":"a/m.onnx","model_sha256":"11","device":"cpu","batch":1,"latency_ms":{"median":4.0}},
        {"model":"b/m.onnx","model_sha256":"22","device":"cpu","batch":4,"runs_ms":[1,2,3]},
        {"model":"b/m.onnx","model_sha256":"22","device":"gpu","adapter":"X","batch":4,"error":"no memory"}]}"#;
    const NEW: &str = r#"{"schema":1,"context":{"unix_time":9},"results":[
        {"model":"c/m.onnx","model_sha256":"11","device":"cpu","batch":1,"latency_ms":{"median":2.0}},
        {"model":"b/m.onnx","device":"cpu","precision":"f16","batch":4,"latency_ms":{"median":2.0}}]}"#;

    #[test]
    fn the_newest_of_the_same_counts() {
        for files in [[OLD, NEW], [NEW, OLD]] {
            let merged = of_texts(&files);
            let labels: Vec<&str> = merged.workloads.iter().map(|workload| workload.label.as_str()).collect();
            assert!(labels.iter().any(|label| label.ends_with("/m, batch 4")), "{labels:?}");
            let at = labels.iter().position(|label| !label.contains("batch")).unwrap();
            let counted: Vec<f64> = merged.measured(at).iter().filter_map(|cell| cell.median()).collect();
            assert_eq!(counted, [2.0]);
            assert_eq!((merged.models.len(), merged.cells.len()), (2, 5));
        }
    }

    #[test]
    fn a_cell_that_did_not_run_has_no_times() {
        let merged = of_texts(&[OLD]);
        let failed = merged.cells.iter().find(|cell| cell.data.error.is_some()).unwrap();
        assert_eq!((failed.median(), failed.per_second()), (None, None));
        let other = merged.cells.iter().find(|cell| cell.median() == Some(2.0)).unwrap();
        assert_eq!((other.per_second(), other.spread()), (Some(2000.0), (Some(1.1), Some(2.9))));
    }
}
