//! Where the time of a run goes: each GPU step's median, its arithmetic and the bytes that it must move.

use super::{Statistics, milliseconds};
use crate::cpu;
use crate::cpu::program::NodeTime;
use crate::error::Result;
use crate::graph::ValueId;
use crate::ops::Operator;
use crate::plan::{Plan, Step, StepKind, node_flops};
use crate::session::{Prepared, Session};
use crate::tensor::Tensor;
use serde::Serialize;
use std::collections::HashMap;

/// What a step took on the device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTime {
    /// The node by whose name the step goes, or the value that a copy moves.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The kernels that it dispatches, in order, by stem.
    pub kernels: Vec<&'static str>,
    /// The median, in milliseconds.
    pub ms: f64,
    /// Floating-point operations, a product and a sum being two; 0 where nobody counts them.
    pub flops: u64,
    /// Bytes of the places that it reads and writes, each counted once.
    pub bytes: u64,
    /// Its place in the plan.
    pub index: usize,
}

impl StepTime {
    /// Arithmetic, in GFLOP/s.
    pub fn gflops(&self) -> f64 {
        self.flops as f64 / (self.ms * 1e6).max(1e-9)
    }
    /// Bytes that had to move, in GB/s.
    pub fn gigabytes(&self) -> f64 {
        self.bytes as f64 / (self.ms * 1e6).max(1e-9)
    }
}

/// Recordings of which the fastest counts.
const RECORDINGS: usize = 20;

/// The steps of one run: each one's index and its milliseconds.
pub type RunTimes = Vec<(usize, f64)>;

/// Each GPU step's time in each of `runs` runs; `None` on the CPU or without timestamps.
pub fn time_steps(
    session: &Session,
    prepared: &Prepared,
    inputs: &HashMap<ValueId, Tensor>,
    runs: usize,
) -> Result<Option<Vec<RunTimes>>> {
    let (Some(_), Some(device)) = (&prepared.plan, session.gpu()) else { return Ok(None) };
    if !device.has_timestamps() {
        return Ok(None);
    }
    let mode = session.mode();
    let mut execution = session.lease(prepared)?;
    let evaluate = |op: &dyn Operator, operands: &[Option<&Tensor>]| cpu::eval_step(op, operands, mode);
    let milliseconds = |steps: Vec<(usize, u64)>| {
        steps.into_iter().map(|(step, nanoseconds)| (step, nanoseconds as f64 / 1e6)).collect()
    };
    (0..runs)
        .map(|_| execution.run_timed(inputs, &evaluate).map(|(_, steps)| milliseconds(steps)))
        .collect::<Result<_>>()
        .map(Some)
}

/// The least microseconds, over some tries, of recording one dispatch of the prepared plan; `None` on the CPU
/// and where nothing is dispatched.
pub fn host_us_per_dispatch(session: &Session, prepared: &Prepared) -> Result<Option<f64>> {
    let Some(plan) = &prepared.plan else { return Ok(None) };
    let dispatches = plan.dispatches().count();
    if dispatches == 0 {
        return Ok(None);
    }
    let mut execution = session.lease(prepared)?;
    let mut least = f64::INFINITY;
    for _ in 0..RECORDINGS {
        least = least.min(execution.time_recording()?.as_secs_f64());
    }
    Ok(Some(least * 1e6 / dispatches as f64))
}

/// The steps of a plan, the longest first, from what [`time_steps`] measured.
pub fn profile(plan: &Plan, runs: &[RunTimes]) -> Vec<StepTime> {
    let mut times: HashMap<usize, Vec<f64>> = HashMap::new();
    for (step, ms) in runs.iter().flatten() {
        times.entry(*step).or_default().push(*ms);
    }
    let measured = plan
        .steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| Some((index, step, Statistics::of(times.get(&index)?)?.median)));
    let mut steps: Vec<StepTime> =
        measured.filter_map(|(index, step, ms)| of_step(plan, (index, step), ms)).collect();
    steps.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    steps
}

/// The nodes of a session on the CPU, the longest first, each with its median time over `runs` runs; `None`
/// on a GPU.
pub fn profile_cpu(
    session: &Session,
    prepared: &Prepared,
    inputs: &HashMap<ValueId, Tensor>,
    runs: usize,
) -> Result<Option<Vec<StepTime>>> {
    let mut all = vec![];
    for _ in 0..runs {
        let Some(times) = session.run_timed(prepared, inputs)? else { return Ok(None) };
        all.push(times);
    }
    let Some(first) = all.first() else { return Ok(None) };
    let step = |(index, node): (usize, &NodeTime)| {
        let times: Vec<f64> = all.iter().filter_map(|run| Some(milliseconds(run.get(index)?.time))).collect();
        let ms = Statistics::of(&times)?.median;
        Some(StepTime {
            node: node.name.clone(),
            op: node.op_type.clone(),
            kernels: vec![],
            ms,
            flops: node.flops,
            bytes: node.bytes,
            index,
        })
    };
    let mut steps: Vec<StepTime> = first.iter().enumerate().filter_map(step).collect();
    steps.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(Some(steps))
}

fn of_step(plan: &Plan, (index, step): (usize, &Step), ms: f64) -> Option<StepTime> {
    let StepKind::Gpu { dispatches } = &step.kind else { return None };
    let node = step.node.and_then(|index| plan.graph.nodes.get(index));
    let flops = node.map_or(0, |node| node_flops(node, &plan.facts));
    let bytes = step
        .reads
        .iter()
        .chain(&step.writes)
        .filter_map(|id| plan.buffers.get(id.0 as usize))
        .map(|place| place.content_bytes())
        .sum();
    let kernels = dispatches.iter().map(|dispatch| dispatch.kernel).collect();
    Some(StepTime { node: step.label.clone(), op: step.op_type.clone(), kernels, ms, flops, bytes, index })
}
