//! Running a plan under observation: what each step wrote, and one step by itself.

use super::buffers::Buffer;
use super::execution::{After, Evaluate, Execution, PlaceBytes, Values, Watch, at_step};
use super::readback;
use crate::base::BufferId;
use crate::error::{Error, Result};
use crate::plan::{Allocation, StepKind};

/// Fills what a step is about to write, so that a store left out is seen: a NaN as an f32 and as two f16, and
/// no likely integer.
pub const POISON: u32 = 0x7fc0_7fc0;

impl Execution {
    /// Runs as [`Execution::run`] does, buffers shared as planned, and calls `after` with each step's index
    /// and the bytes of the places that it wrote, as they lie on the device (none for a download or a CPU
    /// step).
    ///
    /// Errors: those of `run`, and what `after` returns.
    pub fn run_probed(&mut self, inputs: &Values, evaluate: &Evaluate, after: &mut After) -> Result<Values> {
        self.walk(inputs, evaluate, Watch::Probe(after))
    }

    /// Runs one GPU step by itself: fills the places that it writes with [`POISON`], puts the bytes of `feed`
    /// into theirs, dispatches, and returns the bytes of the places that it writes.
    ///
    /// Constants are on the device already: bytes fed for them are passed over.
    /// Errors: a step that isn't one of the GPU's, bytes that don't fit their place, a lost device.
    pub fn run_step(&mut self, step: usize, feed: &[PlaceBytes]) -> Result<Vec<PlaceBytes>> {
        let plan = self.plan.clone();
        let Some((index, step)) = plan
            .steps
            .get(step)
            .map(|found| (step, found))
            .filter(|(_, found)| matches!(found.kind, StepKind::Gpu { .. }))
        else {
            return Err(Error::internal(format!("step {step} is not one that the GPU runs")));
        };
        for id in self.activations(&step.writes) {
            let (place, buffer) = self.buffer(id)?;
            // Bytes were padded to 16 when the plan was made, which fits the host's memory.
            buffer.write(&self.device, bytemuck::cast_slice(&vec![POISON; (place.bytes() / 4) as usize]))?;
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
            buffer.write(&self.device, bytes)?;
        }
        let mut pending = None;
        let cleared = self.clear_status(&mut pending);
        let recorded = cleared.and_then(|()| self.record(&mut pending, index..index + 1, &mut Watch::Nobody));
        let told = recorded.and_then(|()| match self.status_source() {
            Some(source) => readback::read(
                &self.device,
                pending.take(),
                &[source],
                &Buffer::staging(&self.device, source.1)?,
                || self.awaited([index]),
                |_, bytes| self.told(bytes),
            ),
            None => Ok(()),
        });
        told.and_then(|()| self.read_places(pending, index, &step.writes))
            .map_err(|error| at_step(error, step))
    }

    /// Those of some places that are activations.
    fn activations(&self, places: &[BufferId]) -> Vec<BufferId> {
        let is_slot = |id: &&BufferId| {
            self.plan
                .buffers
                .get(id.0 as usize)
                .is_some_and(|place| matches!(place.allocation, Allocation::Slot(_)))
        };
        places.iter().filter(is_slot).copied().collect()
    }

    /// Submits what is pending, of a step, and reads the bytes of those places that are activations.
    pub(super) fn read_places(
        &self,
        mut pending: Option<wgpu::CommandEncoder>,
        step: usize,
        places: &[BufferId],
    ) -> Result<Vec<PlaceBytes>> {
        let ids = self.activations(places);
        let mut all = Vec::with_capacity(ids.len());
        // One at a time: together they may exceed the largest buffer.
        for id in ids {
            let (place, buffer) = self.buffer(id)?;
            let staging = Buffer::staging(&self.device, place.bytes())?;
            readback::read(
                &self.device,
                pending.take(),
                &[(buffer, place.bytes())],
                &staging,
                || self.awaited([step]),
                |_, bytes| {
                    all.push((id, bytes.to_vec()));
                    Ok(())
                },
            )?;
        }
        readback::submit(&self.device, pending)?;
        Ok(all)
    }
}
