//! Running a plan under observation: what each step wrote, and one step by itself.

use super::batch::Batch;
use super::bindings::Bindings;
use super::buffers::Buffer;
use super::execution::{After, Evaluate, Execution, PlaceBytes, Values, Watch, at_step};
use super::readback;
use crate::base::BufferId;
use crate::error::{Error, Result};
use crate::plan::{Allocation, Plan, STATUS_BYTES, StepKind};
use std::collections::HashMap;
use std::ops::Range;

/// Fills what a step is about to write, so that a store left out is seen: a NaN as an f32 and as two f16, and
/// no likely integer.
pub const POISON: u32 = 0x7fc0_7fc0;

impl Execution {
    /// Runs as [`Execution::run`] does, buffers shared as planned, and calls `after` with each step's index
    /// and the bytes of the places that it wrote, as they lie on the device (none for a download or a CPU
    /// step).
    ///
    /// Errors: those of `run`, and what `after` returns.
    pub async fn run_probed_async(
        &mut self,
        inputs: &Values,
        evaluate: &Evaluate<'_>,
        after: &mut After<'_>,
    ) -> Result<Values> {
        Ok(self.walk(&Bindings::of(inputs), evaluate, Watch::Probe(after)).await?.host)
    }

    /// Runs one GPU step by itself: fills the places that it writes with [`POISON`], puts the bytes of `feed`
    /// into theirs, dispatches, and returns the bytes of the places that it writes.
    ///
    /// Constants are on the device already: bytes fed for them are passed over.
    /// Errors: a step that isn't one of the GPU's, bytes that don't fit their place, a lost device.
    pub async fn run_step_async(&mut self, step: usize, feed: &[PlaceBytes]) -> Result<Vec<PlaceBytes>> {
        let plan = self.plan.clone();
        let Some((index, step)) = plan
            .steps
            .get(step)
            .map(|found| (step, found))
            .filter(|(_, found)| matches!(found.kind, StepKind::Gpu { .. }))
        else {
            return Err(Error::internal(format!("step {step} is not one that the GPU runs")));
        };
        self.bind(&HashMap::new()).await?;
        let mut writes = vec![];
        for id in self.activations(&step.writes) {
            let (place, buffer) = self.buffer(id)?;
            // Bytes were padded to 16 when the plan was made, which fits the host's memory.
            let poison = vec![POISON; (place.bytes() / 4) as usize];
            writes.push((buffer, bytemuck::cast_slice(&poison).to_vec()));
        }
        for (id, bytes) in feed {
            let (place, buffer) = self.buffer(*id)?;
            if matches!(place.allocation, Allocation::Constant(_)) {
                continue;
            }
            if bytes.len() as u64 > place.bytes() || !bytes.len().is_multiple_of(4) {
                return Err(Error::internal(format!(
                    "{} bytes don't fit a place of {}",
                    bytes.len(),
                    place.bytes()
                ))
                .at_tensor(&place.label));
            }
            writes.push((buffer, bytes.clone()));
        }
        let write = || writes.iter().try_for_each(|(buffer, bytes)| buffer.write(&self.device, bytes));
        self.device.scope(|| "what a step is fed with".into(), write).await??;
        let mut batch = Batch::of_step(index);
        if self.status.is_some() {
            let staging = Buffer::staging(&self.device, STATUS_BYTES).await?;
            let told =
                self.read(std::mem::take(&mut batch), &[], &staging, || self.awaited([index]), |_, _| Ok(()));
            told.await.map_err(|error| at_step(error, step))?;
        }
        self.read_places(batch, index, &step.writes).await.map_err(|error| at_step(error, step))
    }

    /// Runs some GPU steps as planned, buffers shared and all: fills every buffer that they touch with
    /// [`POISON`], puts the bytes of `feed` into their places, dispatches the steps in order, and returns the
    /// bytes of one place.
    ///
    /// Errors: those of [`Execution::run_step_async`].
    pub async fn run_window_async(
        &mut self,
        steps: Range<usize>,
        feed: &[PlaceBytes],
        read: BufferId,
    ) -> Result<Vec<u8>> {
        let plan = self.plan.clone();
        let window = plan.steps.get(steps.clone()).unwrap_or_default();
        if window.is_empty() || window.iter().any(|step| !matches!(step.kind, StepKind::Gpu { .. })) {
            return Err(Error::internal(format!(
                "not all of the steps {steps:?} are ones that the GPU runs"
            )));
        }
        self.bind(&HashMap::new()).await?;
        let touched: Vec<BufferId> =
            window.iter().flat_map(|step| step.reads.iter().chain(&step.writes)).copied().collect();
        let mut writes = vec![];
        for id in self.activations(&touched) {
            let (_, buffer) = self.buffer(id)?;
            // Places of one buffer are as long as they are; the longest fills it as far as any reads.
            let bytes = window_bytes(&plan, &touched, id);
            writes.push((buffer, POISON.to_ne_bytes().repeat(bytes as usize / size_of_val(&POISON))));
        }
        for (id, bytes) in feed {
            let (place, buffer) = self.buffer(*id)?;
            if !matches!(place.allocation, Allocation::Constant(_)) {
                writes.push((buffer, bytes.clone()));
            }
        }
        let write = || writes.iter().try_for_each(|(buffer, bytes)| buffer.write(&self.device, bytes));
        self.device.scope(|| "what steps are fed with".into(), write).await??;
        for index in steps.clone() {
            self.submit(Batch::of_step(index)).await?;
        }
        let last = steps.end.saturating_sub(1);
        let read = self.read_places(Batch::default(), last, &[read]).await?.pop();
        read.map(|(_, bytes)| bytes).ok_or_else(|| Error::internal("a constant was to be read back"))
    }

    /// Those of some places that are no constants.
    fn activations(&self, places: &[BufferId]) -> Vec<BufferId> {
        let is_own = |id: &&BufferId| {
            let place = self.plan.buffers.get(id.0 as usize);
            place.is_some_and(|place| {
                matches!(place.allocation, Allocation::Slot(_) | Allocation::External(_))
            })
        };
        places.iter().filter(is_own).copied().collect()
    }

    /// Submits a batch of a step, and reads the bytes of those places that are no constants.
    pub(super) async fn read_places(
        &self,
        batch: Batch,
        step: usize,
        places: &[BufferId],
    ) -> Result<Vec<PlaceBytes>> {
        self.submit(batch).await?;
        let ids = self.activations(places);
        let mut all = Vec::with_capacity(ids.len());
        // One at a time: together they may exceed the largest buffer.
        for id in ids {
            let (place, buffer) = self.buffer(id)?;
            let staging = Buffer::staging(&self.device, place.bytes()).await?;
            let source = [(&**buffer, place.bytes())];
            let what = || self.awaited([step]);
            readback::read(
                &self.device,
                |_| Ok(()),
                &source,
                &staging,
                what,
                |_, bytes| {
                    all.push((id, bytes.to_vec()));
                    Ok(())
                },
            )
            .await?;
        }
        Ok(all)
    }
}

/// The most bytes of any of these places that share a place's buffer.
fn window_bytes(plan: &Plan, touched: &[BufferId], id: BufferId) -> u64 {
    let home = &plan.buffer(id).allocation;
    let sharing = touched.iter().filter(|other| plan.buffer(**other).allocation == *home);
    sharing.map(|other| plan.buffer(*other).bytes()).max().unwrap_or(0)
}
