//! Concats that are written in buffer: a part that nothing else reads is made where the whole lies, by the
//! kernel that makes it.
//!
//! Which values are such parts follows from the graph, before anything is lowered ([`shares`]). A node whose
//! kernel writes rows a step apart asks for its output as a [`Target`](crate::kernels::Target), and gets the
//! part of the whole. The first to do so brings the whole's buffer about, in its own layout; what is not in
//! it when the Concat's turn comes is copied then. A part is a buffer with a value of its own, whose buffer
//! is the whole's.

use super::planner::Builder;
use super::{Allocation, Plan, PlannedBuffer, decode, encode};
use crate::base::{BufferId, Fact, Layout, View};
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::kernels::Target;
use crate::tensor::Tensor;
use crate::tensor::index::{Odometer, axis, strides};
use std::collections::HashMap;

/// Where a buffer's contents lie in the buffer of another.
#[derive(Debug, Clone, PartialEq)]
pub struct SubBuffer {
    pub of: BufferId,
    /// Of each axis, in elements.
    pub strides: Vec<usize>,
    /// In elements.
    pub offset: usize,
    /// Bytes of the whole: what is bound.
    pub bytes: u64,
}

/// A value that only a Concat reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// The Concat's result.
    whole: ValueId,
    axis: usize,
    /// Where the part begins on the axis.
    start: usize,
}

/// The values that only a Concat reads, once, and that are computed when the plan runs.
pub(super) fn shares(graph: &Graph, facts: &[Option<Fact>]) -> HashMap<ValueId, Share> {
    let uses = graph.uses();
    let fact =
        |id: ValueId| facts.get(id.0 as usize).and_then(Option::as_ref).filter(|fact| fact.value.is_none());
    let mut found = HashMap::new();
    for node in &graph.nodes {
        let (Some(concat), &[Some(whole)]) = (node.op.concatenates(), &node.outputs[..]) else {
            continue;
        };
        let Some(axis) = fact(whole).and_then(|fact| axis(concat, fact.rank()).ok()) else { continue };
        let mut start = 0;
        for &part in node.inputs.iter().flatten() {
            let Some(size) =
                facts.get(part.0 as usize).and_then(Option::as_ref).and_then(|fact| fact.shape.get(axis))
            else {
                break;
            };
            if uses.get(part.0 as usize) == Some(&1) && fact(part).is_some_and(|fact| fact.count() > 0) {
                found.insert(part, Share { whole, axis, start });
            }
            start += size;
        }
    }
    found
}

impl Builder {
    /// The part of a Concat that a value is to be written into by a kernel that writes rows a step apart;
    /// `None` where it gets a buffer of its own: it is no such part, it begins within a group of 4, or the
    /// whole lies in another layout.
    pub(super) fn part(&mut self, value: ValueId, layout: Layout) -> Option<View> {
        let share = *self.shares.get(&value)?;
        let (fact, whole) = (self.fact(value)?.clone(), self.fact(share.whole)?.clone());
        let buffer = BufferId(self.buffers.len() as u32);
        let own = View::whole(buffer, layout, &whole.shape);
        let offset = share.start.checked_mul(usize::try_from(*own.strides.get(share.axis)?).ok()?)?;
        let mut view = View { shape: fact.shape.clone(), offset, ..own };
        if !offset.is_multiple_of(4) || Target::of(&view, layout).is_err() {
            return None;
        }
        let begun = self.located.get(&share.whole).and_then(|located| located.view.clone());
        let whole = match begun {
            Some(whole) => whole,
            None => {
                let whole = self.new_buffer(Some(share.whole), &whole, layout).ok()?;
                self.locate(share.whole, whole.clone());
                whole
            }
        };
        let buffer = self.buffer(whole.buffer);
        if buffer.layout != layout {
            return None;
        }
        let part = SubBuffer {
            of: whole.buffer,
            strides: layout.strides(&buffer.fact.shape),
            offset,
            bytes: buffer.bytes(),
        };
        let label = self.graph.value(value).name.clone();
        let buffer = PlannedBuffer {
            value: Some(value),
            label,
            fact: Fact::new(fact.dtype, fact.shape),
            allocation: Allocation::Unassigned,
            part: Some(part),
            ..buffer.clone()
        };
        view.buffer = BufferId(self.buffers.len() as u32);
        self.buffers.push(buffer);
        self.parts.entry(whole.buffer).or_default().push(view.buffer);
        Some(view)
    }

