//! States: inputs that a run may write over, to make an output where the input lies. A cache of keys and
//! values grows by a row a run, and nothing of it is copied.

use super::planner::Builder;
use crate::base::View;
use crate::graph::ValueId;

impl Builder {
    /// The whole of a state's buffer, where `read` shows it and nothing but the one reader of `read` ever
    /// reads it: what is written there is seen by nobody who wants what was.
    pub(super) fn state_read_once(&mut self, past: ValueId, read: ValueId) -> Option<View> {
        let uses = self.graph.uses();
        let once = |value: ValueId| uses.get(value.0 as usize) == Some(&1);
        // What lies between only looks at it: a pad by nothing, for one.
        let mut value = read;
        while value != past {
            let maker = self.graph.nodes.iter().find(|node| node.outputs.contains(&Some(value)))?;
            let from = maker.inputs.first().copied().flatten()?;
            if !once(value) || self.view(value).ok()? != self.view(from).ok()? {
                return None;
            }
            value = from;
        }
        let view = self.view(past).ok()?;
        let whole = View::whole(view.buffer, self.buffer(view.buffer).layout, &view.shape) == view;
        let bound = self.inputs.iter().any(|input| input.value == past && input.buffer == view.buffer);
        (once(past) && whole && bound && !self.graph.outputs.contains(&past)).then_some(view)
    }
}
