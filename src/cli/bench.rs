//! `bench`: how fast a model runs, with how close it comes to the CPU's answer beside it.

use super::Outcome;
use super::bench_kernel::Laboratory;
use super::bench_shaders;
use super::devices::Cpu;
use super::emit::{JsonOption, SCHEMA, say, stdout};
use super::inputs::InputOptions;
use super::options::{
    DeviceFields, Fallback, Precision, RunOptions, TuneOption, fallbacks, say_fallbacks, say_packed_anew,
};
use super::outputs;
use clap::Args;
use sardonyx::bench::{
    Extent, Statistics, StepTime, difference_from_cpu, host_us_per_dispatch, milliseconds, peak_host_bytes,
    profile, profile_cpu, time, time_steps,
};
use sardonyx::error::{Error, Result};
use sardonyx::graph::ValueId;
use sardonyx::plan::Plan;
use sardonyx::session::{Prepared, Session};
use sardonyx::{DType, Tensor};
use serde::Serialize;
use std::collections::HashMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs whose time on the GPU is taken by timestamps.
const GPU_RUNS: usize = 5;

/// Measure latency, throughput, first inference by stages and memory, with the accuracy beside them
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sardonyx bench model.onnx --device gpu --runs 50 --json results.json\n  \
sardonyx bench --kernel matmul --shape 128x768x3072 --variant all --device gpu\n\n\
A run uploads the inputs, computes, and reads the outputs back. first_inference_ms runs from the start of the process (for a second model: of its turn)\n\
to the first outputs. accuracy is the largest difference from the CPU, f32, no rewrites, relative to the output's largest magnitude."
)]
pub struct Bench {
    /// The ONNX files
    #[arg(required_unless_present = "kernel", value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Measure one kernel family instead of a model, or all of them, each checked against the CPU first:
    /// matmul, matmul_batch, conv, depthwise, softmax, attention, layer_norm, reduce, global_pool, transpose,
    /// elementwise, gather, pool, resize
    #[arg(long, value_name = "NAME|all", conflicts_with_all = ["models", "worker", "outputs", "profile", "tune"])]
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
    /// Instead of measuring, write every distinct shader of the kernels (of all, or of the file
    /// shaders/NAME.wgsl) to this folder as NAME.N.wgsl, and shaders.tsv, which tells what each takes beyond
    /// WebGPU's core; no device is opened. With --limits webgpu only those that an adapter asked for WebGPU's
    /// features and limits can get
    #[arg(long, value_name = "DIR", requires = "kernel", conflicts_with_all = ["shape", "variant", "markdown"])]
    shaders: Option<PathBuf>,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    tune: TuneOption,
    #[command(flatten)]
    inputs: InputOptions,
    /// Timed runs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Runs before the timed ones, besides the first
    #[arg(long, default_value_t = 3)]
    warmup: u32,
    /// Run for so many seconds instead of a number of runs
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,
    /// Write the last timed run's outputs to this folder
    #[arg(long, value_name = "DIR")]
    outputs: Option<PathBuf>,
    /// Don't compare the outputs with the CPU's
    #[arg(long)]
    no_accuracy: bool,
    /// Show where the device's time goes, step by step
    #[arg(long, conflicts_with = "worker")]
    profile: bool,
    /// For comparison scripts: print {"first": MS}, then for each line of seconds on standard input a list of
    /// times in ms
    #[arg(long, conflicts_with = "json")]
    worker: bool,
    #[command(flatten)]
    json: JsonOption,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("'{text}' is not a number of seconds"))?;
    Duration::try_from_secs_f64(number).map_err(|problem| format!("'{text}' seconds: {problem}"))
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    context: Context,
    results: Vec<Measurement>,
}

/// What else a reader of the numbers must know.
#[derive(Serialize)]
struct Context {
    sardonyx: &'static str,
    /// Whether this is an optimised build.
    optimised: bool,
    os: &'static str,
    arch: &'static str,
    cpu: Cpu,
    seed: u64,
    warmup: u32,
    limits: Option<String>,
    unix_time: u64,
}

