//! Plans that differ in lengths alone: one of them takes over the memory of another, so that what was made for
//! that (buffers, bind groups, pipelines) runs this one too. Only parameters, grids and small constants change
//! between runs.

use super::{Allocation, Constant, Plan, PlannedBuffer, Step, StepKind};
use crate::kernels::Dispatch;

/// Constants of up to so many bytes may differ: tables, and what was computed of sizes, such as the angles of a
/// position. They are written anew for each plan. Larger ones are weights, and the same tensor.
const SMALL_BYTES: usize = 1 << 16;

impl Plan {
    /// Takes over the memory of `base`: its slots, its external buffers and its parameters' offsets, where this
    /// plan has the same steps over the same buffers and none is larger. Otherwise it stays as it is, and
    /// this is false.
    pub fn adopt(&mut self, base: &Plan) -> bool {
        let fits = self.has_the_steps_of(base) && self.fits_into(base);
        if fits {
            self.slots.clone_from(&base.slots);
            self.externals.clone_from(&base.externals);
            for (own, other) in self.buffers.iter_mut().zip(&base.buffers) {
                own.allocation = other.allocation.clone();
            }
        }
        fits
    }

    /// Whether the plans do the same with buffers of the same numbers: they differ in sizes, parameters,
    /// grids and small constants at most.
    pub fn has_the_steps_of(&self, other: &Plan) -> bool {
        let difference = self.difference(other);
        if let Some(difference) = &difference {
            tracing::debug!("two plans differ in {difference}");
        }
        difference.is_none()
    }

    /// What keeps the plans from doing the same.
    fn difference(&self, other: &Plan) -> Option<String> {
        let part = |buffer: &PlannedBuffer| buffer.part.as_ref().map(|part| part.of);
        let kept = |buffer: &PlannedBuffer| match buffer.allocation {
            // Which slot follows from sizes.
            Allocation::Slot(_) => Allocation::Slot(0),
            ref other => other.clone(),
        };
        let counts = [
            ("inputs", self.inputs == other.inputs && self.by_value == other.by_value),
            ("outputs", self.outputs == other.outputs),
            ("placements", self.placements == other.placements),
            ("reports", self.reports.len() == other.reports.len()),
            ("the number of buffers", self.buffers.len() == other.buffers.len()),
            ("the number of constants", self.constants.len() == other.constants.len()),
            ("the number of steps", self.steps.len() == other.steps.len()),
            ("the length of the parameters", self.params.len() == other.params.len()),
        ];
        if let Some((what, _)) = counts.iter().find(|same| !same.1) {
            return Some(what.to_string());
        }
        let buffers = self
            .buffers
            .iter()
            .zip(&other.buffers)
            .find(|(a, b)| a.storage != b.storage || part(a) != part(b) || kept(a) != kept(b));
        let written = |a: &Constant, b: &Constant| a.storage == b.storage && a.is_small() && b.is_small();
        let constants = self.constants.iter().zip(&other.constants).find(|(a, b)| !a.is(b) && !written(a, b));
        let steps = self.steps.iter().zip(&other.steps).find(|(a, b)| !same_step(a, b));
        let buffer = buffers.map(|(buffer, _)| format!("the buffer '{}'", buffer.label));
        let constant = || constants.map(|(constant, _)| format!("the constant '{}'", constant.label));
        let step = || steps.map(|(step, _)| format!("the step '{}' ({})", step.label, step.op_type));
        buffer.or_else(constant).or_else(step)
    }

    /// Whether every buffer is at most as large as the other plan's slot for it.
    fn fits_into(&self, base: &Plan) -> bool {
        let room = |allocation: &Allocation| match allocation {
            Allocation::Slot(slot) => base.slots.get(*slot).copied(),
            Allocation::External(index) => base.externals.get(*index).copied(),
            Allocation::Constant(index) => base.constants.get(*index).map(|constant| constant.bytes),
            Allocation::Unassigned => Some(u64::MAX),
        };
        self.buffers
            .iter()
            .zip(&base.buffers)
            .all(|(own, other)| room(&other.allocation).is_some_and(|bytes| own.bytes() <= bytes))
    }
}

impl Constant {
    /// Whether two constants are the same elements in the same form. Tensors that only say the same are compared
    /// where they are small.
    pub fn is(&self, other: &Constant) -> bool {
        let form =
            self.packing == other.packing && self.layout == other.layout && self.storage == other.storage;
        let (a, b) = (&self.tensor, &other.tensor);
        let shape = a.dtype() == b.dtype() && a.shape() == b.shape();
        form && shape && (a.identity() == b.identity() || self.is_small() && a.bytes() == b.bytes())
    }

    /// Whether it may hold other elements for other sizes.
    fn is_small(&self) -> bool {
        self.tensor.bytes().len() <= SMALL_BYTES
    }
}

fn same_step(a: &Step, b: &Step) -> bool {
    let kinds = match (&a.kind, &b.kind) {
        (StepKind::Upload { value, to }, StepKind::Upload { value: other, to: there }) => {
            value == other && to == there
        }
        (StepKind::Download { from, value, .. }, StepKind::Download { from: there, value: other, .. }) => {
            from == there && value == other
        }
        (StepKind::Gpu { dispatches }, StepKind::Gpu { dispatches: others }) => {
            dispatches.len() == others.len()
                && dispatches.iter().zip(others).all(|(a, b)| same_dispatch(a, b))
        }
        (StepKind::Cpu { inputs, outputs, .. }, StepKind::Cpu { inputs: others, outputs: made, .. }) => {
            inputs == others && outputs == made
        }
        _ => false,
    };
    kinds && a.node == b.node && a.reads == b.reads && a.writes == b.writes
}

/// Whether two dispatches differ in their parameters and grid alone.
fn same_dispatch(a: &Dispatch, b: &Dispatch) -> bool {
    a.shader == b.shader
        && a.bindings == b.bindings
        && a.status == b.status
        && a.params_offset == b.params_offset
        && a.params.len() == b.params.len()
}