    /// The buffer whose buffer another lies in.
    pub(super) fn parent_of(&self, id: BufferId) -> BufferId {
        self.buffers.get(id.0 as usize).and_then(|buffer| buffer.part.as_ref()).map_or(id, |part| part.of)
    }

    /// The parts that lie in a buffer already.
    pub(super) fn parts_of(&self, whole: BufferId) -> &[BufferId] {
        self.parts.get(&whole).map_or(&[], Vec::as_slice)
    }
}

impl PlannedBuffer {
    /// The tensor that a buffer holds, from the bytes of its buffer.
    ///
    /// Errors: fewer bytes than it takes.
    pub fn decode(&self, bytes: &[u8]) -> Result<Tensor> {
        let (dtype, shape) = (self.fact.dtype, &self.fact.shape);
        let Some(part) = &self.part else { return decode(bytes, dtype, shape, self.layout, self.storage) };
        let size = self.storage.element_bytes();
        let mut dense = crate::tensor::zeros::<u8>(self.fact.count().saturating_mul(size))?;
        for (to, [from]) in dense.chunks_exact_mut(size).zip(Odometer::new(shape, [&part.strides])) {
            let from = (part.offset + from) * size;
            to.copy_from_slice(
                bytes
                    .get(from..from + size)
                    .ok_or_else(|| Error::internal("a buffer is shorter than its part"))?,
            );
        }
        decode(&dense, dtype, shape, Layout::Dense, self.storage)
    }

    /// Puts a tensor into the bytes of a buffer's buffer, and leaves what is no part of it as it is.
    ///
    /// Errors: fewer bytes than it takes; memory.
    pub fn encode_into(&self, tensor: &Tensor, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(part) = &self.part else {
            *bytes = encode(tensor, self.layout, self.storage)?;
            return Ok(());
        };
        let size = self.storage.element_bytes();
        let dense = encode(tensor, Layout::Dense, self.storage)?;
        for [from, to] in Odometer::new(tensor.shape(), [&strides(tensor.shape()), &part.strides]) {
            let (from, to) = (from * size, (part.offset + to) * size);
            let target = bytes
                .get_mut(to..to + size)
                .ok_or_else(|| Error::internal("a buffer is shorter than its part"))?;
            target.copy_from_slice(&dense[from..from + size]);
        }
        Ok(())
    }
}

impl Plan {
    /// The buffer whose buffer another lies in: itself, unless it is a part.
    pub fn parent_of(&self, id: BufferId) -> BufferId {
        self.buffer(id).part.as_ref().map_or(id, |part| part.of)
    }

    /// The buffers that are complete once a step has run, though none writes them: it makes the last of their
    /// parts.
    pub fn completed(&self, step: usize) -> Vec<BufferId> {
        let Some(written) = self.steps.get(step).map(|step| &step.writes) else { return vec![] };
        let mut wholes: Vec<BufferId> =
            written.iter().filter_map(|&id| self.buffer(id).part.as_ref()).map(|part| part.of).collect();
        wholes.sort();
        wholes.dedup();
        wholes.retain(|&whole| {
            let later = self
                .steps
                .iter()
                .skip(step + 1)
                .any(|later| later.writes.iter().any(|&id| self.parent_of(id) == whole));
            !later && !self.steps.iter().any(|step| step.writes.contains(&whole))
        });
        wholes
    }
}