#[derive(Serialize)]
struct Measurement {
    model: String,
    #[serde(flatten)]
    device: DeviceFields,
    precision: Precision,
    batch: usize,
    inputs: Vec<InputShape>,
    first_inference_ms: f64,
    cold_start_ms: ColdStart,
    latency_ms: Statistics,
    /// Batch elements a second.
    throughput_per_s: f64,
    runs_ms: Vec<f64>,
    gpu_ms: Option<Statistics>,
    /// With --profile: the steps on the GPU, or the nodes on the CPU, the longest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepTime>>,
    peak_host_bytes: Option<u64>,
    peak_device_bytes: Option<u64>,
    /// Weights as packed and the most activations that live at once: what no plan does without.
    needed_device_bytes: Option<u64>,
    /// Recording a dispatch of the prepared plan, in microseconds of the host's time.
    host_us_per_dispatch: Option<f64>,
    dispatches: usize,
    pipelines: usize,
    fallbacks: Vec<Fallback>,
    accuracy: Option<Accuracy>,
}

#[derive(Serialize)]
struct InputShape {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
}

/// The stages of the first inference.
#[derive(Serialize, Default, Clone, Copy)]
struct ColdStart {
    device: f64,
    parse: f64,
    optimise: f64,
    plan: f64,
    upload: f64,
    shaders: f64,
    first_run: f64,
}

/// The largest difference from the reference, relative to the output's largest magnitude; null where it isn't
/// finite.
#[derive(Serialize)]
struct Accuracy {
    reference: &'static str,
    max_rel: Option<f64>,
}

/// A model after its first inference.
struct Started {
    session: Session,
    inputs: HashMap<ValueId, Tensor>,
    prepared: Arc<Prepared>,
    first_ms: f64,
    stages: ColdStart,
}

impl Bench {
    pub fn run(&self, start: Instant) -> Result<Outcome> {
        if let (Some(kernel), Some(folder)) = (&self.kernel, &self.shaders) {
            return bench_shaders::write(kernel, folder, self.options.device.limits.as_deref(), &self.json);
        }
        if let Some(kernel) = &self.kernel {
            let (shape, variant) = (self.shape.as_deref(), self.variant.as_deref());
            return Laboratory { kernel, shape, variant, markdown: self.markdown, seed: self.inputs.seed }
                .run(&self.options, &self.json);
        }
        if self.models.len() > 1 && (self.outputs.is_some() || self.worker) {
            return Err(
                Error::usage("--outputs and --worker take one model").remedy("measure the models one by one")
            );
        }
        if self.worker {
            return self.work(start);
        }
        let mut results = vec![];
        for (index, model) in self.models.iter().enumerate() {
            let begun = if index == 0 { start } else { Instant::now() };
            results.push(self.measure(model, begun).map_err(|error| error.in_file(model))?);
            // Where the system allows it, the next model's peak of main memory is its own.
            let _ = std::fs::write("/proc/self/clear_refs", "5");
        }
        let document = Document { schema: SCHEMA, context: self.context(), results };
        self.json.emit(&document, || document.results.iter().map(text).collect())?;
        Ok(Outcome::Good)
    }

    /// All up to the first outputs in host memory.
    fn start(&self, model: &Path, begun: Instant) -> Result<Started> {
        // A device is opened for a file that is there.
        std::fs::metadata(model).map_err(|problem| {
            Error::file(model, format!("can't be read: {problem}")).remedy("check the path")
        })?;
        let mut stages = ColdStart::default();
        let mut at = Instant::now();
        let mut stage = || milliseconds(std::mem::replace(&mut at, Instant::now()).elapsed());
        let device = self.options.device.open_aloud()?;
        stages.device = stage();
        let mut session = self.options.builder(device).load(model)?;
        (stages.parse, stages.optimise) =
            (milliseconds(session.stages().parse), milliseconds(session.stages().optimise));
        outputs::check(self.outputs.as_deref(), &session.outputs())?;
        let inputs = self.inputs.bind(&mut session, model)?;
        self.tune.apply(&mut session, &inputs)?;
        stage();
        let prepared = session.prepare(&inputs)?;
        stages.plan = stage();
        say_packed_anew(&session, &prepared);
        let warmed = session.warm(&prepared)?;
        (stages.upload, stages.shaders) = (milliseconds(warmed.upload), milliseconds(warmed.shaders));
        stage();
        session.run_prepared(&prepared, &inputs)?;
        stages.first_run = stage();
        Ok(Started { session, inputs, prepared, first_ms: milliseconds(begun.elapsed()), stages })
    }

