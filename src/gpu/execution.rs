//! Running a plan: what one run needs on a device, and the walk over the steps.

use super::batch::Batch;
use super::bindings::{Bindings, Bound, BoundGroup, Made};
use super::buffers::Buffer;
use super::constants::{Constants, Resident};
use super::device::GpuDevice;
use super::native::{self, Stopwatch};
use super::probe::POISON;
use super::recording::Recorded;
use super::time_limits::Task;
use super::timing::Timer;
use crate::base::BufferId;
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::kernels::PARAMS_WINDOW;
use crate::ops::Operator;
use crate::plan::{Allocation, OutputBinding, Plan, PlannedBuffer, STATUS_BYTES, Step, StepKind};
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Tensors on the host, by the value of the plan's graph that they are.
pub type Values = HashMap<ValueId, Tensor>;

/// Runs an operator on the CPU, for the steps that fall back.
pub type Evaluate<'a> = dyn Fn(&dyn Operator, &[Option<&Tensor>]) -> Result<Vec<Tensor>> + 'a;

/// The contents of a place, as they lie on the device.
pub type PlaceBytes = (BufferId, Vec<u8>);

/// Is given each step's index and what it wrote.
pub type After<'a> = dyn FnMut(usize, &[PlaceBytes]) -> Result<()> + 'a;

/// What one run of one plan needs on a device. Several executions of a plan may run at once; one runs once at
/// a time.
pub struct Execution {
    pub(super) device: GpuDevice,
    pub(super) plan: Arc<Plan>,
    /// The plan that it was made for: the largest of those that it runs.
    pub(super) base: Arc<Plan>,
    slots: Vec<Arc<Buffer>>,
    pub(super) constants: Vec<Arc<Resident>>,
    /// Those of `constants` that no other execution reads, since they change from plan to plan.
    pub(super) own_constants: HashSet<usize>,
    /// What is bound to the buffers that the plan only names.
    pub(super) bound: Bound,
    pub(super) params: Buffer,
    pub(super) params_group: wgpu::BindGroup,
    /// The dispatches of each step.
    pub(super) recorded: Vec<Vec<Recorded>>,
    /// The bind groups that hold what is bound.
    pub(super) bound_groups: Vec<BoundGroup>,
    staging: Option<Arc<Buffer>>,
    /// What kernels tell of a run, where the plan has any that may.
    pub(super) status: Option<Buffer>,
    /// Whether buffers that nothing is to read any more are filled with [`POISON`](super::POISON).
    pub(super) poisons: bool,
    /// How long packing and uploading constants took; drivers may have translated kernels meanwhile.
    pub uploading: Duration,
}

/// Who looks on while a plan runs.
pub(super) enum Watch<'a> {
    Nobody,
    /// Is given what each step wrote.
    Probe(&'a mut After<'a>),
    Timer(&'a mut Timer),
}

/// A run on its way.
pub(super) struct Run<'a> {
    pub(super) bindings: &'a Bindings<'a>,
    pub(super) made: Made,
    pub(super) batch: Batch,
    /// The first step that wasn't waited for.
    pub(super) waited: usize,
}

impl Execution {
    /// Makes the buffers and bind groups of a plan, compiles the kernels and uploads the constants that
    /// aren't there yet. What is bound is made by the first run that needs it, or [`Execution::warm`].
    ///
    /// Errors: the memory budget or a buffer limit exceeded, a kernel refused, the device lost.
    pub async fn new_async(device: &GpuDevice, plan: &Arc<Plan>, constants: &Constants) -> Result<Self> {
        let fresh = device.pipelines().prepare_plan(device, plan).await?;
        let upload = async {
            let start = Stopwatch::start();
            let constants = constants.upload(device, &plan.constants).await?;
            Ok((constants, start.elapsed()))
        };
        let (constants, uploading) = native::precompile_while(device, fresh, upload).await?;
        let mut slots = Vec::with_capacity(plan.slots.len());
        for (index, bytes) in plan.slots.iter().enumerate() {
            slots.push(Arc::new(Buffer::storage(device, &format!("activations {index}"), *bytes).await?));
        }
        // A window may reach beyond the last block.
        let params = Buffer::uniform(device, "params", (plan.params.len() + PARAMS_WINDOW) as u64).await?;
        let params_group = device.scope(|| "the parameters".into(), || params_of(device, plan, &params));
        let params_group = params_group.await??;
        let status = match plan.reports.is_empty() {
            true => None,
            false => Some(Buffer::storage(device, "status", STATUS_BYTES).await?),
        };
        let mut execution = Self {
            device: device.clone(),
            plan: plan.clone(),
            base: plan.clone(),
            slots,
            constants,
            own_constants: HashSet::new(),
            bound: Bound::new(plan.externals.len()),
            params,
            params_group,
            recorded: vec![],
            bound_groups: vec![],
            staging: None,
            status,
            poisons: false,
            uploading,
        };
        execution.prepare_steps().await?;
        Ok(execution)
    }

