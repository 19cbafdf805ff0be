//! The end of planning: what nothing reads is dropped, and buffers and parameter blocks get their memory.

use super::planner::Builder;
use super::*;
use crate::error::{Error, Result, Setting};
use crate::graph::ValueId;
use crate::kernels::PARAMS_WINDOW;
use std::collections::{HashMap, HashSet};

impl Plan {
    /// The same with a buffer of its own for each of the activations.
    ///
    /// Errors: more memory than the budget allows.
    pub fn with_own_buffers(mut self, budget: u64) -> Result<Self> {
        self.slots.clear();
        for at in 0..self.buffers.len() {
            let buffer = &self.buffers[at];
            if matches!(buffer.allocation, Allocation::Slot(_)) && buffer.part.is_none() {
                self.slots.push(buffer.bytes());
                self.buffers[at].allocation = Allocation::Slot(self.slots.len() - 1);
            }
        }
        for at in 0..self.buffers.len() {
            if let Some(of) = self.buffers[at].part.as_ref().map(|part| part.of) {
                self.buffers[at].allocation = self.buffer(of).allocation.clone();
            }
        }
        let total = self.activation_bytes() + self.external_bytes() + self.constant_bytes();
        if total > budget {
            let message = format!(
                "the plan takes {total} bytes on the device without shared buffers; the budget is {budget}"
            );
            return Err(Error::memory(message).remedy("use a smaller input, or let buffers be shared"));
        }
        Ok(self)
    }

    /// The activation buffers that nothing reads after a step, and before one nothing has written: those whose
    /// last reader or writer of now it is.
    pub fn freed_after(&self, step: usize) -> Vec<usize> {
        let slots = |id: &BufferId| match self.buffer(*id).allocation {
            Allocation::Slot(slot) => Some(slot),
            _ => None,
        };
        let touched = |step: &Step, slot: usize| {
            step.reads.iter().chain(&step.writes).filter_map(slots).any(|other| other == slot)
        };
        let Some(now) = self.steps.get(step) else { return vec![] };
        let mut freed: Vec<usize> = now.reads.iter().chain(&now.writes).filter_map(slots).collect();
        freed.sort_unstable();
        freed.dedup();
        let is_freed = |slot: &usize| {
            let mut later = self.steps[step + 1..].iter().filter(|later| touched(later, *slot));
            // What comes next writes without reading: nothing of now is read any more.
            later.next().is_none_or(|next| {
                let reads = next.reads.iter().filter_map(slots).any(|other| other == *slot);
                let part =
                    next.writes.iter().any(|id| slots(id) == Some(*slot) && self.buffer(*id).part.is_some());
                !reads && !part
            })
        };
        freed.retain(is_freed);
        freed
    }
}

impl Builder {
    /// Keeps only the constants that a dispatch binds or that are outputs: a packed form often makes the plain
    /// one needless.
    fn drop_unread_constants(&mut self) {
        let mut read: HashSet<BufferId> =
            self.steps.iter().flat_map(|step| step.reads.iter().copied()).collect();
        read.extend(self.outputs.iter().map(|output| output.buffer));
        let mut kept = vec![];
        for (at, buffer) in self.buffers.iter_mut().enumerate() {
            if let Allocation::Constant(index) = buffer.allocation {
                buffer.allocation = Allocation::Unassigned;
                if read.contains(&BufferId(at as u32)) {
                    buffer.allocation = Allocation::Constant(kept.len());
                    kept.push(self.constants[index].clone());
                }
            }
        }
        self.constants = kept;
    }

    /// Takes the buffers of outputs out of the plan's own memory, whole where an output is a part: a caller may
    /// keep them. Returns the bytes of all that a run binds.
    fn take_out_outputs(&mut self) -> Vec<u64> {
        let mut bytes: Vec<u64> = self.inputs.iter().map(|input| self.buffer(input.buffer).bytes()).collect();
        for at in 0..self.outputs.len() {
            let whole = self.parent_of(self.outputs[at].buffer);
            let buffer = &mut self.buffers[whole.0 as usize];
            if buffer.allocation == Allocation::Unassigned {
                buffer.allocation = Allocation::External(bytes.len());
                bytes.push(buffer.bytes());
            }
        }
        bytes
    }

    /// Assigns memory and parameter offsets.
    pub(super) fn finish(mut self, placements: Vec<Placement>, by_value: Vec<ValueId>) -> Result<Plan> {
        self.drop_unread_constants();
        let externals = self.take_out_outputs();
        let mut spans: HashMap<BufferId, (usize, usize)> = HashMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            for &id in step.reads.iter().chain(&step.writes) {
                let span = spans.entry(self.parent_of(id)).or_insert((index, index));
                span.1 = index;
            }
        }
        let movable: Vec<(BufferId, Lifetime)> = (0..self.buffers.len() as u32)
            .map(BufferId)
            .filter(|id| {
                self.buffers[id.0 as usize].allocation == Allocation::Unassigned && self.parent_of(*id) == *id
            })
            .filter_map(|id| {
                spans.get(&id).map(|&(first, last)| {
                    (id, Lifetime { bytes: self.buffers[id.0 as usize].bytes(), first, last })
                })
            })
            .collect();
        let (slots, sizes) = assign(&movable.iter().map(|item| item.1).collect::<Vec<_>>());
        for ((id, _), slot) in movable.iter().zip(slots) {
            self.buffers[id.0 as usize].allocation = Allocation::Slot(slot);
        }
        for at in 0..self.buffers.len() {
            if let Some(of) = self.buffers[at].part.as_ref().map(|part| part.of) {
                self.buffers[at].allocation = self.buffer(of).allocation.clone();
            }
        }
        let constants = self.constants.iter().map(|constant| constant.bytes);
        let total: u64 = sizes.iter().chain(&externals).copied().chain(constants).sum();
        if total > self.capabilities.memory_budget {
            return Err(Error::memory(format!(
                "the plan takes {total} bytes on the device; the budget is {}",
                self.capabilities.memory_budget
            ))
            .remedy_by("use a smaller input, {} or {}", &[Setting::Float16, Setting::Cpu]));
        }
        let mut params = vec![];
        let align = self.capabilities.uniform_alignment.max(16) as usize;
        let count = self.steps.len();
        for step in &mut self.steps {
            if let StepKind::Gpu { dispatches } = &mut step.kind {
                for dispatch in dispatches {
                    dispatch.params_offset = params.len() as u32;
                    params.extend_from_slice(&dispatch.params);
                    // Offsets are u32.
                    let end = params
                        .len()
                        .checked_next_multiple_of(align)
                        .filter(|&end| u32::try_from(end).is_ok());
                    let end = end.ok_or_else(|| {
                        Error::memory(format!(
                            "the parameters of {count} steps, {align} bytes apart, exceed a buffer"
                        ))
                        .remedy_by("use {}, or another {} or driver", &[Setting::Cpu, Setting::Device])
                    })?;
                    params.resize(end, 0);
                }
            }
        }
        // The binding's window reaches this far beyond the last block's start.
        params.resize(params.len() + PARAMS_WINDOW, 0);
        Ok(Plan {
            graph: self.graph,
            buffers: self.buffers,
            steps: self.steps,
            inputs: self.inputs,
            outputs: self.outputs,
            slots: sizes,
            externals,
            constants: self.constants,
            params,
            facts: self.facts,
            placements,
            by_value,
            precision: self.precision,
            chosen: self.chosen,
            reports: self.reports,
        })
    }
}
