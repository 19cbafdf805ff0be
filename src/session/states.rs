//! States: outputs that are inputs of the next run, and may be made where these lie.

use super::plans::PlanCache;
use super::{Session, SessionBuilder};
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};

impl SessionBuilder {
    /// Errors where a state's input or output isn't there, or has a state already.
    pub(super) fn check_states(&self, graph: &Graph) -> Result<()> {
        (0..self.states.len()).try_for_each(|at| check(graph, &self.states[..at], &self.states[at]))
    }
}

/// Errors where one more state's input or output isn't there, or has a state already.
fn check(graph: &Graph, others: &[(String, String)], (past, present): &(String, String)) -> Result<()> {
    let there = |list: &[ValueId], name: &str, what: &str| {
        if list.iter().any(|&id| graph.value(id).name == name) {
            return Ok(());
        }
        let names: Vec<String> = list.iter().map(|&id| graph.value(id).name.clone()).collect();
        Err(Error::usage(format!("the model has no {what} of this name, which a state goes by"))
            .at_tensor(name)
            .remedy(format!("its {what}s are: {}", names.join(", "))))
    };
    there(&graph.inputs, past, "input")?;
    there(&graph.outputs, present, "output")?;
    match others.iter().find(|other| other.0 == *past || other.1 == *present) {
        Some(other) => Err(Error::usage(format!(
            "two states, {} = {} and {past} = {present}, share a name",
            other.0, other.1
        ))),
        None => Ok(()),
    }
}

impl Session {
    /// The same as [`SessionBuilder::state`], of a session that is there. Runs that were prepared before know
    /// nothing of it.
    ///
    /// Errors: a name that the model doesn't have, or that has a state already.
    pub fn set_state(&mut self, past: impl Into<String>, present: impl Into<String>) -> Result<()> {
        let state = (past.into(), present.into());
        check(&self.original, &self.options.states, &state)?;
        self.options.states.push(state);
        self.plans = PlanCache::default();
        Ok(())
    }

    /// The states whose input and output a graph has.
    pub(super) fn states_of(&self, graph: &Graph) -> Vec<(ValueId, ValueId)> {
        let find =
            |list: &[ValueId], name: &str| list.iter().copied().find(|&id| graph.value(id).name == name);
        let of = |(past, present): &(String, String)| {
            Some((find(&graph.inputs, past)?, find(&graph.outputs, present)?))
        };
        self.options.states.iter().filter_map(of).collect()
    }
}