    /// The same, which fills buffers that nothing is to read any more with [`POISON`].
    pub fn poisoning(self) -> Self {
        Self { poisons: true, ..self }
    }
    async fn poison(&self, slots: &[usize]) -> Result<()> {
        let fill = || {
            slots.iter().filter_map(|&slot| self.slots.get(slot)).try_for_each(|buffer| {
                let words = (buffer.bytes() / 4) as usize;
                buffer.write(&self.device, &POISON.to_ne_bytes().repeat(words))
            })
        };
        self.device.scope(|| "what freed buffers are filled with".into(), fill).await?
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
    /// Bytes of device memory that are this execution's own: activations, inputs and outputs, parameters and
    /// staging, without constants.
    pub fn bytes(&self) -> u64 {
        let slots: u64 = self.slots.iter().map(|slot| slot.bytes()).sum();
        let staging = self.staging.as_ref().map_or(0, |staging| staging.bytes());
        slots + self.bound.bytes() + self.params.bytes() + staging
    }

    /// A place and the buffer that it lives in.
    pub(super) fn buffer(&self, id: BufferId) -> Result<(&PlannedBuffer, &Arc<Buffer>)> {
        let place = self
            .plan
            .buffers
            .get(id.0 as usize)
            .ok_or_else(|| Error::internal(format!("the plan has no place {}", id.0)))?;
        let buffer = match place.allocation {
            Allocation::Slot(index) => self.slots.get(index),
            Allocation::Constant(index) => self.constants.get(index).map(|resident| &resident.buffer),
            Allocation::External(index) => self.bound.now(index),
            Allocation::Unassigned => None,
        };
        match buffer {
            Some(buffer) if buffer.bytes() >= place.bytes() => Ok((place, buffer)),
            _ => Err(Error::internal("a place has no buffer that holds it").at_tensor(&place.label)),
        }
    }

    /// A buffer of at least so many bytes that the host reads: the same one again, unless it is too short.
    pub(super) async fn staging(&mut self, bytes: u64) -> Result<Arc<Buffer>> {
        let bytes = bytes + self.status.as_ref().map_or(0, |_| STATUS_BYTES);
        if let Some(staging) = self.staging.as_ref().filter(|staging| staging.bytes() >= bytes) {
            return Ok(staging.clone());
        }
        self.staging = None;
        let staging = Arc::new(Buffer::staging(&self.device, bytes).await?);
        self.staging = Some(staging.clone());
        Ok(staging)
    }

    /// Makes what a run of the host's tensors binds, and dispatches every kernel over nothing, and waits: a
    /// driver may leave work to the first dispatch. Those of which that is known have had it done when the
    /// execution was made (native/translate.rs).
    pub async fn warm_async(&mut self) -> Result<()> {
        self.device.check()?;
        self.bind(&HashMap::new()).await?;
        self.staging(self.staged()).await?;
        if self.device.info().translates_late() {
            return self.device.check();
        }
        let mut first: Vec<&Recorded> = vec![];
        for recorded in self.recorded.iter().flatten() {
            if first.iter().all(|other| other.pipeline != recorded.pipeline) {
                first.push(recorded);
            }
        }
        let device = &self.device;
        let what = || format!("the first dispatches of {}", self.awaited(0..self.plan.steps.len()));
        let dispatch = || {
            let mut encoder = device.raw().create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for recorded in first {
                recorded.dispatch(&mut pass, self.group(recorded)?, &self.params_group, [0, 1, 1]);
            }
            drop(pass);
            Ok(device.queue().submit([encoder.finish()]))
        };
        let submission = device.scope(what, dispatch).await??;
        device.wait(submission, Task::Either, what).await
    }

    /// Runs the plan: inputs on the host or on the device to outputs there or here.
    ///
    /// Errors: an input that is missing, of another shape than planned or on another device, what `evaluate`
    /// returns, a lost device.
    pub async fn run_async(&mut self, bindings: &Bindings<'_>, evaluate: &Evaluate<'_>) -> Result<Made> {
        let made = self.walk(bindings, evaluate, Watch::Nobody).await;
        self.bound.release();
        made
    }

    pub(super) async fn walk(
        &mut self,
        bindings: &Bindings<'_>,
        evaluate: &Evaluate<'_>,
        mut watch: Watch<'_>,
    ) -> Result<Made> {
        self.device.check()?;
        self.bind(&bindings.device).await?;
        let mut run = Run { bindings, made: Made::default(), batch: Batch::default(), waited: 0 };
        self.take_inputs(&mut run).await?;
        let plan = self.plan.clone();
        if self.poisons {
            self.poison(&(0..plan.slots.len()).collect::<Vec<_>>()).await?;
        }
        let (mut at, mut cleared) = (0, false);
        while let Some(step) = plan.steps.get(at) {
            let one = self.poisons || !matches!(watch, Watch::Nobody);
            let end = if one { at + 1 } else { self.batch_end(at) };
            let done = match &step.kind {
                StepKind::Upload { value, to } => self.upload(&mut run, *value, *to).await,
                StepKind::Gpu { .. } => {
                    run.batch.clear |= !std::mem::replace(&mut cleared, true);
                    let times = match &mut watch {
                        Watch::Timer(timer) => Some(timer.next(&self.device, at).await?),
                        _ => None,
                    };
                    run.batch.push(at..end, times);
                    Ok(())
                }
                StepKind::Download { .. } => {
                    let wanted: Vec<_> = plan.steps[at..end].iter().filter_map(downloaded).collect();
                    self.download(&mut run, &wanted, at, end).await
                }
                StepKind::Cpu { op, inputs: reads, outputs, .. } => {
                    self.evaluate(&mut run, op.as_ref(), (reads, outputs), evaluate)
                }
            };
            done.map_err(|error| at_step(error, step))?;
            if let Watch::Probe(after) = &mut watch {
                let written = self.read_places(std::mem::take(&mut run.batch), at, &step.writes).await?;
                after(at, &written)?;
            }
            if self.poisons {
                self.submit(std::mem::take(&mut run.batch)).await?;
                self.poison(&plan.freed_after(at)).await?;
            }
            at = end;
        }
        self.give_outputs(&mut run).await?;
        self.submit(std::mem::take(&mut run.batch)).await?;
        Ok(run.made)
    }

    /// The end of the steps from `at` that are done at once: dispatches in one pass, downloads in one
    /// readback.
    fn batch_end(&self, at: usize) -> usize {
        let gpu = |step: &&Step| matches!(step.kind, StepKind::Gpu { .. });
        let copy = |step: &&Step| matches!(step.kind, StepKind::Download { .. });
        let steps = self.plan.steps.get(at..).unwrap_or_default();
        match steps.first().map(|step| &step.kind) {
            Some(StepKind::Gpu { .. }) => at + steps.iter().take_while(gpu).count(),
            Some(StepKind::Download { .. }) => at + steps.iter().take_while(copy).count(),
            _ => at + 1,
        }
    }
}

/// Writes the parameters, and gives the bind group of a window of them.
fn params_of(device: &GpuDevice, plan: &Plan, params: &Buffer) -> Result<wgpu::BindGroup> {
    if !plan.params.is_empty() {
        let mut bytes = plan.params.clone();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        params.write(device, &bytes)?;
    }
    let size = std::num::NonZeroU64::new(PARAMS_WINDOW as u64);
    let resource =
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &params.raw, offset: 0, size });
    Ok(device.raw().create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("params"),
        layout: device.pipelines().params_layout(),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource }],
    }))
}

/// What a step reads back.
pub(super) fn downloaded(step: &Step) -> Option<OutputBinding> {
    match step.kind {
        StepKind::Download { from, value, layout } => Some(OutputBinding { value, buffer: from, layout }),
        _ => None,
    }
}

/// Evaluates nothing: for plans of the GPU's steps alone.
pub(super) fn no_step(_: &dyn Operator, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    Err(Error::internal("no step on the CPU was planned"))
}

/// Names the step in an error, unless a place nearer to the cause is named already.
pub(super) fn at_step(error: Error, step: &Step) -> Error {
    if step.node.is_some() { error.at_node(&step.label).at_operator(&step.op_type) } else { error }
}
