//! An open device: its capabilities, its memory, and wgpu's errors turned into ours.

use super::adapter::{AdapterInfo, Compiler, Found, Selection, select};
use super::detached::{self, Unfinished};
use super::limits::LimitsOption;
use super::pipelines::Pipelines;
use super::time_limits::{Task, TimeLimits};
use crate::base::{Capabilities, Cooperative, within};
use crate::error::{Error, ErrorKind, Result, Setting};
use crate::kernels::PARAMS_WINDOW;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Features that sardonyx uses where an adapter has them.
const USEFUL: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SHADER_INT64)
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::IMMEDIATES);

/// Bytes of device memory that may be in use together where the caller doesn't say: no API tells what is
/// free, and lavapipe doesn't even report when it runs out.
const DEFAULT_MEMORY_BUDGET: u64 = 16 << 30;

/// An open device. Cloning shares it; it may be used from several threads.
#[derive(Clone)]
pub struct GpuDevice {
    inner: Arc<Inner>,
    capabilities: Arc<Capabilities>,
    time_limits: TimeLimits,
    checks: bool,
}

struct Inner {
    raw: wgpu::Device,
    queue: wgpu::Queue,
    found: Found,
    limits: LimitsOption,
    pipelines: Pipelines,
    faults: Arc<Mutex<Faults>>,
    memory: Arc<Memory>,
    /// Counts what was waited for and done.
    progress: AtomicU64,
}

/// What went wrong outside of any call.
#[derive(Default)]
struct Faults {
    lost: Option<String>,
    uncaptured: Option<String>,
    /// The driver didn't answer in time: what wgpu has of the device is left as it is.
    abandoned: bool,
}

/// Bytes of the device's live buffers.
#[derive(Default)]
pub(super) struct Memory {
    used: AtomicU64,
    peak: AtomicU64,
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

/// What the driver makes of a request for a device.
type Opened = std::result::Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError>;

/// Asks the driver of `named` for a device, on a thread that can be left behind.
///
/// Errors: it takes longer than `limit`.
fn opened(
    adapter: &wgpu::Adapter,
    descriptor: wgpu::DeviceDescriptor<'static>,
    limit: Duration,
    named: &str,
) -> Result<Opened> {
    let asked = (adapter.clone(), descriptor);
    let open = |(adapter, descriptor): &(wgpu::Adapter, wgpu::DeviceDescriptor<'static>)| {
        pollster::block_on(adapter.request_device(descriptor))
    };
    match detached::each(vec![asked], limit, open).map(|mut list| list.pop()) {
        Ok(Some(opened)) => Ok(opened),
        Err(Unfinished::Overdue(_)) => {
            // Whatever wgpu waits for when an adapter is dropped, it isn't waited for here.
            std::mem::forget(adapter.clone());
            let more = format!("or give it more seconds with {}", Task::Either.variable());
            Err(Error::new(ErrorKind::Timeout, format!("{named} was not opened within {limit:?}"))
                .remedy_by(format!("use {{}}, or another backend or driver, {more}"), &[Setting::Cpu]))
        }
        Ok(None) | Err(Unfinished::Failed) => {
            Err(Error::device(format!("the driver of {named} failed while it opened a device"))
                .remedy_by("use {}, or another backend or driver", &[Setting::Cpu]))
        }
    }
}

impl GpuDevice {
    /// Opens the device that a selection means; `None` is the CPU.
    ///
    /// Errors: no adapter or several match; it lacks what `limits` asks for, or what any kernel needs; the
    /// driver refuses; time limits in the environment that are none ([`TimeLimits::from_env`]).
    pub fn open(selection: &Selection, limits: &LimitsOption) -> Result<Option<Self>> {
        let Some(found) = select(selection)? else { return Ok(None) };
        Self::request(found, limits, TimeLimits::from_env()?).map(Some)
    }

