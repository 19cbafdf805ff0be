//! `bench`: how fast models run, on every device and at every precision that is asked for, with how right
//! they are beside it.

mod cell;
mod child;
mod context;
mod generate;
mod judge;
mod kernel;
mod matrix;
mod measurement;
mod shaders;
mod text;
mod trace;
mod worker;

use super::Outcome;
use super::emit::{JsonOption, SCHEMA, say};
use super::inputs::InputOptions;
use super::options::{DeviceOptions, Held, Precision, RunOptions, TuneOption, held, planter, precision};
use super::report::{diff, read};
use clap::Args;
use context::Context;
use kernel::Laboratory;
use measurement::{Row, Verdict};
use sardonyx::compare::Planter;
use sardonyx::error::{Error, Result};
use sardonyx::graph::Dim;
use sardonyx::session::Session;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Measure latency, throughput, first inference by stages and memory, with the accuracy beside them
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sardonyx bench model.onnx --device gpu --runs 50 --json results.json\n  \
sardonyx bench a.onnx b.onnx --device all --precision f32,f16 --batch 1,8 --json results.json\n  \
sardonyx bench --kernel matmul --shape 128x768x3072 --variant all --device gpu\n  \
sardonyx bench models/text/genai --generate pp128,tg64 --device cpu\n\n\
A run uploads the inputs, computes, and reads the outputs back. first_inference_ms runs from the start of the process to the first outputs.\n\
Several models, devices, precisions or batch sizes: each cell has a process of its own, and the rounds of a model's cells alternate.\n\
accuracy is the largest difference from the CPU, f32, no rewrites, relative to the output's largest magnitude. The verdict is compare's: OK,\n\
ROUNDING (further off than float32, and no further than the precision explains) or DIFFERENT. JSON and files: docs/bench.md."
)]
pub struct Bench {
    /// The ONNX files
    #[arg(required_unless_present = "kernel", value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Measure one kernel family instead of a model, or all of them, each checked against the CPU first:
    /// matmul, matmul_nbits, matmul_batch, conv, depthwise, softmax, attention, layer_norm, reduce,
    /// global_pool, transpose, elementwise, gather, pool, resize
    #[arg(long, value_name = "NAME|all", conflicts_with_all = ["models", "worker", "outputs", "profile", "tune", "batch"])]
    kernel: Option<String>,
    /// The kernel's sizes, as 128x768x3072; without, those that the benchmark models have
    #[arg(long, value_name = "SIZES", requires = "kernel")]
    shape: Option<String>,
    /// A variant of the kernel (rows or pixels an invocation makes, with -down if workgroups go down the
    /// rows), or all
    #[arg(long, value_name = "VARIANT|all", requires = "kernel")]
    variant: Option<String>,
    /// Print the kernels' table as Markdown
    #[arg(long, requires = "kernel")]
    markdown: bool,
    /// Measure language models, by their files or folders: ppN reads a prompt of N tokens, tgN goes on for N
    /// tokens; each --rounds times, in tokens a second
    #[arg(long, value_name = "ppN,tgN", value_delimiter = ',', conflicts_with_all = ["kernel", "worker", "outputs", "profile", "tune", "batch", "baseline", "duration", "cold_cache"])]
    generate: Vec<generate::Test>,
    /// Instead of measuring, write every distinct shader of the kernels (of all, or of the file
    /// shaders/NAME.wgsl) to this folder as NAME.N.wgsl, and shaders.tsv, which tells what each takes beyond
    /// WebGPU's core; no device is opened. With --limits webgpu only those that an adapter asked for WebGPU's
    /// features and limits can get
    #[arg(long, value_name = "DIR", requires = "kernel", conflicts_with_all = ["shape", "variant", "markdown"])]
    shaders: Option<PathBuf>,
    /// Of --device, `all` means the CPU and every adapter, and several devices are separated by commas
    #[command(flatten)]
    device: DeviceOptions,
    /// How float32 tensors are stored; sums are f32 either way. FILE: f16 but for the nodes that it lists, as
    /// compare --precision auto writes it. Several, separated by commas: a cell each
    #[arg(long, value_delimiter = ',', default_value = "f32", value_name = "f32|f16|FILE", value_parser = precision)]
    precision: Vec<Precision>,
    /// With f16: hold this node in f32 all the same; or those of a FILE.json; repeatable
    #[arg(long, value_name = "NODE|FILE.json", value_parser = held)]
    hold_f32: Vec<Held>,
    /// Sizes of the first input's first axis, where the model leaves it open; several, separated by commas: a
    /// cell each
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with_all = ["input", "inputs"])]
    batch: Vec<usize>,
    /// Refuse what would fall back from the GPU to the CPU
    #[arg(long)]
    strict: bool,
    /// Plant a fault, for tests of the comparison
    #[arg(long, hide = true, value_name = "SEED", value_parser = planter)]
    plant_fault: Option<Planter>,
    /// Make every timed run take so many times as long, for tests of comparisons
    #[arg(long, hide = true, value_name = "FACTOR", conflicts_with = "worker")]
    slowed: Option<f64>,
    #[command(flatten)]
    tune: TuneOption,
    #[command(flatten)]
    inputs: InputOptions,
    /// Timed runs of each cell
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Runs before the timed ones, besides the first
    #[arg(long, default_value_t = 3)]
    warmup: u32,
    /// Run each cell for so many seconds instead of a number of runs
    #[arg(long, value_name = "S", value_parser = worker::seconds)]
    duration: Option<Duration>,
    /// Rounds that the runs are divided into; those of a model's cells alternate [default: 5]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Have Mesa's and NVIDIA's drivers compile every shader anew, so that first inferences are those of a
    /// machine that has never run the model
    #[arg(long)]
    cold_cache: bool,
    /// What a reader should know of the circumstances: the power plan, the cooling
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Say what is faster or slower than in an earlier file of results, as `report diff` does; exit code 1
    /// where something is slower, fails or is wrong now
    #[arg(long, value_name = "FILE", conflicts_with = "worker")]
    baseline: Option<PathBuf>,
    /// Compare with the baseline although this differs
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', requires = "baseline")]
    ignore: Vec<diff::Reason>,
    /// Write the last timed run's outputs to this folder
    #[arg(long, value_name = "DIR")]
    outputs: Option<PathBuf>,
    /// Don't compare the outputs with the CPU's
    #[arg(long)]
    no_accuracy: bool,
    /// Show where the device's time goes, step by step
    #[arg(long, conflicts_with = "worker")]
    profile: bool,
    /// Write the steps to a file that Perfetto opens
    #[arg(long, value_name = "FILE", requires = "profile")]
    trace: Option<PathBuf>,
    /// For comparison scripts: print {"first": MS}, then for each line of seconds on standard input a list of
    /// times in ms
    #[arg(long, conflicts_with = "json")]
    worker: bool,
    /// Measure one cell for another process
    #[arg(long, hide = true)]
    cell: bool,
    #[command(flatten)]
    json: JsonOption,
}

