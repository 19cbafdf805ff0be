//! The kernel laboratory: one kernel at one shape, held to the CPU's answer first and measured then.

use super::families::{self, Family};
use super::shapes::{SHAPES, Shape};
use crate::base::{EvalPrecision, Precision, TileConfiguration};
use crate::compare::{self, Verdict};
use crate::cpu;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Execution, GpuDevice, Measured};
use crate::graph::ValueId;
use crate::onnx::{Model, ModelInfo};
use crate::ops::Operator;
use crate::plan::{Placement, Plan, StepKind, VariantDecision, VariantPolicy, node_flops};
use crate::session::Session;
use crate::tensor::Tensor;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// What is to be measured.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub family: &'static str,
    pub sizes: Vec<usize>,
    /// The model that has this shape; empty for one from the command line.
    pub from: &'static str,
}

impl Subject {
    /// The shapes of a family, or of all of them (`all`), from the list; or one of these sizes.
    ///
    /// Errors: a name that is no family's, sizes for all of them.
    pub fn list(kernel: &str, sizes: Option<&[usize]>) -> Result<Vec<Self>> {
        let of = |shape: &Shape| Self { family: shape.family, sizes: shape.sizes.to_vec(), from: shape.from };
        match (kernel, sizes) {
            ("all", None) => Ok(SHAPES.iter().map(of).collect()),
            ("all", Some(_)) => Err(Error::usage("sizes are one family's").remedy("name the kernel")),
            (name, Some(sizes)) => {
                Ok(vec![Self { family: families::find(name)?.name, sizes: sizes.to_vec(), from: "" }])
            }
            (name, None) => {
                let family = families::find(name)?;
                Ok(SHAPES.iter().filter(|shape| shape.family == family.name).map(of).collect())
            }
        }
    }
    /// `128x768x3072`
    pub fn shape(&self) -> String {
        self.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
    }
}

/// What was measured of one variant of one kernel at one shape.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    pub kernel: &'static str,
    pub shape: String,
    pub from: &'static str,
    /// The kernels dispatched, by stem.
    pub dispatched: Vec<&'static str>,
    /// Of the kernel that has several; null where none has.
    pub variant: Option<String>,
    /// Whether the variant is the one that the kernel's own rule takes.
    pub rule: bool,
    /// Workgroups, of the dispatch that makes the result.
    pub grid: [u32; 3],
    /// The least time on the device, by timestamps; without them, by the clock.
    pub ms: f64,
    /// The least time by the clock, of many in one submission.
    pub wall_ms: f64,
    /// Floating-point operations, a product and a sum being two.
    pub flops: u64,
    /// Bytes that must move.
    pub bytes: u64,
    pub gflops: f64,
    pub gb_per_s: f64,
    /// The time that the adapter's measured peaks allow, ÷ `ms`.
    pub share: f64,
    /// Which peak that is: `arithmetic` or `bandwidth`.
    pub limit: &'static str,
    /// Compiling and translating its kernels; null where an earlier measurement had them compiled.
    pub translate_ms: Option<f64>,
    /// The constant of the tolerance (`compare`'s C) with which the result would just have passed: it was
    /// held to 4.
    pub needed: Option<f64>,
}

/// How long one turn of timing goes on.
const DURATION: Duration = Duration::from_millis(50);

/// Which variants to measure.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Which {
    Rule,
    All,
    One(TileConfiguration),
}

/// A kernel that was checked and can be timed.
pub struct PreparedKernel {
    execution: Execution,
    inputs: HashMap<ValueId, Tensor>,
    mode: EvalPrecision,
    /// The steps that are timed.
    own: Vec<usize>,
    /// Dispatches in one submission: as many as fill a few milliseconds.
    repeat: u32,
    row: KernelTime,
    candidates: Vec<TileConfiguration>,
}

