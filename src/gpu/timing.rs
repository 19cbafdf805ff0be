//! The time that each step takes on the device, by timestamps around its pass.

use super::batch::Batch;
use super::bindings::Bindings;
use super::buffers::Buffer;
use super::device::GpuDevice;
use super::execution::{Evaluate, Execution, Values, Watch};
use super::native::Stopwatch;
use super::readback;
use super::time_limits::Task;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::time::Duration;

/// Timestamps of the steps of one run, two each.
#[derive(Default)]
pub(super) struct Timer {
    sets: Vec<wgpu::QuerySet>,
    steps: Vec<usize>,
}

/// Steps that one query set times.
const STEPS_PER_SET: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

impl Timer {
    /// The query set and the first of two indices for the next step.
    pub(super) async fn next(&mut self, device: &GpuDevice, step: usize) -> Result<(wgpu::QuerySet, u32)> {
        let within = self.steps.len() % STEPS_PER_SET;
        if within == 0 {
            let descriptor = wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: wgpu::QUERY_SET_MAX_QUERIES,
            };
            let create = || device.raw().create_query_set(&descriptor);
            self.sets.push(device.scope(|| "a query set".into(), create).await?);
        }
        self.steps.push(step);
        let set = self.sets.last().cloned().ok_or_else(|| Error::internal("a timer has no query set"))?;
        Ok((set, within as u32 * 2))
    }

    /// The nanoseconds of each step that was timed, once what was recorded has been submitted.
    async fn finish(&self, device: &GpuDevice) -> Result<Vec<(usize, u64)>> {
        let period = device.queue().get_timestamp_period() as f64;
        let mut all = Vec::with_capacity(self.steps.len());
        for (set, steps) in self.sets.iter().zip(self.steps.chunks(STEPS_PER_SET)) {
            let bytes = steps.len() as u64 * 2 * wgpu::QUERY_SIZE as u64;
            let (resolved, staging) =
                (Buffer::queries(device, bytes).await?, Buffer::staging(device, bytes).await?);
            let resolve = |encoder: &mut wgpu::CommandEncoder| {
                encoder.resolve_query_set(set, 0..steps.len() as u32 * 2, &resolved.raw, 0);
                Ok(())
            };
            let what = || "a run with timestamps".to_string();
            readback::read(device, resolve, &[(&resolved, bytes)], &staging, what, |_, bytes| {
                for (step, pair) in steps.iter().zip(bytes.chunks_exact(16)) {
                    let [start, end]: [u64; 2] = bytemuck::pod_read_unaligned(pair);
                    all.push((*step, (end.saturating_sub(start) as f64 * period) as u64));
                }
                Ok(())
            })
            .await?;
        }
        Ok(all)
    }
}

impl Execution {
    /// How long recording the plan's dispatches into a command buffer takes, as a run does it; nothing is
    /// submitted.
    pub async fn time_recording_async(&mut self) -> Result<Duration> {
        self.bind(&HashMap::new()).await?;
        let mut batch = Batch::default();
        batch.push(0..self.plan.steps.len(), None);
        let record = || {
            let start = Stopwatch::start();
            let mut encoder = self.device.raw().create_command_encoder(&Default::default());
            self.record(&batch, &mut encoder)?;
            drop(encoder.finish());
            Ok(start.elapsed())
        };
        self.device.scope(|| "a recording".into(), record).await?
    }

    /// Runs once as [`Execution::run`] does, then some of the steps on the GPU, `count` times over in one
    /// submission, and returns how long that took by the clock, from recording to the device's having
    /// finished.
    pub async fn time_repeated_async(
        &mut self,
        inputs: &Values,
        evaluate: &Evaluate<'_>,
        steps: &[usize],
        count: u32,
    ) -> Result<Duration> {
        self.walk(&Bindings::of(inputs), evaluate, Watch::Nobody).await?;
        let device = &self.device;
        let idle = device.scope(|| "a measurement".into(), || device.queue().submit([])).await?;
        device.wait(idle, Task::Run, || self.awaited(0..self.plan.steps.len())).await?;
        let (start, mut batch) = (Stopwatch::start(), Batch::default());
        for _ in 0..count {
            steps.iter().for_each(|&step| batch.push(step..step + 1, None));
        }
        let what = || format!("{} times {}", count, self.awaited(steps.iter().copied()));
        if let Some(submission) = self.submit(batch).await? {
            device.wait(submission, Task::Run, what).await?;
        }
        Ok(start.elapsed())
    }

    /// Runs as [`Execution::run`] does, each GPU step in a pass of its own, and returns the nanoseconds of
    /// each, by step, too.
    ///
    /// Errors: those of `run`, and an adapter without timestamps ([`GpuDevice::has_timestamps`]).
    pub async fn run_timed_async(
        &mut self,
        inputs: &Values,
        evaluate: &Evaluate<'_>,
    ) -> Result<(Values, Vec<(usize, u64)>)> {
        if !self.device.has_timestamps() {
            return Err(Error::unsupported(format!("'{}' has no timestamps", self.device.info().name))
                .remedy("measure without per-step times"));
        }
        let mut timer = Timer::default();
        let made = self.walk(&Bindings::of(inputs), evaluate, Watch::Timer(&mut timer)).await?;
        Ok((made.host, timer.finish(&self.device).await?))
    }
}
