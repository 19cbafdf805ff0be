//! Lowering as a transaction: what a node's lowering added to the plan is taken back where it fails half done.

use super::planner::Builder;
use crate::base::Unsupported;

impl Builder {
    /// Does `work` on what a node starts with, no dispatch and no decision. Where it fails, the plan is what it was
    /// before: lowering only adds, so that everything behind the old ends goes.
    pub(super) fn transaction(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        let (buffers, steps) = (self.buffers.len(), self.steps.len());
        let (constants, copies, reports) = (self.constants.len(), self.copies.len(), self.reports.len());
        let inputs = self.inputs.len();
        self.dispatches.clear();
        self.decisions.clear();
        let done = work(self);
        if done.is_err() {
            self.buffers.truncate(buffers);
            self.steps.truncate(steps);
            self.constants.truncate(constants);
            self.copies.truncate(copies);
            self.reports.truncate(reports);
            self.inputs.truncate(inputs);
            self.dispatches.clear();
            self.decisions.clear();
            // What values had before and what they were given since are told apart by the buffer.
            self.parts.values_mut().for_each(|parts| parts.retain(|part| (part.0 as usize) < buffers));
            for located in self.located.values_mut() {
                located.view.take_if(|view| view.buffer.0 as usize >= buffers);
            }
        }
        done
    }
}
