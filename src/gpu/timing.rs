//! The time that each step takes on the device, by timestamps around its pass.

use super::buffers::Buffer;
use super::device::GpuDevice;
use super::execution::{Evaluate, Execution, Values, Watch};
use super::readback;
use super::time_limits::Task;
use crate::error::{Error, Result};
use std::time::{Duration, Instant};

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
    pub(super) fn next(&mut self, device: &GpuDevice, step: usize) -> Result<(wgpu::QuerySet, u32)> {
        let within = self.steps.len() % STEPS_PER_SET;
        if within == 0 {
            let descriptor = wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: wgpu::QUERY_SET_MAX_QUERIES,
            };
            self.sets.push(device.capture("a query set", || device.raw().create_query_set(&descriptor))?);
        }
        self.steps.push(step);
        let set = self.sets.last().cloned().ok_or_else(|| Error::internal("a timer has no query set"))?;
        Ok((set, within as u32 * 2))
    }

    /// The nanoseconds of each step that was timed, once what was recorded has been submitted.
    fn finish(&self, device: &GpuDevice) -> Result<Vec<(usize, u64)>> {
        let period = device.queue().get_timestamp_period() as f64;
        let mut all = Vec::with_capacity(self.steps.len());
        for (set, steps) in self.sets.iter().zip(self.steps.chunks(STEPS_PER_SET)) {
            let bytes = steps.len() as u64 * 2 * wgpu::QUERY_SIZE as u64;
            let (resolved, staging) = (Buffer::queries(device, bytes)?, Buffer::staging(device, bytes)?);
            let mut encoder = readback::encoder(device, None);
            device.capture("timestamps", || {
                encoder.resolve_query_set(set, 0..steps.len() as u32 * 2, &resolved.raw, 0)
            })?;
            readback::read(
                device,
                Some(encoder),
                &[(&resolved, bytes)],
                &staging,
                || "a run with timestamps".to_string(),
                |_, bytes| {
                    for (step, pair) in steps.iter().zip(bytes.chunks_exact(16)) {
                        let [start, end]: [u64; 2] = bytemuck::pod_read_unaligned(pair);
                        all.push((*step, (end.saturating_sub(start) as f64 * period) as u64));
                    }
                    Ok(())
                },
            )?;
        }
        Ok(all)
    }
}

impl Execution {
    /// How long recording the plan's dispatches into a command buffer takes, as a run does it; nothing is
    /// submitted.
    pub fn time_recording(&self) -> Result<Duration> {
        let (start, mut pending) = (Instant::now(), None);
        self.record(&mut pending, 0..self.plan.steps.len(), &mut Watch::Nobody)?;
        self.device.capture("a recording", || pending.map(|encoder| encoder.finish()))?;
        Ok(start.elapsed())
    }

    /// Runs once as [`Execution::run`] does, then some of the steps on the GPU, `count` times over in one
    /// submission, and returns how long that took by the clock, from recording to the device's having
    /// finished.
    pub fn time_repeated(
        &mut self,
        inputs: &Values,
        evaluate: &Evaluate,
        steps: &[usize],
        count: u32,
    ) -> Result<Duration> {
        self.walk(inputs, evaluate, Watch::Nobody)?;
        let idle = self.device.capture("a measurement", || self.device.queue().submit([]))?;
        self.device.wait(idle, Task::Run, || self.awaited(0..self.plan.steps.len()))?;
        let (start, mut pending) = (Instant::now(), None);
        for _ in 0..count {
            for &step in steps {
                self.record(&mut pending, step..step + 1, &mut Watch::Nobody)?;
            }
        }
        let submission = self.device.capture("a measurement", || {
            self.device.queue().submit(pending.map(|encoder| encoder.finish()))
        })?;
        let what = || format!("{} times {}", count, self.awaited(steps.iter().copied()));
        self.device.wait(submission, Task::Run, what)?;
        Ok(start.elapsed())
    }

    /// Runs as [`Execution::run`] does, each GPU step in a pass of its own, and returns the nanoseconds of
    /// each, by step, too.
    ///
    /// Errors: those of `run`, and an adapter without timestamps ([`GpuDevice::has_timestamps`]).
    pub fn run_timed(&mut self, inputs: &Values, evaluate: &Evaluate) -> Result<(Values, Vec<(usize, u64)>)> {
        if !self.device.has_timestamps() {
            return Err(Error::unsupported(format!("'{}' has no timestamps", self.device.info().name))
                .remedy("measure without per-step times"));
        }
        let mut timer = Timer::default();
        let made = self.walk(inputs, evaluate, Watch::Timer(&mut timer))?;
        Ok((made, timer.finish(&self.device)?))
    }
}