/// A model on a device at a precision and a batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub model: String,
    /// As `--device` has it.
    pub device: String,
    pub precision: Precision,
    pub batch: Option<usize>,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}, {}", self.model, self.device, self.precision.text())?;
        self.batch.map_or(Ok(()), |batch| write!(f, ", batch {batch}"))
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    context: Context,
    results: &'a [Row],
    /// What became of the cells since `--baseline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<diff::Document>,
}

impl Bench {
    pub fn run(&self, start: Instant) -> Result<Outcome> {
        if let (Some(kernel), Some(folder)) = (&self.kernel, &self.shaders) {
            return shaders::write(kernel, folder, self.device.limits.as_deref(), &self.json);
        }
        if let Some(kernel) = &self.kernel {
            let (shape, variant) = (self.shape.as_deref(), self.variant.as_deref());
            let cell = Cell {
                model: String::new(),
                device: self.device.device.clone(),
                precision: self.precision.first().cloned().unwrap_or(Precision::F32),
                batch: None,
            };
            return Laboratory { kernel, shape, variant, markdown: self.markdown, seed: self.inputs.seed }
                .run(&self.run_options(&cell), &self.json);
        }
        if !self.generate.is_empty() {
            return self.generate(&self.generate);
        }
        let models = self.cells();
        let cells: Vec<&Cell> = models.iter().flatten().collect();
        let Some(first) = cells.first() else {
            return Err(Error::usage("--device names no device").remedy("name one, or leave it out"));
        };
        if cells.len() > 1 && (self.outputs.is_some() || self.worker) {
            return Err(Error::usage("--outputs and --worker take one model on one device")
                .remedy("measure them one by one"));
        }
        if self.worker {
            return self.work(first, start);
        }
        if self.cell {
            return child::serve(self, first, start).map(|()| Outcome::Good);
        }
        // A wrong file is told before hours are measured.
        let baseline = self.baseline.as_deref().map(read::read).transpose()?;
        matrix::hear_interruptions();
        let rows = match cells.as_slice() {
            [only] if !self.cold_cache => vec![self.one(only, start)?],
            _ => self.all(&models),
        };
        if let Some(trace) = &self.trace {
            trace::write(trace, &rows)?;
        }
        let mut document =
            Document { schema: SCHEMA, context: Context::of(self), results: &rows, baseline: None };
        if let (Some(before), Some(path)) = (&baseline, &self.baseline) {
            let names = [path.display().to_string(), "this measurement".to_string()];
            let after = read::parse(&json_of(&document)?)?;
            document.baseline = Some(diff::between(
                [before, &after],
                names,
                diff::MIN_CHANGE,
                &self.ignore,
                self.inputs.seed,
            )?);
        }
        self.json.emit(&document, || {
            let measured = if let [only] = rows.as_slice() { text::one(only) } else { text::table(&rows) };
            let changed = document.baseline.as_ref().map_or(String::new(), diff::Document::text);
            measured + &changed
        })?;
        if cfg!(debug_assertions) {
            say("note: this is not an optimised build: its times say little");
        }
        // A cell that couldn't run is a row among others, unless there are no others.
        match rows.iter().any(|row| row.measured.is_some()) {
            true => Ok(document.baseline.map_or(Outcome::Good, |changed| changed.outcome())),
            false => Err(Error::usage("no cell could be measured").remedy("see the reasons above")),
        }
    }