    fn measure(&self, model: &Path, begun: Instant) -> Result<Measurement> {
        let Started { session, inputs, prepared, first_ms, stages } = self.start(model, begun)?;
        // After the first run those of every part of a model are known.
        let (fallbacks, plans) = (fallbacks(&prepared), prepared.plans());
        say_fallbacks(&fallbacks);
        for _ in 0..self.warmup {
            session.run_prepared(&prepared, &inputs)?;
        }
        let extent = Extent { runs: self.runs as usize, duration: self.duration };
        let (runs_ms, results) = time(&session, &prepared, &inputs, extent)?;
        let latency_ms = Statistics::of(&runs_ms).ok_or_else(|| Error::internal("nothing was timed"))?;
        let (peak_host, peak_device) =
            (peak_host_bytes(), session.gpu().map(|device| device.memory_in_use().1));
        // What follows takes memory of its own.
        let steps_ms = time_steps(&session, &prepared, &inputs, GPU_RUNS)?.unwrap_or_default();
        let host_us = host_us_per_dispatch(&session, &prepared)?;
        let totals: Vec<f64> = steps_ms.iter().map(|run| run.iter().map(|step| step.1).sum()).collect();
        let gpu_ms = Statistics::of(&totals);
        let steps = match &prepared.plan {
            _ if !self.profile => None,
            Some(plan) => Some(profile(plan, &steps_ms)),
            None => profile_cpu(&session, &prepared, &inputs, GPU_RUNS)?,
        };
        if let Some(folder) = &self.outputs {
            outputs::write(folder, &results)?;
        }
        let accuracy =
            if self.no_accuracy { None } else { Some(difference_from_cpu(&session, &inputs, &results)?) };
        let shape =
            |id: &ValueId| inputs.get(id).map(|tensor| (session.graph().value(*id).name.clone(), tensor));
        let shapes: Vec<(String, &Tensor)> = session.graph().inputs.iter().filter_map(shape).collect();
        let batch = shapes.first().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(1);
        Ok(Measurement {
            model: model.display().to_string(),
            device: DeviceFields::of(session.gpu()),
            precision: self.options.precision,
            batch,
            inputs: shapes
                .into_iter()
                .map(|(name, tensor)| InputShape {
                    name,
                    dtype: DType::name(tensor.dtype()),
                    shape: tensor.shape().to_vec(),
                })
                .collect(),
            first_inference_ms: first_ms,
            cold_start_ms: stages,
            latency_ms,
            throughput_per_s: batch as f64 * 1e3 / latency_ms.mean.max(1e-9),
            runs_ms,
            gpu_ms,
            steps,
            peak_host_bytes: peak_host,
            peak_device_bytes: peak_device,
            needed_device_bytes: (!plans.is_empty()).then(|| {
                let needed =
                    |plan: &Arc<Plan>| plan.constant_bytes() + plan.external_bytes() + plan.live_bytes();
                plans.iter().map(needed).sum()
            }),
            host_us_per_dispatch: host_us,
            dispatches: plans.iter().map(|plan| plan.dispatches().count()).sum(),
            pipelines: plans.iter().map(|plan| plan.pipelines()).sum(),
            fallbacks,
            accuracy: accuracy.map(|difference| Accuracy {
                reference: "cpu f32, as read",
                max_rel: difference.is_finite().then_some(difference),
            }),
        })
    }

