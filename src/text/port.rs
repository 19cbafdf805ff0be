//! Inputs and outputs by name, with the sizes that a model leaves open.

use crate::error::{Error, Result};
use crate::graph::{Dim, Graph, ValueId};
use crate::tensor::{DType, Tensor};

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub name: String,
    pub dtype: DType,
    /// The symbols of its axes, where they have some.
    pub symbols: Vec<Option<String>>,
    /// The sizes of its axes, where the model says them.
    pub sizes: Vec<Option<usize>>,
}

/// A size that a model says.
fn known(dim: &Dim) -> Option<usize> {
    if let Dim::Known(size) = dim { Some(*size) } else { None }
}

impl Port {
    pub fn of(graph: &Graph, id: ValueId) -> Self {
        let value = graph.value(id);
        let dims = Self::dims(graph, id);
        let symbol = |dim: &Dim| if let Dim::Symbol(symbol) = dim { Some(symbol.clone()) } else { None };
        Self {
            name: value.name.clone(),
            dtype: value.declared.as_ref().map_or(DType::F32, |declared| declared.dtype),
            symbols: dims.iter().map(symbol).collect(),
            sizes: dims.iter().map(known).collect(),
        }
    }

    /// A value's sizes, as far as the model declares them.
    pub fn dims(graph: &Graph, id: ValueId) -> Vec<Dim> {
        graph.value(id).declared.as_ref().and_then(|declared| declared.dims.clone()).unwrap_or_default()
    }

    /// The port, if it holds integers and has this rank or none that is said.
    pub fn of_integers(self, rank: usize) -> Result<Self> {
        let integers = [DType::I64, DType::I32].contains(&self.dtype);
        match integers && (self.symbols.is_empty() || self.symbols.len() == rank) {
            true => Ok(self),
            false => Err(Error::unsupported(format!(
                "found {} of rank {}; int64 or int32 of rank {rank} are known",
                self.dtype,
                self.symbols.len()
            ))
            .at_tensor(&self.name)),
        }
    }

    /// A tensor of integers for this input.
    pub fn integers(
        &self,
        shape: impl Into<Vec<usize>>,
        values: impl Iterator<Item = i64>,
    ) -> Result<Tensor> {
        if self.dtype == DType::I32 {
            return Tensor::new(shape, values.map(|value| value as i32).collect::<Vec<_>>());
        }
        Tensor::new(shape, values.collect::<Vec<_>>())
    }
}

/// Rows of the table that tokens are gathered from, where there is one.
pub(crate) fn embedding(graph: &Graph, ids: &str) -> Option<usize> {
    let ids = graph.find(ids)?;
    let of = |id: Option<ValueId>| graph.constant(id?);
    let gathers = graph.nodes.iter().filter(|node| node.op_type == "Gather");
    let mut tables = gathers.filter(|node| node.inputs.get(1) == Some(&Some(ids)));
    let table = tables.find_map(|node| of(*node.inputs.first()?))?;
    table.shape().first().copied()
}
