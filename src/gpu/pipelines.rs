//! Compute pipelines, compiled once for a device and kept by what their shaders are made of.

use super::device::GpuDevice;
use super::native::{self, Unfinished};
use super::time_limits::Task;
use crate::base::{Access, UNIFORM_TABLE};
use crate::error::{Error, Result};
use crate::kernels::{Dispatch, PARAMS_WINDOW, Shader};
use crate::plan::Plan;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, RwLock};

/// A pipeline to compile. Two are equal that have the same shader and layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kernel {
    pub shader: Arc<Shader>,
    /// How each storage buffer of group 0 is bound.
    pub accesses: Vec<Access>,
    /// The kernel's stem.
    pub name: &'static str,
}

impl Kernel {
    pub(super) fn of(dispatch: &Dispatch) -> Self {
        Self { shader: dispatch.shader.clone(), accesses: dispatch.accesses(), name: dispatch.kernel }
    }
}

/// A kernel, and whether its indices are checked.
type Key = (Kernel, bool);

/// The cache of compute pipelines and of the layouts they share.
///
/// Group 0 holds the storage buffers in order; group 1 binding 0 the parameter block, a window of
/// [`PARAMS_WINDOW`] bytes at a dynamic offset. The entry point is `main`.
pub struct Pipelines {
    params: wgpu::BindGroupLayout,
    layouts: RwLock<HashMap<Vec<Access>, wgpu::BindGroupLayout>>,
    pipelines: RwLock<HashMap<Key, wgpu::ComputePipeline>>,
}

impl Pipelines {
    pub(super) fn new(raw: &wgpu::Device) -> Self {
        let window = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: true,
            min_binding_size: NonZeroU64::new(PARAMS_WINDOW as u64),
        };
        let entry = wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: window,
            count: None,
        };
        let params = raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("params"),
            entries: &[entry],
        });
        Self { params, layouts: RwLock::default(), pipelines: RwLock::default() }
    }

    /// The number of pipelines compiled so far.
    pub fn len(&self) -> usize {
        self.pipelines.read().unwrap_or_else(PoisonError::into_inner).len()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compiles the kernels of a plan that are missing, and returns them. Errors as [`Pipelines::prepare`]
    /// does.
    pub(super) async fn prepare_plan(&self, device: &GpuDevice, plan: &Plan) -> Result<Vec<Kernel>> {
        let kernels: Vec<_> = plan.dispatches().map(|(_, dispatch)| Kernel::of(dispatch)).collect();
        self.prepare(device, &kernels).await
    }

    /// Compiles what is missing, in parallel, and returns it.
    ///
    /// Errors, by name, where WGSL or a driver refuses a kernel, or a driver takes too long for one: that is
    /// left behind, on a thread of its own, and the device given up.
    pub(super) async fn prepare(&self, device: &GpuDevice, wanted: &[Kernel]) -> Result<Vec<Kernel>> {
        let missing: Vec<Kernel> = {
            let known = self.pipelines.read().unwrap_or_else(PoisonError::into_inner);
            let mut seen = HashSet::new();
            let keys = wanted.iter().map(|kernel| (kernel.clone(), device.checks()));
            keys.filter(|key| !known.contains_key(key) && seen.insert(key.clone())).map(|key| key.0).collect()
        };
        let own = device.clone();
        let compile = async move |kernel: &Kernel| {
            let key = (kernel.clone(), own.checks());
            own.pipelines().compile(&own, &key).await.map(|pipeline| (key, pipeline))
        };
        let compiled = native::each(missing.clone(), device.time_limits().compile, compile).await;
        let compiled = compiled.map_err(|unfinished| match unfinished {
            Unfinished::Overdue(index) => device.overdue(
                Task::Compile,
                &format!("the kernel '{}'", missing.get(index).map_or("", |kernel| kernel.name)),
            ),
            Unfinished::Failed => {
                Error::internal("a thread that compiles kernels panicked or could not be started")
            }
        })?;
        let compiled = compiled.into_iter().collect::<Result<Vec<_>>>()?;
        let mut known = self.pipelines.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(compiled);
        Ok(missing)
    }

    /// A pipeline that was prepared.
    pub(super) fn get(&self, device: &GpuDevice, kernel: Kernel) -> Result<wgpu::ComputePipeline> {
        let known = self.pipelines.read().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&(kernel, device.checks()))
            .cloned()
            .ok_or_else(|| Error::internal("a pipeline was used before it was prepared"))
    }

    /// The layout of the parameters' bind group.
    pub(super) fn params_layout(&self) -> &wgpu::BindGroupLayout {
        &self.params
    }

    /// The layout of storage buffers bound in these ways.
    pub(super) async fn layout(
        &self,
        device: &GpuDevice,
        accesses: &[Access],
    ) -> Result<wgpu::BindGroupLayout> {
        if let Some(layout) = self.layouts.read().unwrap_or_else(PoisonError::into_inner).get(accesses) {
            return Ok(layout.clone());
        }
        let entry = |(binding, access): (usize, &Access)| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: *access == Access::Read },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> = accesses.iter().enumerate().map(entry).collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        let create = || device.raw().create_bind_group_layout(&descriptor);
        let layout = device.scope(|| "a bind group layout".into(), create).await?;
        self.layouts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(accesses.to_vec(), layout.clone());
        Ok(layout)
    }

    async fn compile(&self, device: &GpuDevice, (kernel, checks): &Key) -> Result<wgpu::ComputePipeline> {
        let storages = self.layout(device, &kernel.accesses).await?;
        let (source, label) = (kernel.shader.source(), kernel.name);
        let create = || {
            let raw = device.raw();
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(source.text.as_ref().into()),
            };
            let module = if *checks {
                raw.create_shader_module(descriptor)
            } else {
                // SAFETY: the shaders are the crate's own, their indices stay within the places that plans
                // bind, their loops end; checked builds and the comparison with the CPU hold them to it. A
                // model's data is never code.
                unsafe {
                    raw.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
                }
            };
            let layout = raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(label),
                bind_group_layouts: &[Some(&storages), Some(&self.params)],
                immediate_size: if source.needs.immediates { size_of_val(&UNIFORM_TABLE) as u32 } else { 0 },
            });
            raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: Some(&layout),
                module: &module,
                entry_point: Some("main"),
                // Kernels write workgroup memory before they read it.
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        };
        device.scope(|| format!("the kernel '{label}'"), create).await
    }
}
