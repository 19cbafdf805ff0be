//! What is submitted at once: recorded and handed over in one error scope.

use super::buffers::Buffer;
use super::execution::{Execution, at_step};
use super::native::Stopwatch;
use super::readback;
use crate::base::BufferId;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{STATUS_BYTES, as_encoded, encode};
use crate::tensor::Tensor;
use std::ops::Range;

/// Work that waits to be submitted.
#[derive(Default)]
pub(super) struct Batch {
    /// Tensors and the buffers that they are written to, before anything else is done.
    pub(super) writes: Vec<(Tensor, BufferId)>,
    /// Whether what kernels tell of a run begins anew.
    pub(super) clear: bool,
    passes: Vec<Pass>,
}

/// Steps that are recorded into one pass.
struct Pass {
    steps: Range<usize>,
    /// Where the times of its beginning and end go.
    times: Option<(wgpu::QuerySet, u32)>,
}

impl Batch {
    /// A step by itself.
    pub(super) fn of_step(index: usize) -> Self {
        Self { writes: vec![], clear: true, passes: vec![Pass { steps: index..index + 1, times: None }] }
    }
    /// Adds a pass of some steps.
    pub(super) fn push(&mut self, steps: Range<usize>, times: Option<(wgpu::QuerySet, u32)>) {
        self.passes.push(Pass { steps, times });
    }
    /// Whether anything is recorded.
    pub(super) fn records(&self) -> bool {
        self.clear || !self.passes.is_empty()
    }
}

impl Execution {
    /// Writes what a batch has to write.
    fn write(&self, batch: &Batch) -> Result<()> {
        let start = Stopwatch::start();
        for (tensor, to) in &batch.writes {
            let (place, buffer) = self.buffer(*to)?;
            let named = |error: Error| error.at_tensor(&place.label);
            match as_encoded(tensor, place.layout, place.storage) {
                Some(bytes) => buffer.write(&self.device, bytes)?,
                None => {
                    let bytes = encode(tensor, place.layout, place.storage).map_err(named)?;
                    buffer.write(&self.device, &bytes)?
                }
            }
        }
        self.device.spent().upload.add(start.elapsed());
        Ok(())
    }

    /// Records what a batch has to record.
    pub(super) fn record(&self, batch: &Batch, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        if let Some(status) = self.status.as_ref().filter(|_| batch.clear) {
            encoder.clear_buffer(&status.raw, 0, None);
        }
        for Pass { steps, times } in &batch.passes {
            let timestamp_writes =
                times.as_ref().map(|(query_set, index)| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(*index),
                    end_of_pass_write_index: Some(*index + 1),
                });
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            for recorded in self.recorded.get(steps.clone()).unwrap_or_default().iter().flatten() {
                recorded.dispatch(&mut pass, self.group(recorded)?, &self.params_group, recorded.grid);
            }
        }
        Ok(())
    }

    /// What messages call a batch.
    fn named(&self, batch: &Batch) -> String {
        self.awaited(batch.passes.iter().flat_map(|pass| pass.steps.clone()))
    }

    /// Submits a batch; nothing where it has nothing to do.
    pub(super) async fn submit(&self, batch: Batch) -> Result<Option<wgpu::SubmissionIndex>> {
        if !batch.records() && batch.writes.is_empty() {
            return Ok(None);
        }
        let device = &self.device;
        let submit = || {
            self.write(&batch)?;
            if !batch.records() {
                return Ok(None);
            }
            let mut encoder = device.raw().create_command_encoder(&Default::default());
            self.record(&batch, &mut encoder)?;
            Ok(Some(device.queue().submit([encoder.finish()])))
        };
        let start = Stopwatch::start();
        let submitted = device.scope(|| self.named(&batch), submit).await;
        device.spent().submitting.add(start.elapsed());
        submitted.map_err(|error| self.blamed(error, &batch))?
    }

    /// Submits a batch and gives `take` the first bytes of each source in turn. The status is looked at before,
    /// so that results which mean nothing aren't decoded.
    ///
    /// Errors: what the status tells of, and those of [`readback::read`].
    pub(super) async fn read(
        &self,
        batch: Batch,
        sources: &[(&Buffer, u64)],
        staging: &Buffer,
        what: impl Fn() -> String,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let record = |encoder: &mut wgpu::CommandEncoder| {
            self.write(&batch)?;
            self.record(&batch, encoder)
        };
        let status = self.status.as_ref().map(|status| (status, STATUS_BYTES));
        if status.is_none() && sources.is_empty() {
            return self.submit(batch).await.map(|_| ());
        }
        let before = usize::from(status.is_some());
        let all: Vec<_> = status.into_iter().chain(sources.iter().copied()).collect();
        let read = readback::read(&self.device, record, &all, staging, what, |index, bytes| {
            match index.checked_sub(before) {
                None => self.told(bytes),
                Some(index) => take(index, bytes),
            }
        });
        read.await.map_err(|error| self.blamed(error, &batch))
    }

    /// Names the step in an error against what was recorded, where only one can be meant.
    fn blamed(&self, error: Error, batch: &Batch) -> Error {
        if error.kind() != ErrorKind::Internal {
            return error;
        }
        let mut steps = batch.passes.iter().flat_map(|pass| pass.steps.clone());
        match (steps.next().and_then(|only| self.plan.steps.get(only)), steps.next()) {
            (Some(step), None) => at_step(error, step),
            _ => error,
        }
    }

    /// Errors where the bytes of the status tell of something.
    fn told(&self, bytes: &[u8]) -> Result<()> {
        let status = bytemuck::try_pod_read_unaligned(bytes)
            .map_err(|_| Error::internal("a status of another size"))?;
        self.plan.told(status).map_or(Ok(()), Err)
    }
}
