//! States: outputs that are inputs of the next run, and may be made where these lie.

use super::{Session, SessionBuilder};
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};

impl SessionBuilder {
    /// Errors where a state's input or output isn't there, or has a state already.
    pub(super) fn check_states(&self, graph: &Graph) -> Result<()> {
        for (at, (past, present)) in self.states.iter().enumerate() {
            let there = |list: &[ValueId], name: &str, what: &str| {
                let found = list.iter().any(|&id| graph.value(id).name == name);
                let names = || list.iter().map(|&id| graph.value(id).name.clone()).collect::<Vec<_>>();
                let error = || {
                    Error::usage(format!("the model has no {what} of this name, which a state goes by"))
                        .at_tensor(name)
                        .remedy(format!("its {what}s are: {}", names().join(", ")))
                };
                if found { Ok(()) } else { Err(error()) }
            };
            there(&graph.inputs, past, "input")?;
            there(&graph.outputs, present, "output")?;
            let twice = |other: &&(String, String)| other.0 == *past || other.1 == *present;
            if let Some(other) = self.states[..at].iter().find(twice) {
                return Err(Error::usage(format!(
                    "two states, {} = {} and {past} = {present}, share a name",
                    other.0, other.1
                )));
            }
        }
        Ok(())
    }
}

impl Session {
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
