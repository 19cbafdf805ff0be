//! Running a plan: activation buffers, bind groups and staging, and the walk over its steps.

use super::buffers::Buffer;
use super::constants::{Constants, Resident};
use super::device::GpuDevice;
use super::readback;
use super::time_limits::Task;
use super::timing::Timer;
use super::translate;
use crate::base::{BufferId, UNIFORM_TABLE};
use crate::error::{Error, Result, line};
use crate::graph::ValueId;
use crate::kernels::{Dispatch, PARAMS_WINDOW, reads_uniform_table};
use crate::ops::Operator;
use crate::plan::{Allocation, Plan, PlannedBuffer, STATUS_BYTES, Step, StepKind, decode, encode};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    slots: Vec<Buffer>,
    constants: Vec<Arc<Resident>>,
    _params: Buffer,
    params_group: wgpu::BindGroup,
    /// The dispatches of each step.
    recorded: Vec<Vec<Recorded>>,
    staging: Buffer,
    /// What kernels tell of a run, where the plan has any that may.
    status: Option<Buffer>,
    /// How long packing and uploading constants took; drivers may have translated kernels meanwhile.
    pub uploading: Duration,
}

/// A dispatch with all that recording it takes.
struct Recorded {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    params_offset: u32,
    grid: [u32; 3],
    /// Whether the kernel reads the table of immediates.
    table: bool,
}

/// Who looks on while a plan runs.
pub(super) enum Watch<'a> {
    Nobody,
    /// Is given what each step wrote.
    Probe(&'a mut After<'a>),
    Timer(&'a mut Timer),
}

