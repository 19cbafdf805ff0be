//! An execution that goes over to another plan in the same memory.

use super::constants::Resident;
use super::execution::Execution;
use crate::error::{Error, Result};
use crate::plan::{Plan, Step, StepKind};
use std::sync::Arc;

impl Execution {
    /// Runs this plan from now on, which has adopted the memory of the one that the execution was made for
    /// ([`Plan::adopt`]): only grids, parameters and small constants change.
    ///
    /// Errors: a plan of other steps (internal), a lost device.
    pub async fn adapt_async(&mut self, plan: &Arc<Plan>) -> Result<()> {
        if Arc::ptr_eq(plan, &self.plan) {
            return Ok(());
        }
        let other = || Error::internal("an execution was given a plan of other steps");
        if plan.steps.len() != self.recorded.len() || plan.params.len() != self.plan.params.len() {
            return Err(other());
        }
        self.adapt_constants(plan).await?;
        for (step, recorded) in plan.steps.iter().zip(&mut self.recorded) {
            let grids: Vec<_> = grids(step).collect();
            if grids.len() != recorded.len() {
                return Err(other());
            }
            for (recorded, grid) in recorded.iter_mut().zip(grids) {
                recorded.grid = grid;
            }
        }
        if let Some((start, changed)) = changed(&self.plan.params, &plan.params) {
            let write = || self.params.write_at(&self.device, start as u64, changed);
            self.device.scope(|| "the parameters".into(), write).await??;
        }
        self.plan = plan.clone();
        Ok(())
    }

    /// Writes the constants that are others. The first time that one is, it gets a buffer that no other
    /// execution reads, and bind groups are made again.
    async fn adapt_constants(&mut self, plan: &Plan) -> Result<()> {
        let before = self.own_constants.len();
        for (index, (constant, held)) in plan.constants.iter().zip(&self.plan.constants).enumerate() {
            let Some(resident) = self.constants.get_mut(index).filter(|_| !constant.is(held)) else {
                continue;
            };
            if self.own_constants.insert(index) {
                let bytes = resident.buffer.bytes();
                *resident = Arc::new(Resident::alone(&self.device, constant, bytes).await?);
            } else {
                resident.rewrite(&self.device, constant).await?;
            }
        }
        if self.own_constants.len() > before {
            self.prepare_steps().await?;
        }
        Ok(())
    }
}

/// The grids of a step's dispatches, as they are recorded.
fn grids(step: &Step) -> impl Iterator<Item = [u32; 3]> {
    let dispatches = if let StepKind::Gpu { dispatches } = &step.kind { dispatches.as_slice() } else { &[] };
    dispatches.iter().map(|dispatch| dispatch.grid).filter(|grid| !grid.contains(&0))
}

/// Where two blocks of as many bytes differ: from the first word to the last, of the new one.
fn changed<'a>(old: &[u8], new: &'a [u8]) -> Option<(usize, &'a [u8])> {
    let differs = |at: &usize| old.get(*at) != new.get(*at);
    let first = (0..new.len()).find(differs)? / 4 * 4;
    let end = (0..new.len()).rfind(differs)?.saturating_add(1).next_multiple_of(4);
    Some((first, new.get(first..end.min(new.len()))?))
}

#[cfg(test)]
mod tests {
    use super::changed;

    #[test]
    fn what_changed_is_whole_words() {
        let old = [0u8; 16];
        let mut new = old;
        assert_eq!(changed(&old, &new), None);
        (new[5], new[9]) = (1, 2);
        assert_eq!(changed(&old, &new), Some((4, &[0, 1, 0, 0, 0, 2, 0, 0][..])));
        new[15] = 3;
        assert_eq!(changed(&old, &new).map(|found| (found.0, found.1.len())), Some((4, 12)));
    }
}