/// Checks a subject and makes it ready to be timed, once for each variant.
///
/// Errors: a result that isn't within the CPU's bound (no time is given for a wrong one), a shape that no
/// kernel serves, a variant that the kernel doesn't have, and what the device refuses.
pub fn prepare(
    device: &GpuDevice,
    precision: Precision,
    subject: &Subject,
    which: Which,
    seed: u64,
) -> Result<Vec<PreparedKernel>> {
    let family = families::find(subject.family)?;
    let here = |error: Error| error.at_operator(format!("{} {}", subject.family, subject.shape()));
    let one = |variant_policy: VariantPolicy| {
        PreparedKernel::new(device, precision, (family, subject), variant_policy, seed).map_err(here)
    };
    match which {
        Which::Rule => Ok(vec![one(VariantPolicy::Rule)?]),
        Which::One(variant) => Ok(vec![one(VariantPolicy::Forced(variant))?]),
        Which::All => {
            let first = one(VariantPolicy::Rule)?;
            let others: Vec<TileConfiguration> = first.candidates.iter().skip(1).copied().collect();
            std::iter::once(Ok(first))
                .chain(others.into_iter().map(|variant| one(VariantPolicy::Forced(variant))))
                .collect()
        }
    }
}

impl PreparedKernel {
    fn new(
        device: &GpuDevice,
        precision: Precision,
        (family, subject): (&Family, &Subject),
        variant_policy: VariantPolicy,
        seed: u64,
    ) -> Result<Self> {
        let (graph, inputs) = family.graph(&subject.sizes, seed)?;
        let builder = Session::builder()
            .device(device.clone())
            .precision(precision)
            .variant_policy(variant_policy.clone());
        let session = builder.build(Model { graph, info: ModelInfo::default() })?;
        let prepared = session.prepare(&inputs)?;
        let plan = prepared.plan.clone().ok_or_else(|| Error::unsupported("runs on the CPU"))?;
        if let Some((_, _, reason)) = prepared.fallbacks().into_iter().next() {
            return Err(Error::unsupported(format!("runs on the CPU: {reason}")));
        }
        let chosen = plan.chosen.last();
        if let VariantPolicy::Forced(variant) = variant_policy
            && chosen.is_none_or(|chosen| chosen.variant != variant)
        {
            let list = |chosen: &VariantDecision| {
                chosen.candidates.iter().map(TileConfiguration::to_string).collect::<Vec<_>>().join(", ")
            };
            let names = chosen.map_or("no variants".to_string(), list);
            return Err(Error::usage(format!("has no variant '{variant}'"))
                .remedy(format!("this shape has: {names}")));
        }
        let compiled = device.pipelines().len();
        let warmed = session.warm(&prepared)?;
        let translate_ms = (device.pipelines().len() > compiled).then(|| super::milliseconds(warmed.shaders));
        let report =
            compare::compare(&session, &inputs, &compare::Options { per_node: true, ..Default::default() })?;
        if report.verdict != Verdict::Same {
            let worst = report.outputs.iter().map(|row| row.measure.max_abs).fold(0.0, f64::max);
            return Err(Error::new(
                ErrorKind::Internal,
                format!("the result is wrong by up to {worst:e}: it isn't timed"),
            ));
        }
        let own = own_steps(&plan);
        let (flops, bytes) = work(&plan, &own);
        let dispatches: Vec<_> =
            plan.dispatches().filter(|(step, _)| own.contains(step)).map(|(_, dispatch)| dispatch).collect();
        let needed = report.nodes.iter().filter_map(|row| row.local.as_ref()?.needed);
        let row = KernelTime {
            kernel: family.name,
            shape: subject.shape(),
            from: subject.from,
            dispatched: dispatches.iter().map(|dispatch| dispatch.kernel).collect(),
            variant: chosen.map(|chosen| chosen.variant.to_string()),
            rule: chosen.is_none_or(|chosen| chosen.candidates.first() == Some(&chosen.variant)),
            grid: dispatches.last().map(|dispatch| dispatch.grid).unwrap_or_default(),
            ms: f64::INFINITY,
            wall_ms: f64::INFINITY,
            flops,
            bytes: family.moved.map_or(bytes, |moved| moved(&subject.sizes)),
            gflops: 0.0,
            gb_per_s: 0.0,
            share: 0.0,
            limit: "",
            translate_ms,
            needed: needed.reduce(f64::max),
        };
        let candidates = chosen.map(|chosen| chosen.candidates.clone()).unwrap_or_default();
        let execution = session.lease(&prepared)?;
        let mut ready = Self { execution, inputs, mode: session.mode(), own, repeat: 1, row, candidates };
        let once = ready.by_the_clock()?;
        ready.repeat = (5.0 / once.max(1e-3)).clamp(1.0, 100.0) as u32;
        Ok(ready)
    }