    fn request(found: Found, limits: &LimitsOption, time_limits: TimeLimits) -> Result<Self> {
        let Found { info, adapter } = &found;
        let (required_features, required_limits) =
            limits.request(adapter.features(), &adapter.limits(), USEFUL)?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("sardonyx"),
            required_features,
            required_limits,
            memory_hints: wgpu::MemoryHints::Performance,
            // SAFETY: wgpu's word for features that it may still change. The one used is that of cooperative
            // matrices, by one shader of the crate's own, which every subgroup runs whole.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            ..Default::default()
        };
        let refused = |problem: wgpu::RequestDeviceError| {
            Error::device(format!("'{}' could not be opened: {problem}", info.name))
                .remedy_by("try another {}, or {}", &[Setting::Device, Setting::Cpu])
                .caused_by(problem)
        };
        let (raw, queue) =
            opened(adapter, descriptor, Task::Either.limit(time_limits), &info.named())?.map_err(refused)?;
        let faults = Arc::<Mutex<Faults>>::default();
        let (for_errors, for_loss) = (faults.clone(), faults.clone());
        raw.on_uncaptured_error(Arc::new(move |error| {
            lock(&for_errors).uncaptured.get_or_insert_with(|| describe(&error));
        }));
        raw.set_device_lost_callback(move |reason, message| {
            let reason = match reason {
                wgpu::DeviceLostReason::Destroyed => "it was destroyed",
                _ => "for a reason that the driver doesn't name",
            };
            lock(&for_loss).lost.get_or_insert_with(|| format!("{reason}: {message}"));
        });
        let given = raw.limits();
        for (limit, says, least) in [
            ("max_bind_groups", given.max_bind_groups.into(), 2),
            ("max_uniform_buffers_per_shader_stage", given.max_uniform_buffers_per_shader_stage.into(), 1),
            (
                "max_dynamic_uniform_buffers_per_pipeline_layout",
                given.max_dynamic_uniform_buffers_per_pipeline_layout.into(),
                1,
            ),
            ("max_compute_workgroup_size_x", given.max_compute_workgroup_size_x.into(), 64),
            ("max_uniform_buffer_binding_size", given.max_uniform_buffer_binding_size, PARAMS_WINDOW as u64),
        ] {
            within(&info.named(), (limit, says), least, u64::MAX)?;
        }
        let capabilities =
            capabilities(info.compiler(), cooperative(adapter, raw.features()), raw.features(), &given)
                .checked(&info.named())?;
        let pipelines = Pipelines::new(&raw);
        let inner = Inner {
            raw,
            queue,
            found,
            limits: limits.clone(),
            pipelines,
            faults,
            memory: Arc::default(),
            progress: AtomicU64::default(),
        };
        let checks = cfg!(debug_assertions);
        let device =
            Self { inner: Arc::new(inner), capabilities: Arc::new(capabilities), time_limits, checks };
        device.check()?;
        Ok(device)
    }

