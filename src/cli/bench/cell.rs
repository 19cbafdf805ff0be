//! A cell in this process: the model is loaded, run once, then run in rounds, and judged.

use super::judge::judge;
use super::measurement::{ColdStart, InputShape, Measured, Row, Split, Step};
use super::{Bench, Cell};
use crate::cli::emit::told;
use crate::cli::options::{
    DeviceFields, RunOptions, fallbacks, precision_name, say_fallbacks, say_packed_anew,
};
use crate::cli::outputs;
use sardonyx::bench::{
    Extent, Statistics, StepTime, host_us_per_dispatch, milliseconds, peak_host_bytes, profile, profile_cpu,
    time, time_split, time_steps,
};
use sardonyx::error::{Error, Result};
use sardonyx::gpu::{self, Selection};
use sardonyx::graph::ValueId;
use sardonyx::plan::Plan;
use sardonyx::session::{Prepared, Session};
use sardonyx::{DType, Tensor, device};
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

/// Runs whose time on the GPU is taken by timestamps, and whose parts are timed.
const GPU_RUNS: usize = 5;

/// A model after its first inference.
pub struct Started<'a> {
    bench: &'a Bench,
    cell: Cell,
    pub session: Session,
    pub inputs: HashMap<ValueId, Tensor>,
    pub prepared: Arc<Prepared>,
    pub first_ms: f64,
    stages: ColdStart,
    /// The times by round.
    rounds: Vec<Vec<f64>>,
    /// The last timed run's outputs.
    last: Vec<(String, Tensor)>,
}

impl<'a> Started<'a> {
    /// All up to the first outputs in host memory.
    pub fn new(bench: &'a Bench, cell: &Cell, begun: Instant) -> Result<Self> {
        let model = Path::new(&cell.model);
        // A device is opened for a file that is there.
        std::fs::metadata(model).map_err(|problem| {
            Error::file(model, format!("can't be read: {problem}")).remedy("check the path")
        })?;
        let mut stages = ColdStart::default();
        let mut at = Instant::now();
        let mut stage = || milliseconds(std::mem::replace(&mut at, Instant::now()).elapsed());
        let options: RunOptions = bench.run_options(cell);
        let device = options.device.open_aloud()?;
        stages.device = stage();
        let mut session = options.builder(device)?.load(model)?;
        (stages.parse, stages.optimise) =
            (milliseconds(session.stages().parse), milliseconds(session.stages().optimise));
        outputs::check(bench.outputs.as_deref(), &session.outputs())?;
        let inputs = bench.inputs_of(cell, &session)?.bind(&mut session, model)?;
        bench.tune.apply(&mut session, &inputs)?;
        stage();
        let prepared = session.prepare(&inputs)?;
        stages.plan = stage();
        say_packed_anew(&session, &prepared);
        let warmed = session.warm(&prepared)?;
        (stages.upload, stages.shaders) = (milliseconds(warmed.upload), milliseconds(warmed.shaders));
        stage();
        let last = session.run_prepared(&prepared, &inputs)?;
        stages.first_run = stage();
        let first_ms = milliseconds(begun.elapsed());
        Ok(Self {
            bench,
            cell: cell.clone(),
            session,
            inputs,
            prepared,
            first_ms,
            stages,
            rounds: vec![],
            last,
        })
    }

    /// The runs before the timed ones.
    pub fn warm_up(&self) -> Result<()> {
        // After the first run those of every part of a model are known.
        say_fallbacks(&fallbacks(&self.prepared));
        for _ in 0..self.bench.warmup {
            self.session.run_prepared(&self.prepared, &self.inputs)?;
        }
        Ok(())
    }

    /// A round of timed runs.
    pub fn round(&mut self, extent: Extent) -> Result<&[f64]> {
        let (mut times, outputs) = time(&self.session, &self.prepared, &self.inputs, extent)?;
        for time in &mut times {
            *time *= self.bench.slowed.unwrap_or(1.0);
        }
        self.last = outputs;
        self.rounds.push(times);
        Ok(self.rounds.last().map_or(&[], Vec::as_slice))
    }

    /// Writes the last timed run's outputs where `--outputs` says.
    pub fn write_outputs(&self) -> Result<()> {
        self.bench.outputs.as_deref().map_or(Ok(()), |folder| outputs::write(folder, &self.last).map(drop))
    }

