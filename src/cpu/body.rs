//! A graph that a node holds, as the CPU runs it.

use super::inference::{Inference, infer};
use super::program::Program;
use super::weights::Weights;
use crate::base::{EvalPrecision, Fact, Infer};
use crate::error::{Error, Result};
use crate::graph::{Dim, Graph};
use crate::ops::Body;
use crate::tensor::DType;
use crate::value::Value;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A graph and what runs it, made at the first run.
pub struct GraphBody {
    graph: Arc<Graph>,
    program: OnceLock<Result<Program>>,
}

impl GraphBody {
    pub fn new(graph: Graph) -> Self {
        Self { graph: Arc::new(graph), program: OnceLock::new() }
    }
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }
}

/// The graph that a body is; `None` for one of another kind, which only its own functions know.
pub fn graph_of(body: &dyn Body) -> Option<&Arc<Graph>> {
    // By type: operators lie below graphs, so that the trait can't name them.
    body.downcast::<GraphBody>().map(GraphBody::graph)
}

/// Everything that is known of a graph's values where its inputs are these.
pub fn infer_all(graph: &Graph, inputs: &[Fact]) -> Result<Vec<Option<Fact>>, Infer> {
    check_count(graph, inputs.len())?;
    let given = graph.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
    match infer(graph, &given)? {
        Inference::Complete(facts) => Ok(facts),
        Inference::NeedsInputs(ids) => {
            let index = ids.iter().find_map(|id| graph.inputs.iter().position(|input| input == id));
            Err(index.map_or_else(|| Error::internal("no input is needed").into(), Infer::NeedsValue))
        }
        Inference::DependsOnData { node, op_type, reason } => {
            Err(Infer::DependsOnData(format!("in its graph, at node '{node}' ({op_type}): {reason}")))
        }
    }
}

fn check_count(graph: &Graph, given: usize) -> Result<()> {
    if given == graph.inputs.len() {
        return Ok(());
    }
    Err(Error::internal(format!("a graph of {} inputs was given {given}", graph.inputs.len())))
}

impl fmt::Debug for GraphBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GraphBody('{}', {} nodes)", self.graph.name, self.graph.nodes.len())
    }
}

impl Body for GraphBody {
    fn inputs(&self) -> usize {
        self.graph.inputs.len()
    }
    fn outputs(&self) -> usize {
        self.graph.outputs.len()
    }
    fn input_rank(&self, index: usize) -> Option<usize> {
        let declared = self.graph.value(*self.graph.inputs.get(index)?).declared.as_ref()?;
        declared.dims.as_ref().map(Vec::len)
    }
    fn declared(&self, output: usize) -> Option<(DType, Vec<usize>)> {
        let declared = self.graph.value(*self.graph.outputs.get(output)?).declared.as_ref()?;
        let size = |dim: &Dim| if let Dim::Known(size) = dim { *size } else { 0 };
        Some((declared.dtype, declared.dims.iter().flatten().map(size).collect()))
    }
    fn eval(&self, inputs: Vec<Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        check_count(&self.graph, inputs.len())?;
        if mode != EvalPrecision::Declared {
            let given = self.graph.inputs.iter().copied().zip(inputs).collect();
            return super::run_values(&self.graph, &given, mode, &mut |_, _| {});
        }
        let make = || Program::new((*self.graph).clone(), None, false, &Weights::default());
        match self.program.get_or_init(make) {
            Ok(program) => program.run_inside(inputs),
            Err(error) => Err(error.clone()),
        }
    }
    fn infer(&self, inputs: &[Fact]) -> Result<Vec<Fact>, Infer> {
        let facts = infer_all(&self.graph, inputs)?;
        let output = |id: &crate::graph::ValueId| {
            facts.get(id.0 as usize).cloned().flatten().ok_or_else(|| {
                Error::internal("an output has no type").at_tensor(&self.graph.value(*id).name)
            })
        };
        Ok(self.graph.outputs.iter().map(output).collect::<Result<_>>()?)
    }
    fn is_random(&self) -> bool {
        self.graph.nodes.iter().any(|node| node.op.is_random())
    }
    fn on_tensors_alone(&self) -> bool {
        let graphs = |node: &crate::graph::Node| {
            node.op.on_values().is_none_or(|op| {
                !op.bodies().is_empty() && op.bodies().iter().all(|body| body.on_tensors_alone())
            })
        };
        self.graph.values.iter().all(|value| value.other.is_none()) && self.graph.nodes.iter().all(graphs)
    }
}