    /// What planning needs to know.
    #[doc(hidden)]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    /// What is known of the adapter.
    pub fn info(&self) -> &AdapterInfo {
        &self.inner.found.info
    }
    /// Another device of the same adapter, with the same limits, that shares nothing with this one.
    pub(super) fn second_device(&self) -> Result<Self> {
        let twin = Self::request(self.inner.found.clone(), &self.inner.limits, self.time_limits)?;
        Ok(twin.with_checks(self.checks))
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
    /// Whether steps can be timed.
    pub fn has_timestamps(&self) -> bool {
        self.inner.raw.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// An error if the device was lost, or if an error arose that no call was there to return.
    pub fn check(&self) -> Result<()> {
        let mut faults = lock(&self.inner.faults);
        if let Some(reason) = &faults.lost {
            return Err(self.lost(reason));
        }
        faults.uncaptured.take().map_or(Ok(()), |message| Err(Error::device(message)))
    }

    fn lost(&self, why: &str) -> Error {
        let message = format!("the device {} was lost: {why}", self.info().named());
        Error::device(message).remedy_by(
            "make a new session; if that is lost too, use {}, or another backend or driver",
            &[Setting::Cpu],
        )
    }

    /// Gives the device up, as a driver's reset would: every later call errs.
    #[doc(hidden)]
    pub fn destroy(&self) {
        self.inner.raw.destroy();
        let _ = self.poll(wgpu::PollType::Poll, || "its end".to_string());
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

    /// Does `work`, and returns what wgpu had to say against it, named by `what`. Scopes are per thread.
    pub(super) fn capture<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T> {
        let scopes =
            [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal];
        let scopes = scopes.map(|filter| self.inner.raw.push_error_scope(filter));
        let result = work();
        let mut found = None;
        // A stack: the last is popped first.
        for scope in scopes.into_iter().rev() {
            if let Some(error) = pollster::block_on(scope.pop()) {
                found.get_or_insert(error);
            }
        }
        // Of a lost device every other error is a consequence.
        self.check()?;
        match found {
            None => Ok(result),
            Some(wgpu::Error::OutOfMemory { .. }) => {
                Err(Error::memory(format!("{what}: the device is out of memory"))
                    .remedy_by("use {}, a smaller input, or {}", &[Setting::Float16, Setting::Cpu]))
            }
            Some(error @ wgpu::Error::Internal { .. }) => {
                let message = format!("{}: {what}: {}", self.info().named(), describe(&error));
                Err(Error::device(message).remedy_by("use {}, or another backend or driver", &[Setting::Cpu]))
            }
            Some(error) => Err(Error::internal(format!("{what}: {}", describe(&error)))),
        }
    }

    /// Waits until a submission is done and its callbacks have run; `what` names it in an error.
    ///
    /// Errors: a lost device, and more time than the task has, where the device is given up.
    pub(super) fn wait(
        &self,
        submission: wgpu::SubmissionIndex,
        task: Task,
        what: impl Fn() -> String,
    ) -> Result<()> {
        let timeout = Some(task.limit(self.time_limits));
        loop {
            let before = self.inner.progress.load(Ordering::Relaxed);
            if self
                .poll(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout }, &what)?
            {
                self.inner.progress.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            // A queue goes through what several threads submit in turn: time counts from when another's was
            // done.
            if self.inner.progress.load(Ordering::Relaxed) == before {
                return Err(self.overdue(task, &what()));
            }
        }
    }

    /// The error for what the driver didn't do in time, after which the device counts as lost.
    pub(super) fn overdue(&self, task: Task, what: &str) -> Error {
        let reason = format!("it didn't {} {what} within {:?}", task.verb(), task.limit(self.time_limits));
        let message = format!("the device {} is given up: {reason}", self.info().named());
        self.abandon(reason);
        let more = format!("or give it more seconds with {}", task.variable());
        Error::new(ErrorKind::Timeout, message)
            .remedy_by(format!("use {{}}, or another backend or driver, {more}"), &[Setting::Cpu])
    }

    /// Gives up a device whose driver doesn't answer: every later call errs.
    pub(super) fn abandon(&self, reason: String) {
        let mut faults = lock(&self.inner.faults);
        faults.lost.get_or_insert(reason);
        if !std::mem::replace(&mut faults.abandoned, true) {
            // Never closed nor destroyed: wgpu waits for the queue then, however long that takes.
            std::mem::forget((
                self.inner.raw.clone(),
                self.inner.queue.clone(),
                self.inner.found.adapter.clone(),
            ));
        }
    }
    /// Why the device was given up, if it was.
    pub(super) fn abandoned(&self) -> Option<String> {
        let faults = lock(&self.inner.faults);
        faults.lost.clone().filter(|_| faults.abandoned)
    }

    /// Whether what was waited for is done; `what` names it in an error.
    fn poll(&self, how: wgpu::PollType, what: impl Fn() -> String) -> Result<bool> {
        // wgpu panics in `poll` where a driver reports the loss of its device while it is waited for.
        let polled = catch_unwind(AssertUnwindSafe(|| self.inner.raw.poll(how)));
        let lost = {
            let mut faults = lock(&self.inner.faults);
            if polled.is_err() {
                faults.lost.get_or_insert_with(|| "the driver failed".to_string());
            }
            faults.lost.clone()
        };
        // The call that waits is the one that knows what for.
        if let Some(reason) = lost {
            return Err(self.lost(&format!("{reason}, while it was waited for with {}", what())));
        }
        self.check()?;
        match polled {
            Ok(Err(wgpu::PollError::Timeout)) => Ok(false),
            Ok(Err(problem)) => {
                let message = format!("waiting for {} failed: {problem}", self.info().named());
                Err(Error::device(message).caused_by(problem))
            }
            _ => Ok(true),
        }
    }
}

impl std::fmt::Debug for GpuDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GpuDevice({} by {})", self.info().name, self.info().backend)
    }
}

fn lock(faults: &Mutex<Faults>) -> std::sync::MutexGuard<'_, Faults> {
    faults.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes: wgpu's own text is often only "Validation Error".
fn describe(error: &wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => "out of memory".to_string(),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            description.clone()
        }
    }
}

