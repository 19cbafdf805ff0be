//! Buffers that count against the device's memory budget.

use super::device::{GpuDevice, Memory};
use crate::error::{Error, Result, Setting};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A device buffer; its bytes are given back to the budget when it is dropped.
pub(super) struct Buffer {
    pub(super) raw: wgpu::Buffer,
    memory: Arc<Memory>,
    bytes: u64,
}

impl Buffer {
    /// A buffer of at least `bytes`, zeroed, that shaders read and write and that copies go to and from.
    ///
    /// Errors where it exceeds the device's largest buffer or the budget.
    pub(super) async fn storage(device: &GpuDevice, label: &str, bytes: u64) -> Result<Self> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        Self::new(device, label, bytes, usage).await
    }
    /// A buffer for parameter blocks.
    pub(super) async fn uniform(device: &GpuDevice, label: &str, bytes: u64) -> Result<Self> {
        Self::new(device, label, bytes, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST).await
    }
    /// A buffer that the host reads.
    pub(super) async fn staging(device: &GpuDevice, bytes: u64) -> Result<Self> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Self::new(device, "staging", bytes, usage).await
    }
    /// A buffer that timestamps are resolved into.
    pub(super) async fn queries(device: &GpuDevice, bytes: u64) -> Result<Self> {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        Self::new(device, "timestamps", bytes, usage).await
    }

    async fn new(device: &GpuDevice, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Self> {
        let capabilities = device.capabilities();
        let bytes = bytes.max(16).checked_next_multiple_of(16).unwrap_or(u64::MAX);
        if bytes > capabilities.max_buffer_bytes {
            let message = format!(
                "a buffer of {bytes} bytes exceeds the device's largest, {} bytes",
                capabilities.max_buffer_bytes
            );
            return Err(Error::memory(message)
                .at_tensor(label)
                .remedy_by("use a smaller input or {}", &[Setting::Cpu]));
        }
        let memory = device.memory().clone();
        memory.reserve(bytes, capabilities.memory_budget).map_err(|used| {
            let message = format!(
                "{bytes} bytes more than the {used} in use exceed the device's memory budget of {} bytes",
                capabilities.memory_budget
            );
            Error::memory(message)
                .at_tensor(label)
                .remedy_by("use {}, a smaller input, or {}", &[Setting::Float16, Setting::Cpu])
        })?;
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        let create = || device.raw().create_buffer(&descriptor);
        match device.scope(|| format!("the buffer '{label}' of {bytes} bytes"), create).await {
            Ok(raw) => Ok(Self { raw, memory, bytes }),
            Err(error) => {
                memory.release(bytes);
                Err(error)
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes from the start of the buffer, before whatever is submitted next; in an error scope of the
    /// caller's. Errors where `data` is too long.
    pub(super) fn write(&self, device: &GpuDevice, data: &[u8]) -> Result<()> {
        self.write_at(device, 0, data)
    }

    /// The same from `start` on, a multiple of 4 bytes.
    pub(super) fn write_at(&self, device: &GpuDevice, start: u64, data: &[u8]) -> Result<()> {
        if start.checked_add(data.len() as u64).is_none_or(|end| end > self.bytes) {
            return Err(Error::internal(format!(
                "{} bytes were written from {start} on to a buffer of {}",
                data.len(),
                self.bytes
            )));
        }
        device.queue().write_buffer(&self.raw, start, data);
        self.memory.copied.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.release(self.bytes);
    }
}
