//! The invariants of [`Graph`], checked one by one; the list is in the module's documentation.

use super::{Dim, Graph, ValueId};
use crate::error::{Error, Result};
use std::collections::HashSet;

impl Graph {
    /// Checks every invariant; the error names the first that doesn't hold, with node and value.
    pub fn verify(&self) -> Result<()> {
        let exists = |id: &ValueId| (id.0 as usize) < self.values.len();
        let mut names = HashSet::new();
        for value in &self.values {
            if !names.insert(&value.name) {
                return Err(Error::model("two values have this name").at_tensor(&value.name));
            }
            if let (Some(constant), Some(declared)) = (&value.constant, &value.declared) {
                let dims = declared.dims.as_deref().unwrap_or(&[]);
                let agree = declared.dims.is_none()
                    || dims.len() == constant.rank()
                        && dims
                            .iter()
                            .zip(constant.shape())
                            .all(|(dim, size)| !matches!(dim, Dim::Known(known) if known != size));
                if !agree || declared.dtype != constant.dtype() {
                    return Err(Error::model(format!(
                        "declared as {declared}, but the constant is {}{:?}",
                        constant.dtype(),
                        constant.shape()
                    ))
                    .at_tensor(&value.name));
                }
            }
        }
        let mut ready: HashSet<ValueId> = self.inputs.iter().copied().collect();
        ready.extend((0..self.values.len() as u32).map(ValueId).filter(|&id| self.constant(id).is_some()));
        for node in &self.nodes {
            for id in node.inputs.iter().flatten() {
                if !exists(id) {
                    return Err(Error::internal(format!("value {} doesn't exist", id.0))
                        .at_node(&node.name)
                        .at_operator(&node.op_type));
                }
                if !ready.contains(id) {
                    return Err(Error::model("read before any node makes it")
                        .at_tensor(&self.value(*id).name)
                        .at_node(&node.name)
                        .at_operator(&node.op_type));
                }
            }
            for id in node.outputs.iter().flatten() {
                if !exists(id) || !ready.insert(*id) {
                    let name = self.values.get(id.0 as usize).map_or("?", |value| &value.name);
                    return Err(Error::model("made twice, or made though it is an input or a constant")
                        .at_tensor(name)
                        .at_node(&node.name)
                        .at_operator(&node.op_type));
                }
            }
        }
        match self.outputs.iter().find(|id| !ready.contains(id)) {
            Some(id) => Err(Error::model("a graph output that no node makes")
                .at_tensor(self.values.get(id.0 as usize).map_or("?", |value| &value.name))),
            None => Ok(()),
        }
    }
}