fn capabilities(
    compiler: Compiler,
    cooperative: Option<Cooperative>,
    features: wgpu::Features,
    limits: &wgpu::Limits,
) -> Capabilities {
    Capabilities {
        software: compiler.software,
        translates_late: compiler.translates_late,
        unrolls: compiler.unrolls,
        shader_f16: features.contains(wgpu::Features::SHADER_F16),
        shader_int64: features.contains(wgpu::Features::SHADER_INT64),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        quads: features.contains(wgpu::Features::SUBGROUP) && compiler.quads,
        cooperative,
        max_immediate_bytes: if features.contains(wgpu::Features::IMMEDIATES) {
            limits.max_immediate_size
        } else {
            0
        },
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        // Workgroups are lines.
        max_invocations: limits
            .max_compute_invocations_per_workgroup
            .min(limits.max_compute_workgroup_size_x),
        max_grid: limits.max_compute_workgroups_per_dimension,
        uniform_alignment: limits.min_uniform_buffer_offset_alignment,
        memory_budget: DEFAULT_MEMORY_BUDGET,
    }
}

/// The largest matrices of float16 with sums of float32 that an adapter multiplies, if the device was opened
/// with what they need.
fn cooperative(adapter: &wgpu::Adapter, features: wgpu::Features) -> Option<Cooperative> {
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP;
    if !features.contains(needed) {
        return None;
    }
    let named = |of: &wgpu::CooperativeMatrixProperties| {
        let types =
            (of.ab_type, of.cr_type) == (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
        types
            && of.m_size == of.n_size
            && of.n_size == of.k_size
            && matches!(of.k_size, 8 | 16)
            && !of.saturating_accumulation
    };
    let side =
        adapter.cooperative_matrix_properties().iter().filter(|of| named(of)).map(|of| of.k_size).max()?;
    Some(Cooperative { side, subgroup: adapter.get_info().subgroup_max_size })
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

    #[test]
    fn a_loss_names_what_was_waited_for() {
        if crate::gpu::test_device().is_none() {
            return;
        }
        let device = GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap();
        device.destroy();
        let error = device
            .poll(wgpu::PollType::Poll, || "kernel 'conv' of node 'stem' (Conv)".to_string())
            .unwrap_err();
        assert!(error.message().starts_with(&format!("the device '{}' (", device.info().name)), "{error}");
        assert!(
            error.message().ends_with(", while it was waited for with kernel 'conv' of node 'stem' (Conv)"),
            "{error}"
        );
        assert!(!device.check().unwrap_err().message().contains("waited for"));
    }

    #[test]
    fn webgpu_capabilities_are_wgpus() {
        let compiler = Compiler { software: false, translates_late: false, unrolls: true, quads: false };
        assert_eq!(
            capabilities(compiler, None, wgpu::Features::empty(), &wgpu::Limits::defaults()),
            Capabilities::webgpu()
        );
    }
}
