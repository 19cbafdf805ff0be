//! What a run binds to the buffers that a plan only names: its inputs and outputs.
//!
//! Each external buffer of a plan is bound anew for every run: an input's to a tensor that lies on the device
//! already, or to a buffer of the execution's own that the host's tensor is written to; an output's to a
//! buffer of its own, which the caller may keep. Buffers of its own that nobody else holds are used again. The
//! bind groups of the last few bindings are kept, so that a run whose buffers were bound before makes none.

use super::buffers::Buffer;
use super::execution::{Execution, Values};
use super::recording::Site;
use super::tensor::GpuTensor;
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::plan::{Allocation, OutputBinding};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// The values of a run.
pub struct Bindings<'a> {
    /// Inputs that are on the host.
    pub host: &'a Values,
    /// Inputs that are on the device.
    pub device: HashMap<ValueId, GpuTensor>,
    /// Outputs that stay on the device.
    pub keep: HashSet<ValueId>,
}

impl<'a> Bindings<'a> {
    /// Inputs on the host, outputs that are read back.
    pub fn of(host: &'a Values) -> Self {
        Self { host, device: HashMap::new(), keep: HashSet::new() }
    }
}

/// What a run has made.
#[derive(Default)]
pub struct Made {
    /// What was read back or made on the CPU.
    pub host: Values,
    /// The outputs that stayed on the device.
    pub device: HashMap<ValueId, GpuTensor>,
}

/// Bindings of which bind groups are kept. A cache of a language model goes to and fro between two buffers.
const KEPT_GROUPS: usize = 4;

/// Buffers that nobody holds and that are kept for each external one.
const KEPT_IDLE: usize = 2;

/// The buffers that are bound, and what was bound before.
#[derive(Default)]
pub(super) struct Bound {
    /// By the plan's index.
    now: Vec<Option<Arc<Buffer>>>,
    /// The execution's own, for each index.
    own: Vec<Vec<Arc<Buffer>>>,
}

/// A dispatch's bind group, where it binds external buffers: one for each set of these.
pub(super) struct BoundGroup {
    site: Site,
    externals: Vec<usize>,
    /// The latest first; that of now is the first.
    kept: Vec<(Vec<Weak<Buffer>>, wgpu::BindGroup)>,
}

impl BoundGroup {
    /// The group for what is bound now.
    pub(super) fn now(&self) -> Option<&wgpu::BindGroup> {
        self.kept.first().map(|kept| &kept.1)
    }

    pub(super) fn new(site: Site, externals: Vec<usize>) -> Self {
        Self { site, externals, kept: vec![] }
    }

    /// Finds the group of these buffers and puts it first. Those of buffers that are gone go too.
    fn find(&mut self, buffers: &[&Arc<Buffer>]) -> bool {
        self.kept.retain(|kept| kept.0.iter().all(|buffer| buffer.strong_count() > 0));
        let same = |kept: &(Vec<Weak<Buffer>>, wgpu::BindGroup)| {
            kept.0.iter().zip(buffers).all(|(kept, buffer)| kept.as_ptr() == Arc::as_ptr(buffer))
        };
        let found = self.kept.iter().position(same);
        if let Some(at) = found {
            self.kept[..=at].rotate_right(1);
        }
        found.is_some()
    }
}

impl Bound {
    pub(super) fn new(count: usize) -> Self {
        Self { now: vec![None; count], own: vec![vec![]; count] }
    }
    /// What is bound to an external buffer.
    pub(super) fn now(&self, index: usize) -> Option<&Arc<Buffer>> {
        self.now.get(index)?.as_ref()
    }
    /// Bytes of the execution's own buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.own.iter().flatten().map(|buffer| buffer.bytes()).sum()
    }
    /// Lets go of what is bound, so that its owners alone decide how long it lives.
    pub(super) fn release(&mut self) {
        self.now.fill(None);
    }
    /// A buffer of the execution's own that nobody holds.
    fn idle(&mut self, index: usize) -> Option<Arc<Buffer>> {
        let own = self.own.get_mut(index)?;
        let mut idle = 0;
        own.retain(|buffer| {
            idle += usize::from(Arc::strong_count(buffer) == 1);
            Arc::strong_count(buffer) > 1 || idle <= KEPT_IDLE
        });
        own.iter().find(|buffer| Arc::strong_count(buffer) == 1).cloned()
    }
}

impl Execution {
    /// Binds the inputs that are on the device, and buffers of the execution's own for all else.
    ///
    /// Errors, with the input's name: a tensor of another device, type, shape or precision than planned.
    pub(super) async fn bind(&mut self, inputs: &HashMap<ValueId, GpuTensor>) -> Result<()> {
        let plan = self.plan.clone();
        self.bound.release();
        for input in &plan.inputs {
            let Some(tensor) = inputs.get(&input.value) else { continue };
            let place = plan.buffer(input.buffer);
            tensor.check(&self.device, place).map_err(|error| error.at_tensor(&place.label))?;
            if let Allocation::External(index) = place.allocation
                && let Some(now) = self.bound.now.get_mut(index)
            {
                *now = Some(tensor.buffer.clone());
            }
        }
        for (index, &bytes) in plan.externals.iter().enumerate() {
            if self.bound.now(index).is_some() {
                continue;
            }
            let buffer = match self.bound.idle(index) {
                Some(buffer) => buffer,
                None => {
                    let made = Buffer::storage(&self.device, &format!("bound {index}"), bytes).await?;
                    let made = Arc::new(made);
                    self.bound.own[index].push(made.clone());
                    made
                }
            };
            self.bound.now[index] = Some(buffer);
        }
        self.bind_groups().await
    }

    /// Makes those bind groups of what is bound now that aren't there.
    async fn bind_groups(&mut self) -> Result<()> {
        let mut missing = vec![];
        for (at, group) in self.bound_groups.iter_mut().enumerate() {
            let now: Option<Vec<_>> = group.externals.iter().map(|&index| self.bound.now(index)).collect();
            let now = now.ok_or_else(|| Error::internal("an external buffer is not bound"))?;
            if !group.find(&now) {
                missing.push((at, now.into_iter().map(Arc::downgrade).collect::<Vec<_>>()));
            }
        }
        let wanted: Vec<&Site> = missing.iter().map(|(at, _)| &self.bound_groups[*at].site).collect();
        let made = self.make_groups(&wanted).await?;
        for ((at, buffers), made) in missing.into_iter().zip(made) {
            let kept = &mut self.bound_groups[at].kept;
            kept.insert(0, (buffers, made));
            kept.truncate(KEPT_GROUPS);
        }
        Ok(())
    }

    /// An output as it lies on the device.
    pub(super) fn kept(&self, output: &OutputBinding) -> Result<GpuTensor> {
        let (place, buffer) = self.buffer(output.buffer)?;
        let fact = self.plan.facts.get(output.value.0 as usize).and_then(Option::as_ref);
        let fact = fact.unwrap_or(&place.fact);
        Ok(GpuTensor {
            device: self.device.clone(),
            buffer: buffer.clone(),
            dtype: fact.dtype,
            shape: fact.shape.clone(),
            layout: output.layout,
            storage: place.storage,
        })
    }
}