    /// Milliseconds of the kernel by the clock.
    fn by_the_clock(&mut self) -> Result<f64> {
        let evaluate =
            |op: &dyn Operator, operands: &[Option<&Tensor>]| cpu::eval_step(op, operands, self.mode);
        let all = self.execution.time_repeated(&self.inputs, &evaluate, &self.own, self.repeat)?;
        Ok(super::milliseconds(all) / self.repeat as f64)
    }

    /// Times it for a while; the least of all times counts. Several kernels are best timed in turn, again and
    /// again, since a machine's clock may change from one second to the next.
    pub fn time(&mut self, device: &GpuDevice) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < DURATION || !self.row.wall_ms.is_finite() {
            self.row.wall_ms = self.row.wall_ms.min(self.by_the_clock()?);
            if !device.has_timestamps() {
                self.row.ms = self.row.wall_ms;
                continue;
            }
            let evaluate =
                |op: &dyn Operator, operands: &[Option<&Tensor>]| cpu::eval_step(op, operands, self.mode);
            let (_, steps) = self.execution.run_timed(&self.inputs, &evaluate)?;
            let own: f64 =
                steps.iter().filter(|step| self.own.contains(&step.0)).map(|step| step.1 as f64 / 1e6).sum();
            // A clock of coarse ticks may show none.
            self.row.ms = self.row.ms.min(if own > 0.0 { own } else { self.row.wall_ms });
        }
        Ok(())
    }

    /// What was measured, held to an adapter's peaks.
    pub fn result(&self, peaks: &Measured) -> KernelTime {
        let mut row = self.row.clone();
        let milliseconds = row.ms.max(1e-9);
        let arithmetic = row.flops as f64 / (peaks.fma_gflops * 1e6).max(1e-9);
        let bandwidth = row.bytes as f64 / (peaks.copy_gb_per_s * 1e6).max(1e-9);
        row.gflops = row.flops as f64 / (milliseconds * 1e6);
        row.gb_per_s = row.bytes as f64 / (milliseconds * 1e6);
        row.share = arithmetic.max(bandwidth) / milliseconds;
        row.limit = if arithmetic > bandwidth { "arithmetic" } else { "bandwidth" };
        row
    }
}

/// The steps that are the kernel's own: what copies the inputs into its layout is left out, unless there is
/// nothing else.
fn own_steps(plan: &Plan) -> Vec<usize> {
    let on_gpu = plan.steps.iter().enumerate().filter(|(_, step)| matches!(step.kind, StepKind::Gpu { .. }));
    let (copies, own): (Vec<_>, Vec<_>) = on_gpu.partition(|(_, step)| step.op_type == "copy");
    let list = if own.is_empty() { copies } else { own };
    list.into_iter().map(|(index, _)| index).collect()
}

/// Floating-point operations of a plan's nodes on the GPU, and the bytes of the places that some steps read
/// and write, each once.
fn work(plan: &Plan, steps: &[usize]) -> (u64, u64) {
    let on_gpu =
        plan.graph.nodes.iter().zip(&plan.placements).filter(|(_, placement)| **placement == Placement::Gpu);
    let flops = on_gpu.map(|(node, _)| node_flops(node, &plan.facts)).sum();
    let places: BTreeSet<_> = steps
        .iter()
        .filter_map(|&step| plan.steps.get(step))
        .flat_map(|step| step.reads.iter().chain(&step.writes))
        .collect();
    (
        flops,
        places
            .into_iter()
            .filter_map(|id| plan.buffers.get(id.0 as usize))
            .map(|place| place.content_bytes())
            .sum(),
    )
}
