//! The planner's fault: a buffer handed on while a step still has to read it.

use super::fault::ReferenceValues;
use crate::base::BufferId;
use crate::error::Result;
use crate::plan::{self, Allocation, Plan, Step, StepKind};
use crate::tensor::{DType, cast};

/// A place whose buffer is taken by another one too early, and the first step that reads what is left.
struct Case {
    victim: BufferId,
    intruder: BufferId,
    reader: usize,
}

/// Plants it where `draw` says (given how many there are, which), and names the node that reads wrong data
/// first.
pub(super) fn plant(
    plan: &mut Plan,
    seen: &ReferenceValues,
    mut draw: impl FnMut(usize) -> usize,
) -> Result<Option<String>> {
    let mut cases = cases(plan);
    while !cases.is_empty() {
        let case = cases.swap_remove(draw(cases.len()));
        if !case.shows(plan, seen)? {
            continue;
        }
        let home = plan.buffer(case.victim).allocation.clone();
        let bytes = plan.buffer(case.intruder).bytes();
        if let Allocation::Slot(slot) = home {
            plan.slots[slot] = plan.slots[slot].max(bytes);
        }
        plan.buffers[case.intruder.0 as usize].allocation = home;
        return Ok(Some(plan.steps[case.reader].label.clone()));
    }
    Ok(None)
}

fn touched(step: &Step) -> impl Iterator<Item = BufferId> {
    step.reads.iter().chain(&step.writes).copied()
}

fn cases(plan: &Plan) -> Vec<Case> {
    let slot = |id: BufferId| {
        if let Allocation::Slot(slot) = plan.buffer(id).allocation { Some(slot) } else { None }
    };
    // A part goes where its whole goes, and is written with it.
    let places: Vec<BufferId> = (0..plan.buffers.len() as u32)
        .map(BufferId)
        .filter(|&id| slot(id).is_some() && plan.parent_of(id) == id)
        .collect();
    let written_by = |id: BufferId| {
        move |(_, step): &(usize, &Step)| step.writes.iter().any(|&written| plan.parent_of(written) == id)
    };
    let writers = |id: BufferId| plan.steps.iter().enumerate().filter(written_by(id)).map(|(index, _)| index);
    let has_parts: std::collections::HashSet<BufferId> =
        plan.buffers.iter().filter_map(|place| place.part.as_ref()).map(|part| part.of).collect();
    let mut found = vec![];
    for &victim in &places {
        let Some(written) = writers(victim).max() else { continue };
        for &intruder in &places {
            if intruder == victim
                || has_parts.contains(&intruder)
                || slot(intruder) == slot(victim)
                || writers(intruder).count() != 1
            {
                continue;
            }
            let Some(step) = writers(intruder).next().filter(|&step| step > written) else { continue };
            if !matches!(plan.steps[step].kind, StepKind::Gpu { .. })
                || plan.steps[step].reads.contains(&victim)
            {
                continue;
            }
            let reader = plan
                .steps
                .iter()
                .enumerate()
                .skip(step + 1)
                .find(|(_, later)| later.reads.contains(&victim))
                .map(|(index, _)| index);
            let Some(reader) = reader else { continue };
            // No other step may bind the buffer twice: that would be another fault. The reader itself may
            // read both.
            let twice = |index: usize, step: &Step| {
                let others =
                    touched(step).any(|id| id != victim && id != intruder && slot(id) == slot(victim));
                others || step.reads.contains(&victim) && (index != reader || step.writes.contains(&intruder))
            };
            let clash = plan
                .steps
                .iter()
                .enumerate()
                .any(|(index, step)| touched(step).any(|id| id == intruder) && twice(index, step));
            let read = &plan.steps[reader];
            let measured = matches!(read.kind, StepKind::Gpu { .. })
                && read.op_type != "copy"
                && read.writes.iter().any(|&id| plan.buffer(id).value.is_some());
            if !clash && measured {
                found.push(Case { victim, intruder, reader });
            }
        }
    }
    found
}

impl Case {
    /// Whether the reader's result would be seen to be wrong.
    fn shows(&self, plan: &Plan, seen: &ReferenceValues) -> Result<bool> {
        let step = &plan.steps[self.reader];
        let (victim, intruder) = (plan.buffer(self.victim), plan.buffer(self.intruder));
        let Some(node) = step.node.and_then(|node| plan.graph.nodes.get(node)) else { return Ok(false) };
        let Some(value) = victim.value else { return Ok(false) };
        let (Some(index), Some(other)) =
            (node.inputs.iter().position(|&id| id == Some(value)), intruder.value)
        else {
            return Ok(false);
        };
        // What a kernel makes of a truth that is neither 0 nor 1 is its own affair.
        if victim.fact.dtype == DType::Bool && intruder.fact.dtype != DType::Bool {
            return Ok(false);
        }
        let bytes_of = |place: &plan::PlannedBuffer, value| -> Result<Option<Vec<u8>>> {
            let Some(tensor) = seen.values.get(&value) else { return Ok(None) };
            let mut bytes = vec![];
            place.encode_into(
                &cast(tensor, place.fact.dtype, true)?.reshape(place.fact.shape.clone())?,
                &mut bytes,
            )?;
            Ok(Some(bytes))
        };
        let (Some(mut bytes), Some(over)) = (bytes_of(victim, value)?, bytes_of(intruder, other)?) else {
            return Ok(false);
        };
        let common = bytes.len().min(over.len());
        bytes[..common].copy_from_slice(&over[..common]);
        let wrong = victim.decode(&bytes)?;
        let wrong = if wrong.dtype().is_float() { cast(&wrong, DType::F64, true)? } else { wrong };
        let shape = seen
            .operands(plan, node)?
            .get(index)
            .and_then(Option::as_ref)
            .map(|input| input.value.shape().to_vec())
            .unwrap_or_default();
        seen.shows(plan, node, index, wrong.reshape(shape)?, true)
    }
}
