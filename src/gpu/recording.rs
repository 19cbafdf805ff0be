//! Dispatches made ready to be recorded: their pipelines and bind groups.

use super::bindings::BoundGroup;
use super::execution::{Execution, at_step};
use super::pipelines::Kernel;
use crate::base::UNIFORM_TABLE;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Dispatch;
use crate::plan::{Allocation, PlannedBuffer, Step, StepKind};

/// A dispatch with all that recording it takes.
pub(super) struct Recorded {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) group: Group,
    params_offset: u32,
    pub(super) grid: [u32; 3],
    /// Whether the kernel reads the table of immediates.
    table: bool,
}

/// The bind group of a dispatch's storage buffers.
pub(super) enum Group {
    /// Of the plan's own buffers alone.
    Own(wgpu::BindGroup),
    /// With what a run binds: an index of the execution's bound groups.
    Bound(usize),
}

/// A dispatch of a plan, whose bind group is to be made.
pub(super) struct Site {
    step: usize,
    dispatch: usize,
    layout: wgpu::BindGroupLayout,
}

impl Recorded {
    pub(super) fn dispatch(
        &self,
        pass: &mut wgpu::ComputePass,
        group: &wgpu::BindGroup,
        params: &wgpu::BindGroup,
        [x, y, z]: [u32; 3],
    ) {
        pass.set_pipeline(&self.pipeline);
        if self.table {
            pass.set_immediates(0, bytemuck::bytes_of(&UNIFORM_TABLE));
        }
        pass.set_bind_group(0, group, &[]);
        pass.set_bind_group(1, params, &[self.params_offset]);
        pass.dispatch_workgroups(x, y, z);
    }
}

impl Execution {
    /// Makes all dispatches of the plan that the execution was made for ready, apart from the bind groups that
    /// a run completes.
    pub(super) async fn prepare_steps(&mut self) -> Result<()> {
        let (plan, device) = (self.base.clone(), self.device.clone());
        self.recorded.clear();
        self.bound_groups.clear();
        let pipelines = device.pipelines();
        let (mut sites, mut ready) = (vec![], vec![]);
        for (index, step) in plan.steps.iter().enumerate() {
            let mut list = vec![];
            for (at, dispatch) in dispatches(step).iter().enumerate() {
                // An empty grid has nothing to do.
                if dispatch.grid.contains(&0) {
                    continue;
                }
                let named = |error| at_step(error, step);
                let kernel = Kernel::of(dispatch);
                let layout = pipelines.layout(&device, &kernel.accesses).await.map_err(named)?;
                let pipeline = pipelines.get(&device, kernel).map_err(named)?;
                let site = Site { step: index, dispatch: at, layout };
                let externals = self.externals(dispatch);
                let bound = if externals.is_empty() {
                    sites.push(site);
                    None
                } else {
                    self.bound_groups.push(BoundGroup::new(site, externals));
                    Some(self.bound_groups.len() - 1)
                };
                list.push((pipeline, bound, dispatch));
            }
            ready.push(list);
        }
        let mut own = self.make_groups(&sites.iter().collect::<Vec<_>>()).await?.into_iter();
        for list in ready {
            let mut recorded = Vec::with_capacity(list.len());
            for (pipeline, bound, dispatch) in list {
                let group = match bound {
                    Some(at) => Group::Bound(at),
                    None => Group::Own(own.next().ok_or_else(|| Error::internal("a bind group is missing"))?),
                };
                let (params_offset, grid) = (dispatch.params_offset, dispatch.grid);
                let table = dispatch.shader.needs().immediates;
                recorded.push(Recorded { pipeline, group, params_offset, grid, table });
            }
            self.recorded.push(recorded);
        }
        Ok(())
    }

    /// The external buffers that a dispatch binds.
    fn externals(&self, dispatch: &Dispatch) -> Vec<usize> {
        let external =
            |(id, _): &(crate::base::BufferId, _)| match self.plan.buffers.get(id.0 as usize)?.allocation {
                Allocation::External(index) => Some(index),
                _ => None,
            };
        dispatch.bindings.iter().filter_map(external).collect()
    }

    /// The bind group of a dispatch for what is bound now.
    pub(super) fn group<'a>(&'a self, recorded: &'a Recorded) -> Result<&'a wgpu::BindGroup> {
        match &recorded.group {
            Group::Own(group) => Ok(group),
            Group::Bound(at) => self
                .bound_groups
                .get(*at)
                .and_then(BoundGroup::now)
                .ok_or_else(|| Error::internal("a dispatch was recorded before its buffers were bound")),
        }
    }

    /// Makes bind groups of the buffers of now. Errors name the kernel and its node.
    pub(super) async fn make_groups(&self, sites: &[&Site]) -> Result<Vec<wgpu::BindGroup>> {
        if sites.is_empty() {
            return Ok(vec![]);
        }
        let device = &self.device;
        let all = || sites.iter().map(|site| self.make_group(site)).collect::<Result<Vec<_>>>();
        match device.scope(|| "bind groups".into(), all).await {
            Ok(made) => made,
            Err(error) => {
                // One of them is refused: which, it takes a scope for each to tell.
                let alone = if error.kind() == ErrorKind::Internal { sites } else { &[] };
                for site in alone {
                    let (step, dispatch) = self.dispatch_at(site)?;
                    let what = || format!("the bind group of '{}'", dispatch.kernel);
                    let made = device.scope(what, || self.make_group(site)).await;
                    made.map_err(|error| at_step(error, step))??;
                }
                Err(error)
            }
        }
    }

    fn make_group(&self, site: &Site) -> Result<wgpu::BindGroup> {
        let (step, dispatch) = self.dispatch_at(site)?;
        let entries = self.entries(dispatch).map_err(|error| at_step(error, step))?;
        Ok(self.device.raw().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel),
            layout: &site.layout,
            entries: &entries,
        }))
    }

    fn dispatch_at(&self, site: &Site) -> Result<(&Step, &Dispatch)> {
        let step = self.plan.steps.get(site.step);
        let found = step.and_then(|step| Some((step, dispatches(step).get(site.dispatch)?)));
        found.ok_or_else(|| Error::internal("a dispatch went missing"))
    }

    fn entries(&self, dispatch: &Dispatch) -> Result<Vec<wgpu::BindGroupEntry<'_>>> {
        let mut entries = Vec::with_capacity(dispatch.bindings.len() + 1);
        for (binding, (id, _)) in dispatch.bindings.iter().enumerate() {
            let (place, buffer) = self.buffer(*id)?;
            // Not the whole slot: a tenant larger than this one may be beyond what one binding may span. The
            // most that any plan has in it, since groups are kept from plan to plan.
            let most = self.base.buffers.get(id.0 as usize).map_or(place.bytes(), PlannedBuffer::bytes);
            let size = match place.allocation {
                Allocation::External(_) => buffer.bytes().min(most),
                _ => most,
            };
            let size = std::num::NonZeroU64::new(size);
            let resource =
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer.raw, offset: 0, size });
            entries.push(wgpu::BindGroupEntry { binding: binding as u32, resource });
        }
        if dispatch.status {
            let status = self
                .status
                .as_ref()
                .ok_or_else(|| Error::internal("a kernel tells of what the plan doesn't know"))?;
            let resource = status.raw.as_entire_binding();
            entries.push(wgpu::BindGroupEntry { binding: entries.len() as u32, resource });
        }
        Ok(entries)
    }
}

fn dispatches(step: &Step) -> &[Dispatch] {
    if let StepKind::Gpu { dispatches } = &step.kind { dispatches } else { &[] }
}
