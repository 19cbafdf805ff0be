//! What is measured of a cell: a model on a device at a precision and a batch size. A row of the JSON.

use crate::cli::options::{DeviceFields, Fallback};
use sardonyx::bench::Statistics;
use serde::{Deserialize, Serialize};

/// A row. Of a cell that could not run, the model, the device that was asked for, the precision, the batch and
/// `error` are there, and no measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub model: String,
    pub model_sha256: Option<String>,
    #[serde(flatten)]
    pub device: DeviceFields,
    /// What `--device` said of it.
    pub asked: String,
    /// `f32`, `f16`, or `mixed`: f16 but for nodes that a file lists.
    pub precision: String,
    pub batch: Option<usize>,
    pub error: Option<String>,
    #[serde(flatten)]
    pub measured: Option<Measured>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    pub inputs: Vec<InputShape>,
    pub first_inference_ms: f64,
    pub cold_start_ms: ColdStart,
    /// Whether a driver had the shaders from before: `cold` or `warm`, or null where nobody can tell.
    pub shader_cache: Option<String>,
    pub latency_ms: Statistics,
    /// Batch elements a second.
    pub throughput_per_s: f64,
    pub runs_ms: Vec<f64>,
    /// The same times by round: the rounds of all cells of a model alternate.
    pub rounds_ms: Vec<Vec<f64>>,
    /// Where a run's time goes, on a GPU.
    pub split_ms: Option<Split>,
    pub gpu_ms: Option<Statistics>,
    /// With --profile: the steps on the GPU, or the nodes on the CPU, the longest first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub steps: Option<Vec<Step>>,
    /// With --profile, on a GPU: what the adapter reaches in multiply-adds, and in a copy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_gflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_gb_per_s: Option<f64>,
    pub peak_host_bytes: Option<u64>,
    pub peak_device_bytes: Option<u64>,
    /// Weights as packed and the most activations that live at once: what no plan does without.
    pub needed_device_bytes: Option<u64>,
    /// Recording a dispatch of the prepared plan, in microseconds of the host's time.
    pub host_us_per_dispatch: Option<f64>,
    pub dispatches: usize,
    pub pipelines: usize,
    pub fallbacks: Vec<Fallback>,
    pub accuracy: Option<Accuracy>,
    pub verdict: Option<Verdict>,
    /// How often the largest elements along the last axis are those of the reference.
    pub agreement: Option<Agreement>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputShape {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
}

/// The stages of the first inference.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct ColdStart {
    pub device: f64,
    pub parse: f64,
    pub optimise: f64,
    pub plan: f64,
    pub upload: f64,
    pub shaders: f64,
    pub first_run: f64,
}

/// The parts of runs by the host's clock.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Split {
    /// Encoding the inputs and handing them over.
    pub upload: Statistics,
    /// Recording and submitting.
    pub enqueue: Statistics,
    /// From then until the device is done.
    pub compute: Statistics,
    /// Reading the outputs from mapped memory.
    pub readback: Statistics,
}

/// A step, or a node on the CPU.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    pub node: String,
    pub op: String,
    pub kernels: Vec<String>,
    pub ms: f64,
    pub flops: u64,
    pub bytes: u64,
    /// Its place in the plan.
    pub index: usize,
}

/// The largest difference from the reference, relative to the output's largest magnitude; null where it isn't
/// finite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accuracy {
    pub reference: String,
    pub max_rel: Option<f64>,
}

/// What `compare` says of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// As right as float32 is.
    Ok,
    /// Further off, and no further than the cell's precision explains.
    Rounding,
    /// More than rounding explains.
    Different,
}

/// Shares from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Rows whose largest element is the reference's.
    pub top1: f64,
    /// Of the reference's five largest, those that are among the five largest; null of fewer than six.
    pub top5: Option<f64>,
}