    /// The row: what the rounds came to, and what is measured beside them.
    pub fn finish(self) -> Result<Row> {
        let Self { bench, cell, session, inputs, prepared, first_ms, stages, rounds, last } = self;
        let (fallbacks, plans) = (fallbacks(&prepared), prepared.plans());
        let runs_ms: Vec<f64> = rounds.iter().flatten().copied().collect();
        let latency_ms = Statistics::of(&runs_ms).ok_or_else(|| Error::internal("nothing was timed"))?;
        let (peak_host, peak_device) =
            (peak_host_bytes(), session.gpu().map(|device| device.memory_in_use().1));
        // What follows takes memory of its own.
        let split_ms = split(&session, &prepared, &inputs)?;
        let steps_ms = time_steps(&session, &prepared, &inputs, GPU_RUNS)?.unwrap_or_default();
        let host_us = host_us_per_dispatch(&session, &prepared)?;
        let totals: Vec<f64> = steps_ms.iter().map(|run| run.iter().map(|step| step.1).sum()).collect();
        let steps = match &prepared.plan {
            _ if !bench.profile => None,
            Some(plan) => Some(profile(plan, &steps_ms)),
            None => profile_cpu(&session, &prepared, &inputs, GPU_RUNS)?,
        };
        let peaks = match session.gpu().filter(|_| bench.profile) {
            Some(gpu) => Some(device::measure(gpu)?),
            None => None,
        };
        let judgement = match bench.no_accuracy {
            true => None,
            false => Some(judge(&session, &inputs, &last, &cell.precision)?),
        };
        let shape =
            |id: &ValueId| inputs.get(id).map(|tensor| (session.graph().value(*id).name.clone(), tensor));
        let shapes: Vec<(String, &Tensor)> = session.graph().inputs.iter().filter_map(shape).collect();
        let batch = shapes.first().and_then(|(_, tensor)| tensor.shape().first().copied()).unwrap_or(1);
        let needed = |plan: &Arc<Plan>| plan.constant_bytes() + plan.external_bytes() + plan.live_bytes();
        let (accuracy, verdict, agreement) = match judgement {
            Some(judged) => (Some(judged.accuracy), Some(judged.verdict), judged.agreement),
            None => (None, None, None),
        };
        let measured = Measured {
            inputs: shapes
                .into_iter()
                .map(|(name, tensor)| InputShape {
                    name,
                    dtype: DType::name(tensor.dtype()).to_string(),
                    shape: tensor.shape().to_vec(),
                })
                .collect(),
            first_inference_ms: first_ms,
            cold_start_ms: stages,
            shader_cache: (bench.cold_cache && session.gpu().is_some()).then(|| "cold".to_string()),
            latency_ms,
            throughput_per_s: batch as f64 * 1e3 / latency_ms.mean.max(1e-9),
            runs_ms,
            rounds_ms: rounds,
            split_ms,
            gpu_ms: Statistics::of(&totals),
            steps: steps.map(|steps| steps.into_iter().map(step).collect()),
            peak_gflops: peaks.map(|peaks| peaks.fma_gflops),
            peak_gb_per_s: peaks.map(|peaks| peaks.copy_gb_per_s),
            peak_host_bytes: peak_host,
            peak_device_bytes: peak_device,
            needed_device_bytes: (!plans.is_empty()).then(|| plans.iter().map(needed).sum()),
            host_us_per_dispatch: host_us,
            dispatches: plans.iter().map(|plan| plan.dispatches().count()).sum(),
            pipelines: plans.iter().map(|plan| plan.pipelines()).sum(),
            fallbacks,
            accuracy,
            verdict,
            agreement,
        };
        let device = DeviceFields::of(session.gpu());
        Ok(Row { device, batch: Some(batch), measured: Some(measured), ..cell.row(None) })
    }
}

impl Cell {
    /// A row without measurements, and why.
    pub fn row(&self, error: Option<&Error>) -> Row {
        let device = if self.device == "cpu" { "cpu" } else { "gpu" }.to_string();
        // What is known of an adapter that wasn't opened.
        let found = error.and_then(|_| gpu::select(&Selection::from_str(&self.device).ok()?).ok()?);
        let info = found.map(|found| found.info);
        Row {
            model: self.model.clone(),
            model_sha256: None,
            device: DeviceFields {
                device,
                adapter: info.as_ref().map(|info| info.name.clone()),
                backend: info.as_ref().map(|info| info.backend.clone()),
                driver: info.map(|info| info.driver),
                checks: None,
            },
            asked: self.device.clone(),
            precision: precision_name(&self.precision).to_string(),
            batch: self.batch,
            error: error.map(told),
            measured: None,
        }
    }
}

fn step(step: StepTime) -> Step {
    let StepTime { node, op, kernels, ms, flops, bytes, index } = step;
    Step { node, op, kernels: kernels.into_iter().map(str::to_string).collect(), ms, flops, bytes, index }
}

/// The parts of a few runs; `None` on the CPU.
fn split(session: &Session, prepared: &Prepared, inputs: &HashMap<ValueId, Tensor>) -> Result<Option<Split>> {
    let Some(runs) = time_split(session, prepared, inputs, GPU_RUNS)? else { return Ok(None) };
    let part = |of: fn(&device::TimeSpent) -> std::time::Duration| {
        let list: Vec<f64> = runs.iter().map(|run| milliseconds(of(run))).collect();
        Statistics::of(&list).ok_or_else(|| Error::internal("nothing was timed"))
    };
    Ok(Some(Split {
        upload: part(|run| run.upload)?,
        enqueue: part(|run| run.enqueue)?,
        compute: part(|run| run.compute)?,
        readback: part(|run| run.readback)?,
    }))
}
