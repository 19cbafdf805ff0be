//! Opening a device: what is asked of the adapter, and what is made of its answer.

use super::adapter::{Compiler, Found, Selection, select_async};
use super::device::{GpuDevice, Inner};
use super::faults::{Faults, describe, lock};
use super::limits::LimitsOption;
use super::native::{self, Unfinished};
use super::pipelines::Pipelines;
use super::time_limits::{Task, TimeLimits};
use crate::base::{Capabilities, Cooperative, within};
use crate::error::{Error, ErrorKind, Result, Setting};
use crate::kernels::PARAMS_WINDOW;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
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

/// What the driver makes of a request for a device.
type Opened = std::result::Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError>;

/// Asks the driver of `named` for a device, where it can be left behind.
///
/// Errors: it takes longer than `limit`.
async fn opened(
    adapter: &wgpu::Adapter,
    descriptor: wgpu::DeviceDescriptor<'static>,
    limit: Duration,
    named: &str,
) -> Result<Opened> {
    let asked = (adapter.clone(), descriptor);
    let open = async |(adapter, descriptor): &(wgpu::Adapter, wgpu::DeviceDescriptor<'static>)| {
        adapter.request_device(descriptor).await
    };
    match native::each(vec![asked], limit, open).await.map(|mut list| list.pop()) {
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
    /// [`GpuDevice::open`], without blocking.
    pub async fn open_async(selection: &Selection, limits: &LimitsOption) -> Result<Option<Self>> {
        let Some(found) = select_async(selection).await? else { return Ok(None) };
        Self::request(found, limits, TimeLimits::from_env()?).await.map(Some)
    }

    async fn request(found: Found, limits: &LimitsOption, time_limits: TimeLimits) -> Result<Self> {
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
        let limit = Task::Either.limit(time_limits);
        let (raw, queue) = opened(adapter, descriptor, limit, &info.named()).await?.map_err(refused)?;
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
            spent: Default::default(),
            progress: AtomicU64::default(),
        };
        let checks = cfg!(debug_assertions);
        let device =
            Self { inner: Arc::new(inner), capabilities: Arc::new(capabilities), time_limits, checks };
        device.check()?;
        Ok(device)
    }

    /// Another device of the same adapter, with the same limits, that shares nothing with this one.
    pub(super) async fn second_device(&self) -> Result<Self> {
        let twin = Self::request(self.inner.found.clone(), &self.inner.limits, self.time_limits).await?;
        Ok(twin.with_checks(self.checks))
    }
}

/// What planning needs to know of a device with these features and limits.
pub(super) fn capabilities(
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
        winograd: true,
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
    fn webgpu_capabilities_are_wgpus() {
        let compiler = Compiler { software: false, translates_late: false, unrolls: true, quads: false };
        assert_eq!(
            capabilities(compiler, None, wgpu::Features::empty(), &wgpu::Limits::defaults()),
            Capabilities::webgpu()
        );
    }
}
