//! Translating kernels on several threads where a driver does it late and on one.
//!
//! Mesa's software adapter turns a kernel into machine code when it is first dispatched, on the device's one
//! queue thread: 0.1 to 0.5 s for each, one after the other. Another device of the same adapter has a thread
//! of its own, and what it translates reaches this one through the driver's cache on disk, from which a
//! kernel takes 2 ms. So kernels that are new are dispatched over nothing on helper devices too, while
//! constants are packed.

use super::block_on;
use crate::base::UNIFORM_TABLE;
use crate::error::{Error, Result};
use crate::gpu::device::GpuDevice;
use crate::gpu::pipelines::Kernel;
use crate::gpu::time_limits::Task;
use crate::kernels::PARAMS_WINDOW;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Kernels whose code the driver has kept are all there within this time; helpers wait for it before they are
/// made.
const HEAD_START: Duration = Duration::from_millis(25);

/// What the driver's queue of cache writes may take after a helper's last kernel.
const CACHE_WRITE: Duration = Duration::from_millis(4);

/// Helper devices beyond the device itself.
const MAX_HELPERS: usize = 7;

/// What the opening or closing of a helper device may take beyond the time for two kernels, until it is left
/// behind.
const GRACE: Duration = Duration::from_secs(5);

/// What a thread tells of a kernel that it took.
struct Told {
    kernel: Kernel,
    done: Result<()>,
    /// Why the helper's device was given up, if it was.
    hung: Option<String>,
    helper: bool,
}

/// Does `work` while a device's driver translates kernels that it hasn't seen; returns when both are done.
///
/// On adapters that translate when a pipeline is made, it only does the work. Errors: those of `work`, a lost
/// device, a kernel that takes too long: the threads are left behind then, and own what they use.
pub(in crate::gpu) async fn precompile_while<T>(
    device: &GpuDevice,
    mut kernels: Vec<Kernel>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if !device.info().translates_late() || kernels.is_empty() {
        return work.await;
    }
    // The longest go first, taken from the end.
    kernels.sort_by_key(|kernel| kernel.shader.source().text.len());
    let queue = Arc::new(Mutex::new(kernels));
    let (sender, receiver) = mpsc::channel();
    let helpers = thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).min(MAX_HELPERS);
    let start = |helper: bool| {
        let (device, queue, sender) = (device.clone(), queue.clone(), sender.clone());
        let run = move || {
            if helper { help(device, &queue, sender) } else { drain(&device, &queue, &sender, false) }
        };
        thread::Builder::new().name("sardonyx translator".into()).spawn(run).ok()
    };
    let threads: Vec<_> =
        std::iter::once(false).chain(std::iter::repeat_n(true, helpers)).filter_map(start).collect();
    drop(sender);
    let result = work.await;
    if result.is_err() {
        clear(&queue);
        if device.abandoned().is_some() {
            // The threads wait for what doesn't come.
            return result;
        }
    }
    let helped = finish(device, &queue, &receiver, threads);
    let result = result?;
    let helped = helped?;
    if !helped.is_empty() {
        thread::sleep(CACHE_WRITE);
        // What a helper couldn't do, this says why.
        for kernel in &helped {
            translate(device, kernel).await?;
        }
    }
    Ok(result)
}