impl Execution {
    /// Makes the buffers and bind groups of a plan, compiles the kernels and uploads the constants that
    /// aren't there yet.
    ///
    /// Errors: the memory budget or a buffer limit exceeded, a kernel refused, the device lost.
    pub fn new(device: &GpuDevice, plan: &Arc<Plan>, constants: &Constants) -> Result<Self> {
        let fresh = device.pipelines().prepare_plan(device, plan)?;
        let (constants, uploading) = translate::precompile_while(device, fresh, || {
            let start = Instant::now();
            constants.upload(device, &plan.constants).map(|constants| (constants, start.elapsed()))
        })?;
        let slot =
            |(index, bytes): (usize, &u64)| Buffer::storage(device, &format!("activations {index}"), *bytes);
        let slots = plan.slots.iter().enumerate().map(slot).collect::<Result<Vec<_>>>()?;
        // A window may reach beyond the last block.
        let params = Buffer::uniform(device, "params", (plan.params.len() + PARAMS_WINDOW) as u64)?;
        if !plan.params.is_empty() {
            let mut bytes = plan.params.clone();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            params.write(device, &bytes)?;
        }
        let params_group = device.capture("the bind group of the parameters", || {
            let size = std::num::NonZeroU64::new(PARAMS_WINDOW as u64);
            let resource =
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &params.raw, offset: 0, size });
            let entries = [wgpu::BindGroupEntry { binding: 0, resource }];
            device.raw().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("params"),
                layout: device.pipelines().params_layout(),
                entries: &entries,
            })
        })?;
        let staged = download_batches(plan, device.capabilities().max_buffer_bytes)
            .map(|(_, bytes)| bytes)
            .max()
            .unwrap_or(0);
        let status = (!plan.reports.is_empty())
            .then(|| Buffer::storage(device, "status", STATUS_BYTES))
            .transpose()?;
        let staging = Buffer::staging(device, staged + status.as_ref().map_or(0, |_| STATUS_BYTES))?;
        let recorded = vec![];
        let (device, plan) = (device.clone(), plan.clone());
        let mut execution = Self {
            device,
            plan: plan.clone(),
            slots,
            constants,
            _params: params,
            params_group,
            recorded,
            staging,
            status,
            uploading,
        };
        execution.recorded =
            plan.steps.iter().map(|step| execution.prepare_step(step)).collect::<Result<_>>()?;
        Ok(execution)
    }

    fn prepare_step(&self, step: &Step) -> Result<Vec<Recorded>> {
        let StepKind::Gpu { dispatches } = &step.kind else { return Ok(vec![]) };
        // An empty grid has nothing to do.
        let prepare = dispatches
            .iter()
            .filter(|dispatch| !dispatch.grid.contains(&0))
            .map(|dispatch| self.prepare_dispatch(dispatch));
        prepare.collect::<Result<Vec<_>>>().map_err(|error| at_step(error, step))
    }

    fn prepare_dispatch(&self, dispatch: &Dispatch) -> Result<Recorded> {
        let (device, pipelines) = (&self.device, self.device.pipelines());
        let accesses = dispatch.accesses();
        let layout = pipelines.layout(device, &accesses)?;
        let mut entries = Vec::with_capacity(dispatch.bindings.len());
        for (binding, (id, _)) in dispatch.bindings.iter().enumerate() {
            let (place, buffer) = self.buffer(*id)?;
            // Not the whole slot: a tenant larger than this one may be beyond what one binding may span.
            let size = std::num::NonZeroU64::new(place.bytes());
            let resource =
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer.raw, offset: 0, size });
            entries.push(wgpu::BindGroupEntry { binding: binding as u32, resource });
        }
        if dispatch.status {
            let status = self
                .status
                .as_ref()
                .ok_or_else(|| Error::internal("a kernel tells of what the plan doesn't know"))?;
            entries.push(wgpu::BindGroupEntry {
                binding: entries.len() as u32,
                resource: status.raw.as_entire_binding(),
            });
        }
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(dispatch.kernel), layout: &layout, entries: &entries };
        let group = device.capture(&format!("the bind group of '{}'", dispatch.kernel), || {
            device.raw().create_bind_group(&descriptor)
        })?;
        let pipeline = pipelines.get(device, &dispatch.source, accesses)?;
        let table = reads_uniform_table(&dispatch.source);
        Ok(Recorded { pipeline, group, params_offset: dispatch.params_offset, grid: dispatch.grid, table })
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
    /// Bytes of device memory that are this execution's own: activations, parameters and staging, without
    /// constants.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().map(Buffer::bytes).sum::<u64>() + self._params.bytes() + self.staging.bytes()
    }

    /// A place and the buffer that it lives in.
    pub(super) fn buffer(&self, id: BufferId) -> Result<(&PlannedBuffer, &Buffer)> {
        let place = self
            .plan
            .buffers
            .get(id.0 as usize)
            .ok_or_else(|| Error::internal(format!("the plan has no place {}", id.0)))?;
        let buffer = match place.allocation {
            Allocation::Slot(index) => self.slots.get(index),
            Allocation::Constant(index) => self.constants.get(index).map(|resident| &resident.buffer),
            Allocation::Unassigned => None,
        };
        match buffer {
            Some(buffer) if buffer.bytes() >= place.bytes() => Ok((place, buffer)),
            _ => Err(Error::internal("a place has no buffer that holds it").at_tensor(&place.label)),
        }
    }

    /// Dispatches every kernel over nothing, and waits: a driver may leave work to the first dispatch. Those
    /// of which that is known have had it done when the execution was made (translate.rs).
    pub fn warm(&mut self) -> Result<()> {
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
        let mut encoder = device.capture("an encoder", || readback::encoder(device, None))?;
        let submission = device.capture("the first dispatches", || {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for recorded in first {
                recorded.dispatch(&mut pass, &self.params_group, [0, 1, 1]);
            }
            drop(pass);
            device.queue().submit([encoder.finish()])
        })?;
        device.wait(submission, Task::Either, || {
            format!("the first dispatches of {}", self.awaited(0..self.plan.steps.len()))
        })
    }

    /// Runs the plan: graph inputs by id to everything that was read back or made on the CPU, by id.
    ///
    /// Errors: an input that is missing or of another shape than planned, what `evaluate` returns, a lost
    /// device.
    pub fn run(&mut self, inputs: &Values, evaluate: &Evaluate) -> Result<Values> {
        self.walk(inputs, evaluate, Watch::Nobody)
    }

    pub(super) fn walk(&mut self, inputs: &Values, evaluate: &Evaluate, mut watch: Watch) -> Result<Values> {
        self.device.check()?;
        let plan = self.plan.clone();
        let mut made = Values::new();
        let mut pending: Option<wgpu::CommandEncoder> = None;
        let (mut at, mut cleared) = (0, false);
        while let Some(step) = plan.steps.get(at) {
            let end = if matches!(watch, Watch::Nobody) { self.batch_end(at) } else { at + 1 };
            let done = match &step.kind {
                StepKind::Upload { value, to } => {
                    // A write takes effect before what is submitted after it, so what comes before must be
                    // submitted first.
                    readback::submit(&self.device, pending.take())
                        .and_then(|()| self.upload(self.host_value(*value, inputs, &made)?, *to))
                }
                StepKind::Gpu { .. } => {
                    let first = !std::mem::replace(&mut cleared, true);
                    let clear = if first { self.clear_status(&mut pending) } else { Ok(()) };
                    clear.and_then(|()| self.record(&mut pending, at..end, &mut watch))
                }
                StepKind::Download { .. } => self.download(pending.take(), at..end, &mut made),
                StepKind::Cpu { op, inputs: reads, outputs, .. } => {
                    self.evaluate(op.as_ref(), (reads, outputs), inputs, &mut made, evaluate)
                }
            };
            done.map_err(|error| at_step(error, step))?;
            if let Watch::Probe(after) = &mut watch {
                let written = self.read_places(pending.take(), at, &step.writes)?;
                after(at, &written)?;
            }
            at = end;
        }
        readback::submit(&self.device, pending)?;
        Ok(made)
    }

    /// The end of the steps from `at` that are done at once: dispatches in one pass, downloads in one
    /// readback.
    fn batch_end(&self, at: usize) -> usize {
        let gpu = |step: &&Step| matches!(step.kind, StepKind::Gpu { .. });
        let steps = self.plan.steps.get(at..).unwrap_or_default();
        match steps.first().map(|step| &step.kind) {
            Some(StepKind::Gpu { .. }) => at + steps.iter().take_while(gpu).count(),
            Some(StepKind::Download { .. }) => {
                download_batch(&self.plan, at, self.device.capabilities().max_buffer_bytes).0
            }
            _ => at + 1,
        }
    }

    pub(super) fn record(
        &self,
        pending: &mut Option<wgpu::CommandEncoder>,
        steps: Range<usize>,
        watch: &mut Watch,
    ) -> Result<()> {
        let device = &self.device;
        let first = steps.start;
        let timer = if let Watch::Timer(timer) = watch { Some(timer) } else { None };
        let times = timer.map(|timer| timer.next(device, first)).transpose()?;
        let timestamp_writes = times.as_ref().map(|(query_set, index)| wgpu::ComputePassTimestampWrites {
            query_set,
            beginning_of_pass_write_index: Some(*index),
            end_of_pass_write_index: Some(*index + 1),
        });
        device.capture("recording", || {
            let mut encoder = readback::encoder(device, pending.take());
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            for recorded in self.recorded.get(steps).unwrap_or_default().iter().flatten() {
                recorded.dispatch(&mut pass, &self.params_group, recorded.grid);
            }
            drop(pass);
            *pending = Some(encoder);
        })
    }

    /// Begins what kernels tell of a run anew.
    pub(super) fn clear_status(&self, pending: &mut Option<wgpu::CommandEncoder>) -> Result<()> {
        let Some(status) = &self.status else { return Ok(()) };
        self.device.capture("recording", || {
            let mut encoder = readback::encoder(&self.device, pending.take());
            encoder.clear_buffer(&status.raw, 0, None);
            *pending = Some(encoder);
        })
    }

    /// What is read back beside the results: the status.
    pub(super) fn status_source(&self) -> Option<(&Buffer, u64)> {
        self.status.as_ref().map(|status| (status, STATUS_BYTES))
    }

    /// Errors where the bytes of the status tell of something.
    pub(super) fn told(&self, bytes: &[u8]) -> Result<()> {
        let status = bytemuck::try_pod_read_unaligned(bytes)
            .map_err(|_| Error::internal("a status of another size"))?;
        self.plan.told(status).map_or(Ok(()), Err)
    }

    /// What messages call some steps that are waited for: the first and the last kernel, each with its node.
    pub(super) fn awaited(&self, steps: impl IntoIterator<Item = usize>) -> String {
        let dispatches =
            steps.into_iter().filter_map(|index| self.plan.steps.get(index)).filter_map(|step| {
                match &step.kind {
                    StepKind::Gpu { dispatches } => {
                        Some(dispatches.iter().map(move |dispatch| (step, dispatch.kernel)))
                    }
                    _ => None,
                }
            });
        let named = |(step, kernel): &(&Step, &str)| match step.node {
            Some(_) => format!("kernel '{kernel}' of node '{}' ({})", line(&step.label), line(&step.op_type)),
            None => format!("kernel '{kernel}'"),
        };
        let all: Vec<_> = dispatches.flatten().collect();
        match all.as_slice() {
            [] => "a copy".to_string(),
            [only] => named(only),
            [first, .., last] => {
                format!("{} dispatches, from {} to {}", all.len(), named(first), named(last))
            }
        }
    }

    fn upload(&self, tensor: &Tensor, to: BufferId) -> Result<()> {
        let (place, buffer) = self.buffer(to)?;
        if tensor.shape() != place.fact.shape {
            let message =
                format!("the shape is {:?} where {:?} was planned", tensor.shape(), place.fact.shape);
            return Err(Error::input(message).at_tensor(&place.label));
        }
        buffer.write(&self.device, &encode(tensor, place.layout, place.storage)?)
    }

    fn download(
        &self,
        pending: Option<wgpu::CommandEncoder>,
        steps: Range<usize>,
        made: &mut Values,
    ) -> Result<()> {
        let first = steps.start;
        let (mut sources, mut targets) = (vec![], vec![]);
        for step in self.plan.steps.get(steps).unwrap_or_default() {
            if let StepKind::Download { from, value, layout } = step.kind {
                let (place, buffer) = self.buffer(from)?;
                sources.push((buffer, place.bytes()));
                targets.push((place, value, layout));
            }
        }
        // First, so that results which mean nothing aren't decoded.
        sources.splice(0..0, self.status_source());
        let before = sources.len() - targets.len();
        // What came before another download was waited for with that.
        let begin = self.plan.steps[..first]
            .iter()
            .rposition(|step| matches!(step.kind, StepKind::Download { .. }))
            .map_or(0, |at| at + 1);
        readback::read(
            &self.device,
            pending,
            &sources,
            &self.staging,
            || self.awaited(begin..first),
            |index, bytes| {
                if index < before {
                    return self.told(bytes);
                }
                if let Some((place, value, layout)) = targets.get(index - before) {
                    let fact =
                        self.plan.facts.get(value.0 as usize).and_then(Option::as_ref).unwrap_or(&place.fact);
                    made.insert(*value, decode(bytes, fact.dtype, &fact.shape, *layout, place.storage)?);
                }
                Ok(())
            },
        )
    }

    fn evaluate(
        &self,
        op: &dyn Operator,
        (reads, outputs): (&[Option<ValueId>], &[Option<ValueId>]),
        inputs: &Values,
        made: &mut Values,
        evaluate: &Evaluate,
    ) -> Result<()> {
        let operands = reads
            .iter()
            .map(|id| id.map(|id| self.host_value(id, inputs, made)).transpose())
            .collect::<Result<Vec<_>>>()?;
        let results = evaluate(op, &operands).map_err(|error| self.named(error, reads))?;
        if results.len() < outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1) {
            return Err(Error::internal(format!("{} results for {} outputs", results.len(), outputs.len())));
        }
        made.extend(outputs.iter().zip(results).filter_map(|(id, result)| Some(((*id)?, result))));
        Ok(())
    }

    /// Names the tensor that an operator's error is of, where it is known by its number alone.
    fn named(&self, error: Error, reads: &[Option<ValueId>]) -> Error {
        let value = |index: usize| {
            reads.get(index).copied().flatten().and_then(|id| self.plan.graph.values.get(id.0 as usize))
        };
        match error.input_at_fault().and_then(value) {
            Some(value) => error.at_tensor(&value.name),
            None => error,
        }
    }

    /// A value that is on the host: read back or made there, given, a constant, or known when the plan was
    /// made.
    fn host_value<'a>(&'a self, id: ValueId, inputs: &'a Values, made: &'a Values) -> Result<&'a Tensor> {
        let value = self.plan.graph.values.get(id.0 as usize);
        let known = || self.plan.facts.get(id.0 as usize)?.as_ref()?.value.as_ref();
        let found =
            made.get(&id).or_else(|| inputs.get(&id)).or_else(|| value?.constant.as_ref()).or_else(known);
        found.ok_or_else(|| {
            let name = value.map_or_else(|| id.0.to_string(), |value| value.name.clone());
            let missing = if self.plan.graph.inputs.contains(&id) {
                Error::input("the input is missing")
            } else {
                Error::internal("not on the host")
            };
            missing.at_tensor(name)
        })
    }
}

