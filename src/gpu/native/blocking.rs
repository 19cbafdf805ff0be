//! The edge: calls that block until the device's work is done, each the twin of one that doesn't.

use super::block_on;
use crate::base::{BufferId, Precision};
use crate::error::Result;
use crate::gpu::adapter::{self, AdapterInfo, Found, Selection};
use crate::gpu::bindings::{Bindings, Made};
use crate::gpu::constants::Constants;
use crate::gpu::device::GpuDevice;
use crate::gpu::execution::{After, Evaluate, Execution, PlaceBytes, Values};
use crate::gpu::limits::LimitsOption;
use crate::gpu::measure::{self, Measured};
use crate::gpu::tensor::GpuTensor;
use crate::plan::Plan;
use crate::tensor::Tensor;
use std::sync::Arc;
use std::time::Duration;

/// What is known of every adapter, the best first. Empty without a Vulkan loader or adapter, never an error.
pub fn adapters() -> Vec<AdapterInfo> {
    block_on(adapter::adapters_async())
}

/// The adapter that a selection means; `None` is the CPU.
///
/// Errors, with the list of adapters: none matches (device), or several match a name (usage).
pub fn select(selection: &Selection) -> Result<Option<Found>> {
    block_on(adapter::select_async(selection))
}

/// Measures an open device: well under a second.
pub fn measure(device: &GpuDevice) -> Result<Measured> {
    block_on(measure::measure_async(device))
}

impl GpuDevice {
    /// Opens the device that a selection means; `None` is the CPU.
    ///
    /// Errors: no adapter or several match; it lacks what `limits` asks for, or what any kernel needs; the
    /// driver refuses; time limits in the environment that are none
    /// ([`TimeLimits::from_env`](crate::device::TimeLimits::from_env)).
    pub fn open(selection: &Selection, limits: &LimitsOption) -> Result<Option<Self>> {
        block_on(Self::open_async(selection, limits))
    }
}

impl GpuTensor {
    /// [`GpuTensor::upload_async`], to its end.
    pub fn upload(device: &GpuDevice, tensor: &Tensor, precision: Precision) -> Result<Option<Self>> {
        block_on(Self::upload_async(device, tensor, precision))
    }
    /// [`GpuTensor::download_async`], to its end.
    pub fn download(&self) -> Result<Tensor> {
        block_on(self.download_async())
    }
    /// [`GpuTensor::unstack_async`], to its end.
    pub fn unstack(&self) -> Result<Option<Vec<Self>>> {
        block_on(self.unstack_async())
    }
    /// [`GpuTensor::stack_async`], to its end.
    pub fn stack(parts: &[Self]) -> Result<Option<Self>> {
        block_on(Self::stack_async(parts))
    }
    /// [`GpuTensor::dense_async`], to its end.
    pub fn dense(&self) -> Result<Self> {
        block_on(self.dense_async())
    }
}

impl Execution {
    /// [`Execution::new_async`], to its end.
    pub fn new(device: &GpuDevice, plan: &Arc<Plan>, constants: &Constants) -> Result<Self> {
        block_on(Self::new_async(device, plan, constants))
    }
    /// [`Execution::adapt_async`], to its end.
    pub fn adapt(&mut self, plan: &Arc<Plan>) -> Result<()> {
        block_on(self.adapt_async(plan))
    }
    /// [`Execution::warm_async`], to its end.
    pub fn warm(&mut self) -> Result<()> {
        block_on(self.warm_async())
    }
    /// Runs the plan: graph inputs by id to everything that was read back or made on the CPU, by id.
    ///
    /// Errors: an input that is missing or of another shape than planned, what `evaluate` returns, a lost
    /// device.
    pub fn run(&mut self, inputs: &Values, evaluate: &Evaluate) -> Result<Values> {
        self.run_bound(&Bindings::of(inputs), evaluate).map(|made| made.host)
    }
    /// [`Execution::run_async`], to its end.
    pub fn run_bound(&mut self, bindings: &Bindings<'_>, evaluate: &Evaluate) -> Result<Made> {
        block_on(self.run_async(bindings, evaluate))
    }
    /// [`Execution::run_probed_async`], to its end.
    pub fn run_probed(&mut self, inputs: &Values, evaluate: &Evaluate, after: &mut After) -> Result<Values> {
        block_on(self.run_probed_async(inputs, evaluate, after))
    }
    /// [`Execution::run_step_async`], to its end.
    pub fn run_step(&mut self, step: usize, feed: &[PlaceBytes]) -> Result<Vec<PlaceBytes>> {
        block_on(self.run_step_async(step, feed))
    }
    /// [`Execution::run_window_async`], to its end.
    pub fn run_window(
        &mut self,
        steps: std::ops::Range<usize>,
        feed: &[PlaceBytes],
        read: BufferId,
    ) -> Result<Vec<u8>> {
        block_on(self.run_window_async(steps, feed, read))
    }
    /// [`Execution::run_timed_async`], to its end.
    pub fn run_timed(&mut self, inputs: &Values, evaluate: &Evaluate) -> Result<(Values, Vec<(usize, u64)>)> {
        block_on(self.run_timed_async(inputs, evaluate))
    }
    /// [`Execution::time_recording_async`], to its end.
    pub fn time_recording(&mut self) -> Result<Duration> {
        block_on(self.time_recording_async())
    }
    /// [`Execution::time_repeated_async`], to its end.
    pub fn time_repeated(
        &mut self,
        inputs: &Values,
        evaluate: &Evaluate,
        steps: &[usize],
        count: u32,
    ) -> Result<Duration> {
        block_on(self.time_repeated_async(inputs, evaluate, steps, count))
    }
}
