//! Translating kernels on several threads where a driver does it late and on one.
//!
//! Mesa's software adapter turns a kernel into machine code when it is first dispatched, on the device's one queue thread: 0.1 to
//! 0.5 s for each, one after the other. Another device of the same adapter has a thread of its own, and what it translates
//! reaches this one through the driver's cache on disk, from which a kernel takes 2 ms. So kernels that are new are dispatched over
//! nothing on helper devices too, while constants are packed.

use super::device::Device;
use super::readback;
use crate::error::{Error, Result};
use crate::kernels::{Access, PARAMS_WINDOW, UNIFORM_TABLE, reads_uniform_table};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A kernel to have translated: its source, how its storage buffers are bound, its name.
pub(super) type Kernel = (Arc<str>, Vec<Access>, &'static str);

/// Kernels whose code the driver has kept are all there within this time; helpers wait for it before they are made.
const HEAD_START: Duration = Duration::from_millis(25);

/// What the driver's queue of cache writes may take after a helper's last kernel.
const CACHE_WRITE: Duration = Duration::from_millis(4);

/// Helper devices beyond the device itself.
const MAX_HELPERS: usize = 7;

/// Does `work` while a device's driver translates kernels that it hasn't seen; returns when both are done.
///
/// On adapters that translate when a pipeline is made, it only does the work. Errors: those of `work`, a lost device.
pub(super) fn meanwhile<T>(device: &Device, mut kernels: Vec<Kernel>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !device.info().translates_late() || kernels.is_empty() {
        return work();
    }
    // The longest go first, taken from the end.
    kernels.sort_by_key(|(source, ..)| source.len());
    let queue = Mutex::new(kernels);
    thread::scope(|scope| {
        let helpers = thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).min(MAX_HELPERS);
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(|| help(device, &queue))).collect();
        let own = scope.spawn(|| drain(device, &queue));
        let result = work();
        let own = own.join().unwrap_or_else(|_| Err(Error::internal("translating a kernel panicked")));
        // What a helper couldn't do, the first dispatch does.
        let helped: Vec<Kernel> = helpers.into_iter().filter_map(|helper| helper.join().ok()).flatten().collect();
        own?;
        let result = result?;
        if !helped.is_empty() {
            thread::sleep(CACHE_WRITE);
            helped.iter().try_for_each(|kernel| translate(device, kernel))?;
        }
        Ok(result)
    })
}

/// Takes kernels until there are none, on a device of its own. Returns those that it did.
fn help(device: &Device, queue: &Mutex<Vec<Kernel>>) -> Vec<Kernel> {
    thread::sleep(HEAD_START);
    if queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        return vec![];
    }
    let helped = device.twin().and_then(|twin| drain(&twin, queue));
    helped.unwrap_or_else(|problem| {
        tracing::debug!("a helper device gave up: {problem}");
        vec![]
    })
}

/// Has one device translate kernels until there are none; returns those.
fn drain(device: &Device, queue: &Mutex<Vec<Kernel>>) -> Result<Vec<Kernel>> {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut done = vec![];
    while let Some(kernel) = next() {
        translate(device, &kernel)?;
        done.push(kernel);
    }
    Ok(done)
}

/// Dispatches a kernel over no workgroups at all, and waits.
fn translate(device: &Device, kernel: &Kernel) -> Result<()> {
    let start = Instant::now();
    let (source, accesses, name) = kernel;
    let pipelines = device.pipelines();
    pipelines.prepare(device, std::slice::from_ref(kernel))?;
    let pipeline = pipelines.get(source, accesses.clone())?;
    let layout = pipelines.layout(device, accesses)?;
    let submission = device.capture("a first dispatch", || {
        let raw = device.raw();
        let buffer =
            |usage| raw.create_buffer(&wgpu::BufferDescriptor { label: Some("nothing"), size: PARAMS_WINDOW as u64, usage, mapped_at_creation: false });
        // One buffer may not be bound to be read and to be written at once, so each binding has its own.
        let buffers: Vec<_> = accesses.iter().map(|_| buffer(wgpu::BufferUsages::STORAGE)).collect();
        let params = buffer(wgpu::BufferUsages::UNIFORM);
        let group = |layout, buffers: &[wgpu::Buffer]| {
            let entries: Vec<_> = buffers.iter().enumerate().map(|(binding, buffer)| entry(binding as u32, buffer)).collect();
            raw.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(name), layout, entries: &entries })
        };
        let (storages, params) = (group(&layout, &buffers), group(pipelines.params_layout(), &[params]));
        let mut encoder = readback::encoder(device, None);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        if reads_uniform_table(source) {
            pass.set_immediates(0, bytemuck::bytes_of(&UNIFORM_TABLE));
        }
        pass.set_bind_group(0, &storages, &[]);
        pass.set_bind_group(1, &params, &[0]);
        pass.dispatch_workgroups(0, 1, 1);
        drop(pass);
        device.queue().submit([encoder.finish()])
    })?;
    device.wait(submission)?;
    tracing::debug!("{name}: translated in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn entry(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    let size = std::num::NonZeroU64::new(PARAMS_WINDOW as u64);
    wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size }) }
}