/// Hears the threads out, and returns the kernels that helpers took.
fn finish(
    device: &GpuDevice,
    queue: &Mutex<Vec<Kernel>>,
    told: &mpsc::Receiver<Told>,
    threads: Vec<thread::JoinHandle<()>>,
) -> Result<Vec<Kernel>> {
    let mut helped = vec![];
    // A kernel is compiled, then dispatched.
    let bound = device.time_limits().compile.saturating_mul(2).saturating_add(GRACE);
    loop {
        match told.recv_timeout(bound) {
            Ok(Told { hung: Some(reason), done, helper, .. }) => {
                clear(queue);
                // Its driver is the helper's.
                if helper {
                    device.abandon(reason);
                }
                return done.map(|()| helped);
            }
            Ok(Told { kernel, helper: true, .. }) => helped.push(kernel),
            Ok(Told { done: Ok(()), .. }) => {}
            Ok(Told { done: Err(problem), .. }) => {
                clear(queue);
                return Err(problem);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    "{} doesn't open or close a helper device: that is left behind",
                    device.info().named()
                );
                return Ok(helped);
            }
        }
    }
    // Devices are closed by the time that the caller goes on: a process may end then.
    match threads.into_iter().map(thread::JoinHandle::join).all(|ended| ended.is_ok()) {
        true => Ok(helped),
        false => Err(Error::internal("translating a kernel panicked")),
    }
}

fn clear(queue: &Mutex<Vec<Kernel>>) {
    queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Takes kernels until there are none, on a device of its own.
fn help(device: GpuDevice, queue: &Mutex<Vec<Kernel>>, sender: mpsc::Sender<Told>) {
    thread::sleep(HEAD_START);
    if queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        return;
    }
    match block_on(device.second_device()) {
        Ok(twin) => drain(&twin, queue, &sender, true),
        Err(problem) => tracing::debug!("a helper device gave up: {problem}"),
    }
}

/// Has one device translate kernels until there are none, or one fails.
fn drain(device: &GpuDevice, queue: &Mutex<Vec<Kernel>>, sender: &mpsc::Sender<Told>, helper: bool) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
    while let Some(kernel) = next() {
        let done = block_on(translate(device, &kernel));
        let (failed, hung) = (done.is_err(), device.abandoned());
        if sender.send(Told { kernel, done, hung, helper }).is_err() || failed {
            return;
        }
    }
}

/// Dispatches a kernel over no workgroups at all, and waits.
async fn translate(device: &GpuDevice, kernel: &Kernel) -> Result<()> {
    let start = Instant::now();
    let Kernel { shader, accesses, name } = kernel;
    let pipelines = device.pipelines();
    pipelines.prepare(device, std::slice::from_ref(kernel)).await?;
    let pipeline = pipelines.get(device, kernel.clone())?;
    let layout = pipelines.layout(device, accesses).await?;
    let dispatch = || {
        let raw = device.raw();
        let buffer = |usage| {
            raw.create_buffer(&wgpu::BufferDescriptor {
                label: Some("nothing"),
                size: PARAMS_WINDOW as u64,
                usage,
                mapped_at_creation: false,
            })
        };
        // One buffer may not be bound to be read and to be written at once, so each binding has its own.
        let buffers: Vec<_> = accesses.iter().map(|_| buffer(wgpu::BufferUsages::STORAGE)).collect();
        let params = buffer(wgpu::BufferUsages::UNIFORM);
        let group = |layout, buffers: &[wgpu::Buffer]| {
            let entries: Vec<_> =
                buffers.iter().enumerate().map(|(binding, buffer)| entry(binding as u32, buffer)).collect();
            raw.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(name), layout, entries: &entries })
        };
        let (storages, params) = (group(&layout, &buffers), group(pipelines.params_layout(), &[params]));
        let mut encoder = raw.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        if shader.needs().immediates {
            pass.set_immediates(0, bytemuck::bytes_of(&UNIFORM_TABLE));
        }
        pass.set_bind_group(0, &storages, &[]);
        pass.set_bind_group(1, &params, &[0]);
        pass.dispatch_workgroups(0, 1, 1);
        drop(pass);
        device.queue().submit([encoder.finish()])
    };
    let submission = device.scope(|| format!("the first dispatch of '{name}'"), dispatch).await?;
    device.wait(submission, Task::Compile, || format!("the kernel '{name}'")).await?;
    tracing::debug!("{name}: translated in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn entry(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    let size = std::num::NonZeroU64::new(PARAMS_WINDOW as u64);
    wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size }),
    }
}