impl Recorded {
    fn dispatch(&self, pass: &mut wgpu::ComputePass, params: &wgpu::BindGroup, [x, y, z]: [u32; 3]) {
        pass.set_pipeline(&self.pipeline);
        if self.table {
            pass.set_immediates(0, bytemuck::bytes_of(&UNIFORM_TABLE));
        }
        pass.set_bind_group(0, &self.group, &[]);
        pass.set_bind_group(1, params, &[self.params_offset]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Names the step in an error, unless a place nearer to the cause is named already.
pub(super) fn at_step(error: Error, step: &Step) -> Error {
    if step.node.is_some() { error.at_node(&step.label).at_operator(&step.op_type) } else { error }
}

/// The end of the downloads from step `at` that one staging buffer of at most `limit` bytes takes, and their
/// bytes.
fn download_batch(plan: &Plan, at: usize, limit: u64) -> (usize, u64) {
    let limit = limit.saturating_sub(STATUS_BYTES);
    let (mut end, mut total) = (at, 0u64);
    while let Some(StepKind::Download { from, .. }) = plan.steps.get(end).map(|step| &step.kind) {
        let bytes = plan.buffers.get(from.0 as usize).map_or(0, PlannedBuffer::bytes);
        if end > at && total.saturating_add(bytes) > limit {
            break;
        }
        total = total.saturating_add(bytes);
        end += 1;
    }
    (end.max(at + 1), total)
}

/// Every batch of downloads of a plan: its end and bytes.
fn download_batches(plan: &Plan, limit: u64) -> impl Iterator<Item = (usize, u64)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let batch = (at < plan.steps.len()).then(|| download_batch(plan, at, limit))?;
        at = batch.0;
        Some(batch)
    })
}
