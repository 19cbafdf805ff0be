//! An open device: what it can do, its memory, and what clones of it may be told.

use super::adapter::{AdapterInfo, Found};
use super::faults::Faults;
use super::limits::LimitsOption;
use super::pipelines::Pipelines;
use super::spent::{Spent, TimeSpent};
use super::time_limits::TimeLimits;
use crate::base::Capabilities;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// An open device. Cloning shares it; it may be used from several threads.
#[derive(Clone)]
pub struct GpuDevice {
    pub(super) inner: Arc<Inner>,
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) time_limits: TimeLimits,
    pub(super) checks: bool,
}

/// What clones share.
pub(super) struct Inner {
    pub(super) raw: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) found: Found,
    pub(super) limits: LimitsOption,
    pub(super) pipelines: Pipelines,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) memory: Arc<Memory>,
    pub(super) spent: Spent,
    /// Counts what was waited for and done.
    pub(super) progress: AtomicU64,
}

/// Bytes of the device's live buffers.
#[derive(Default)]
pub(super) struct Memory {
    used: AtomicU64,
    peak: AtomicU64,
    /// Bytes that were copied from the host or to it.
    pub(super) copied: AtomicU64,
}

impl Memory {
    /// Counts `bytes` as used, unless that would exceed `budget`; gives what is used already if so.
    pub(super) fn reserve(&self, bytes: u64, budget: u64) -> Result<(), u64> {
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= budget);
        let used = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)?;
        self.peak.fetch_max(used.saturating_add(bytes), Ordering::Relaxed);
        Ok(())
    }
    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl GpuDevice {
    /// What planning needs to know.
    #[doc(hidden)]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    /// What is known of the adapter.
    pub fn info(&self) -> &AdapterInfo {
        &self.inner.found.info
    }
    /// The compiled kernels, shared by every clone.
    #[doc(hidden)]
    pub fn pipelines(&self) -> &Pipelines {
        &self.inner.pipelines
    }
    /// The same device, plans for which store f16 packed in u32, as on an adapter without SHADER_F16 and
    /// SHADER_INT64.
    pub fn with_packed_f16(&self) -> Self {
        self.with_capabilities(|capabilities| {
            (capabilities.shader_f16, capabilities.shader_int64) = (false, false)
        })
    }
    /// The same device, plans for which are made as for hardware, where it is a software adapter.
    pub fn as_hardware(&self) -> Self {
        self.with_capabilities(|capabilities| capabilities.software = false)
    }
    /// The same device with another bound on the bytes of its buffers; 16 GiB unless said here.
    pub fn with_memory_budget(&self, bytes: u64) -> Self {
        self.with_capabilities(|capabilities| capabilities.memory_budget = bytes)
    }
    /// The same device, the driver of which may take another time; as the environment says unless said here.
    pub fn with_time_limits(&self, time_limits: TimeLimits) -> Self {
        Self { time_limits, ..self.clone() }
    }
    /// How long the driver may take.
    pub fn time_limits(&self) -> TimeLimits {
        self.time_limits
    }
    /// The same device, the shaders of which keep every index within its buffer and every loop within a
    /// number of turns, or don't; in debug builds they do unless said here. A right shader makes the same
    /// either way; a wrong one may read or write what isn't its own without checks, and gives a wrong result
    /// with them.
    pub fn with_checks(&self, checks: bool) -> Self {
        Self { checks, ..self.clone() }
    }
    /// Whether shaders check their indices.
    pub fn checks(&self) -> bool {
        self.checks
    }
    fn with_capabilities(&self, change: impl FnOnce(&mut Capabilities)) -> Self {
        let mut capabilities = (*self.capabilities).clone();
        change(&mut capabilities);
        Self { capabilities: Arc::new(capabilities), ..self.clone() }
    }
    /// Bytes of the device's live buffers: now, and the most there ever were.
    pub fn memory_in_use(&self) -> (u64, u64) {
        (self.inner.memory.used.load(Ordering::Relaxed), self.inner.memory.peak.load(Ordering::Relaxed))
    }
    /// Bytes that were copied between the host and the device so far, either way.
    pub fn bytes_copied(&self) -> u64 {
        self.inner.memory.copied.load(Ordering::Relaxed)
    }
    /// The time that runs on the device took so far, by the host's clock.
    pub fn time_spent(&self) -> TimeSpent {
        self.inner.spent.total()
    }
    pub(super) fn spent(&self) -> &Spent {
        &self.inner.spent
    }
    /// Whether two are one device, whatever their clones were told.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
    /// Whether steps can be timed.
    pub fn has_timestamps(&self) -> bool {
        self.inner.raw.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    pub(super) fn raw(&self) -> &wgpu::Device {
        &self.inner.raw
    }
    pub(super) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.inner.memory
    }
    pub(super) fn faults(&self) -> &Mutex<Faults> {
        &self.inner.faults
    }
    pub(super) fn progress(&self) -> &AtomicU64 {
        &self.inner.progress
    }
}

impl std::fmt::Debug for GpuDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GpuDevice({} by {})", self.info().name, self.info().backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_held_to_its_budget() {
        let memory = Memory::default();
        memory.reserve(60, 100).unwrap();
        assert_eq!(memory.reserve(41, 100), Err(60));
        assert!(memory.reserve(u64::MAX, u64::MAX).is_err());
        memory.release(60);
        memory.reserve(100, 100).unwrap();
        assert_eq!(memory.peak.load(Ordering::Relaxed), 100);
    }
}
