//! How evidence is gathered: from the steps of a plan, run again by themselves.

use super::comparator::Comparator;
use super::evidence::{Evidence, Found, Replay, agrees};
use super::run::Carried;
use crate::base::BufferId;
use crate::error::Result;
use crate::gpu::{Execution, PlaceBytes};
use crate::graph::{Node, ValueId};
use crate::plan::{Allocation, Plan, StepKind};
use crate::tensor::{Tensor, cast};
use std::ops::Range as Span;
use std::sync::Arc;

/// Windows that are tried before all that comes before the step is taken.
const TRIED: usize = 24;

impl Comparator<'_> {
    /// Gathers the evidence of steps of this plan.
    pub(super) fn gather(
        &mut self,
        execution: &mut Execution,
        plan: &Arc<Plan>,
        carried: &Carried,
    ) -> Result<()> {
        let is_new = |found: &mut Found| found.at.is_some();
        if self.evidence_local.is_none()
            && let Some(found) = self.found_local.take_if(is_new)
        {
            self.evidence_local = Some(self.evidence(found, Some((execution, plan, carried)))?);
        }
        // A step that is wrong by itself is where to look.
        let differs = self.evidence_local.as_ref().is_some_and(|evidence| evidence.differs);
        if !differs
            && self.evidence_cumulative.is_none()
            && let Some(found) = self.found_cumulative.take_if(is_new)
        {
            self.evidence_cumulative = Some(self.evidence(found, Some((execution, plan, carried)))?);
        }
        Ok(())
    }

    /// The evidence that was gathered, of what differs by itself before what differs as it runs.
    pub(super) fn gathered(&mut self) -> Result<Option<Evidence>> {
        for (found, evidence) in [
            (self.found_local.take(), self.evidence_local.is_none()),
            (self.found_cumulative.take(), self.evidence_cumulative.is_none()),
        ] {
            let Some(found) = found.filter(|_| evidence) else { continue };
            let made = self.evidence(found, None)?;
            let local = made.local;
            *(if local { &mut self.evidence_local } else { &mut self.evidence_cumulative }) = Some(made);
        }
        let (local, cumulative) = (self.evidence_local.take(), self.evidence_cumulative.take());
        Ok(match local {
            Some(local) if local.differs || cumulative.is_none() => Some(local),
            _ => cumulative,
        })
    }

    /// Gathers what is known of a measure. `device`: what runs the plan that its step is of.
    fn evidence(
        &self,
        found: Found,
        device: Option<(&mut Execution, &Arc<Plan>, &Carried)>,
    ) -> Result<Evidence> {
        let graph = self.session.original();
        let of = |id: ValueId| -> Result<Option<(String, Tensor)>> {
            let Some(tensor) = self.sets.reference.get(&id) else { return Ok(None) };
            let name = self.name(id);
            Ok(Some((name, cast(tensor, self.dtype(id, graph), true)?)))
        };
        let all = |ids: &mut dyn Iterator<Item = ValueId>| -> Result<Vec<(String, Tensor)>> {
            let mut list: Vec<(String, Tensor)> = vec![];
            for id in ids {
                if let Some((name, tensor)) = of(id)?
                    && list.iter().all(|(other, _)| *other != name)
                {
                    list.push((name, tensor));
                }
            }
            Ok(list)
        };
        let ids = |list: fn(&Node) -> &Vec<Option<ValueId>>| {
            found.node.iter().flat_map(move |node| list(node).iter().flatten().copied())
        };
        let replay = match (found.at, device) {
            (Some((index, place)), Some((execution, plan, carried))) => {
                self.window(&found, (index, place), execution, plan, carried)?
            }
            _ => None,
        };
        Ok(Evidence {
            inputs: all(&mut ids(|node| &node.inputs))?,
            outputs: all(&mut ids(|node| &node.outputs))?,
            model_inputs: all(&mut graph.inputs.iter().copied())?,
            step: found.step,
            local: found.local,
            differs: found.differs,
            device: found.got,
            answers: found.answers,
            replay,
        })
    }

    /// The fewest steps before and with this one that differ when they are fed with what is right. One step
    /// where it differs by itself; more where an earlier one spoils what it reads. Where none are found, the
    /// step by itself.
    fn window(
        &self,
        found: &Found,
        (index, place): (usize, BufferId),
        execution: &mut Execution,
        plan: &Arc<Plan>,
        carried: &Carried,
    ) -> Result<Option<Replay>> {
        let mut alone = None;
        let (mut start, mut gap, mut tried) = (index, 1, 0);
        loop {
            if let Some(before) = self.before(plan, start..index + 1, carried) {
                tried += 1;
                let after = execution.run_window(start..index + 1, &before, place)?;
                let shape = found.got.shape();
                let made = plan.buffer(place).decode(&after)?;
                let made = if made.shape() == shape { made } else { made.reshape(shape)? };
                let differs = !agrees(&made, &found.answers)?;
                let (plan, steps) = (plan.clone(), start..index + 1);
                let replay = Replay { plan, steps, before, place, after, differs };
                if differs || found.local {
                    return Ok(Some(replay));
                }
                alone.get_or_insert(replay);
            }
            let device = |step: usize| {
                plan.steps.get(step).is_some_and(|step| matches!(step.kind, StepKind::Gpu { .. }))
            };
            // Near ones one after the other, then further and further back.
            gap = if tried > 8 { gap * 2 } else { 1 };
            let next = start.saturating_sub(gap);
            if start == 0 || tried >= TRIED || !(next..start).all(device) {
                return Ok(alone);
            }
            start = next;
        }
    }

    /// What lies in buffers before some steps: right values for all that they read and don't make. `None`
    /// where two of these share a buffer, or one is no value of the graph and nothing has made it.
    fn before(&self, plan: &Arc<Plan>, steps: Span<usize>, carried: &Carried) -> Option<Vec<PlaceBytes>> {
        let (mut made, mut reads): (Vec<BufferId>, Vec<BufferId>) = (vec![], vec![]);
        for step in plan.steps.get(steps)? {
            for &id in &step.reads {
                if !made.contains(&id) && !made.contains(&plan.parent_of(id)) && !reads.contains(&id) {
                    reads.push(id);
                }
            }
            made.extend(&step.writes);
        }
        let feed = self.feed(plan, &reads, carried).ok()?;
        let homes: Vec<&Allocation> = feed.iter().map(|(id, _)| &plan.buffer(*id).allocation).collect();
        let shared = homes.iter().enumerate().any(|(at, home)| homes[..at].contains(home));
        (!shared).then_some(feed)
    }
}
