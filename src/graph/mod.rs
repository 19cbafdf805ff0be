//! The intermediate representation: a list of nodes in topological order over values.
//!
//! What always holds ([`Graph::verify`] checks it after reading and after every pass, in debug builds and
//! tests):
//! - every id names an existing value;
//! - a value is produced by at most one node, and by none if it is an input or a constant;
//! - a node's inputs are inputs, constants or outputs of nodes before it;
//! - every graph output is an input, a constant or produced;
//! - no two values share a name;
//! - a declared shape of a constant is the constant's own.

mod verify;

use crate::error::Error;
use crate::ops::Operator;
use crate::tensor::{DType, Tensor};
use crate::value::ValueType;
use std::collections::HashMap;
use std::sync::Arc;

/// Names a value of one graph: what a session's inputs go by once they are matched by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A dimension as a model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// A fixed size.
    Known(usize),
    /// A size by name: the same wherever the name stands in the model's inputs.
    Symbol(String),
    /// Any size.
    Unknown,
}

/// What a model says of a value's type; `dims` is `None` where even the rank is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub dtype: DType,
    pub dims: Option<Vec<Dim>>,
}

impl std::fmt::Display for Declared {
    /// As in `float32[batch, 3, ?]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = |dim: &Dim| match dim {
            Dim::Known(size) => size.to_string(),
            Dim::Symbol(symbol) => symbol.escape_debug().to_string(),
            Dim::Unknown => "?".to_string(),
        };
        match &self.dims {
            Some(dims) => {
                write!(f, "{}[{}]", self.dtype, dims.iter().map(size).collect::<Vec<_>>().join(", "))
            }
            None => write!(f, "{} of any shape", self.dtype),
        }
    }
}

/// Something that a node reads or makes. It keeps its ONNX name for life.
#[derive(Debug, Clone)]
pub struct Value {
    pub name: String,
    pub declared: Option<Declared>,
    pub constant: Option<Tensor>,
    /// What the model says that it is, where that is no tensor.
    pub other: Option<ValueType>,
}

/// An application of an operator.
#[derive(Debug, Clone)]
pub struct Node {
    /// The ONNX name, or that of the first output.
    pub name: String,
    /// The ONNX operator; after a fusion, that of the node which gave its name, or the one that several nodes
    /// became.
    pub op_type: String,
    pub op: Arc<dyn Operator>,
    /// `None` is an optional input left out.
    pub inputs: Vec<Option<ValueId>>,
    /// `None` is an output that nobody reads.
    pub outputs: Vec<Option<ValueId>>,
    /// Nodes that were fused into this one: (name, operator), in order of execution, this one's own left out.
    pub fused: Vec<(String, String)>,
}

/// A computation: nodes over values, with inputs and outputs.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub name: String,
    pub values: Vec<Value>,
    pub nodes: Vec<Node>,
    /// The inputs that a caller gives; an initializer with a declared input is here only if it has no
    /// constant.
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// An error with the names of a node, its operator, and the tensor that is the input at fault, where that
    /// is known.
    pub(crate) fn error_at(&self, node: &Node, error: Error) -> Error {
        let at_fault = error.input_at_fault().and_then(|index| node.inputs.get(index).copied().flatten());
        let name = at_fault.and_then(|id| self.values.get(id.0 as usize)).map(|value| value.name.clone());
        let error = error.at_node(&node.name).at_operator(&node.op_type);
        match name {
            Some(name) => error.at_tensor(name),
            None => error,
        }
    }
    /// Adds a value. Names must be unique; `verify` says if they aren't.
    pub fn add_value(
        &mut self,
        name: impl Into<String>,
        declared: Option<Declared>,
        constant: Option<Tensor>,
    ) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(Value { name: name.into(), declared, constant, other: None });
        id
    }
    /// Adds a constant under a fresh name made from `hint`.
    pub fn add_constant(&mut self, hint: &str, tensor: Tensor) -> ValueId {
        let name = self.fresh_name(hint);
        self.add_value(name, None, Some(tensor))
    }
    /// A value name that is not taken.
    pub fn fresh_name(&self, hint: &str) -> String {
        let taken = |name: &str| self.values.iter().any(|value| value.name == name);
        if !taken(hint) {
            return hint.to_string();
        }
        (self.values.len()..).map(|n| format!("{hint}.{n}")).find(|name| !taken(name)).unwrap_or_default()
    }
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.value(id).constant.as_ref()
    }
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|value| value.name == name).map(|index| ValueId(index as u32))
    }
    /// The node that makes each value, by index.
    pub fn producers(&self) -> HashMap<ValueId, usize> {
        self.nodes
            .iter()
            .enumerate()
            .flat_map(|(index, node)| node.outputs.iter().flatten().map(move |&id| (id, index)))
            .collect()
    }
    /// How often each value is read, by nodes and as a graph output.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        for id in self.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&self.outputs) {
            uses[id.0 as usize] += 1;
        }
        uses
    }
    /// The number of elements in constants that nodes read: a model's parameters.
    pub fn parameter_count(&self) -> usize {
        let uses = self.uses();
        self.values
            .iter()
            .zip(uses)
            .filter(|(_, uses)| *uses > 0)
            .filter_map(|(value, _)| value.constant.as_ref())
            .map(Tensor::len)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_that_is_not_as_declared() {
        let mut graph = Graph::default();
        let id = graph.add_constant("w", Tensor::int64s([1, 2]));
        let dims = vec![Dim::Symbol("batch".into()), Dim::Unknown, Dim::Known(3)];
        graph.values[id.0 as usize].declared = Some(Declared { dtype: DType::F32, dims: Some(dims) });
        assert_eq!(
            graph.verify().unwrap_err().message(),
            "declared as float32[batch, ?, 3], but the constant is int64[2]"
        );
    }

    #[test]
    fn fresh_names_are_free() {
        let mut graph = Graph::default();
        graph.add_constant("w", Tensor::scalar(1f32));
        let second = graph.add_constant("w", Tensor::scalar(2f32));
        assert_ne!(graph.value(second).name, "w");
        graph.verify().unwrap();
    }
}