    /// How a cell is to run.
    fn run_options(&self, cell: &Cell) -> RunOptions {
        RunOptions {
            device: DeviceOptions { device: cell.device.clone(), ..self.device.clone() },
            precision: cell.precision.clone(),
            hold_f32: self.hold_f32.clone(),
            strict: self.strict,
            plant_fault: self.plant_fault.clone(),
        }
    }

    /// The inputs of a cell, with the batch size that it has.
    ///
    /// Errors where the model leaves no batch size open.
    fn inputs_of(&self, cell: &Cell, session: &Session) -> Result<InputOptions> {
        let mut inputs = self.inputs.clone();
        let Some(batch) = cell.batch else { return Ok(inputs) };
        let ports = session.inputs();
        let axis = ports.first().and_then(|port| port.dims.as_ref()?.first());
        match axis {
            Some(Dim::Symbol(symbol)) => inputs.set.push(format!("{symbol}={batch}")),
            Some(Dim::Known(size)) if *size == batch => {}
            Some(Dim::Known(size)) => {
                return Err(Error::input(format!("the batch size is fixed at {size}"))
                    .remedy("leave --batch out, or export the model with an open first axis"));
            }
            _ => {
                return Err(Error::input("the first input has no axis of a size that --batch can set")
                    .remedy("leave --batch out and use --set or -i"));
            }
        }
        Ok(inputs)
    }
}

/// The document as JSON.
fn json_of(document: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document)
        .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "OK",
            Verdict::Rounding => "ROUNDING",
            Verdict::Different => "DIFFERENT",
        }
    }
}