    /// `--worker`: turns of as many seconds as each line on standard input says.
    fn work(&self, start: Instant) -> Result<Outcome> {
        let Some(model) = self.models.first() else { return Err(Error::usage("no model is given")) };
        let Started { session, inputs, prepared, first_ms, .. } =
            self.start(model, start).map_err(|error| error.in_file(model))?;
        say_fallbacks(&fallbacks(&prepared));
        stdout(&format!("{}\n", serde_json::json!({ "first": first_ms })))?;
        let mut last = None;
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|problem| {
                Error::new(sardonyx::ErrorKind::File, format!("standard input can't be read: {problem}"))
            })?;
            if line.trim().is_empty() {
                continue;
            }
            let duration = seconds(&line)
                .map_err(|problem| Error::usage(problem).remedy("write a number of seconds a line"))?;
            let (times, results) =
                time(&session, &prepared, &inputs, Extent { runs: 1, duration: Some(duration) })?;
            let times: Vec<serde_json::Value> = times.into_iter().map(serde_json::Value::from).collect();
            stdout(&format!("{}\n", serde_json::Value::Array(times)))?;
            last = Some(results);
        }
        if let Some(folder) = &self.outputs {
            let results = last.map_or_else(|| session.run_prepared(&prepared, &inputs), Ok)?;
            outputs::write(folder, &results)?;
        }
        Ok(Outcome::Good)
    }

    fn context(&self) -> Context {
        Context {
            sardonyx: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu: Cpu::new(),
            seed: self.inputs.seed,
            warmup: self.warmup,
            limits: self.options.device.limits.clone(),
            unix_time: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
        }
    }
}

fn text(result: &Measurement) -> String {
    let (stages, latency) = (&result.cold_start_ms, &result.latency_ms);
    let mut text = format!("{} on {}\n", result.model, result.device.adapter.as_deref().unwrap_or("CPU"));
    text += &format!(
        "  latency      median {:.3} ms, min {:.3}, mean {:.3}, p90 {:.3}, p95 {:.3}, p99 {:.3}, max {:.3} over {} runs\n",
        latency.median,
        latency.min,
        latency.mean,
        latency.p90,
        latency.p95,
        latency.p99,
        latency.max,
        result.runs_ms.len()
    );
    text += &format!("  throughput   {:.2}/s at batch {}\n", result.throughput_per_s, result.batch);
    if let Some(gpu) = &result.gpu_ms {
        text += &format!("  on the GPU   median {:.3} ms\n", gpu.median);
    }
    text += &format!(
        "  first        {:.1} ms: device {:.1}, parse {:.1}, optimise {:.1}, plan {:.1}, upload {:.1}, shaders {:.1}, first run {:.1}\n",
        result.first_inference_ms,
        stages.device,
        stages.parse,
        stages.optimise,
        stages.plan,
        stages.upload,
        stages.shaders,
        stages.first_run
    );
    let mebibytes = |bytes: Option<u64>| {
        bytes.map_or("?".to_string(), |bytes| format!("{:.2} MiB", bytes as f64 / (1 << 20) as f64))
    };
    let device = match (result.peak_device_bytes, result.needed_device_bytes) {
        (Some(peak), Some(needed)) => format!(
            ", device {} ({:.2} of what is needed)",
            mebibytes(Some(peak)),
            peak as f64 / needed.max(1) as f64
        ),
        (Some(peak), None) => format!(", device {}", mebibytes(Some(peak))),
        _ => String::new(),
    };
    text += &format!("  memory       host {}{device}\n", mebibytes(result.peak_host_bytes));
    text += &format!(
        "  plan         {} dispatches, {} pipelines, {} fallbacks",
        result.dispatches,
        result.pipelines,
        result.fallbacks.len()
    );
    text += &result
        .host_us_per_dispatch
        .map_or("\n".to_string(), |us| format!("; {us:.2} µs a dispatch on the host\n"));
    for step in result.steps.iter().flatten() {
        let rate = if step.flops > 0 { format!("{:7.1} GFLOP/s", step.gflops()) } else { " ".repeat(15) };
        let kernels =
            if step.kernels.is_empty() { String::new() } else { format!(": {}", step.kernels.join(", ")) };
        text += &format!(
            "  {:9.3} ms {rate} {:7.1} GB/s  {} ({}){kernels}\n",
            step.ms,
            step.gigabytes(),
            step.node,
            step.op
        );
    }
    if let Some(accuracy) = &result.accuracy {
        let measured =
            accuracy.max_rel.map_or("not comparable".to_string(), |difference| format!("{difference:.2e}"));
        text += &format!(
            "  accuracy     {measured} relative to the CPU ({})\n",
            super::options::precision_name(result.precision)
        );
    }
    if !cfg!(debug_assertions) {
        return text;
    }
    say("note: this is not an optimised build: its times say little");
    text
}
