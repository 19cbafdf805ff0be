//! Arrays of integers with coordinates, and a small graph around them.

use sardonyx::Tensor;
use sardonyx::graph::{Declared, Graph, Node, ValueId};
use sardonyx::ops::{Attribute, Input, NodeView, find};
use sardonyx::tensor::{DType, cast};
use std::collections::HashMap;

/// Every coordinate of a shape, the last axis fastest.
pub fn walk(shape: &[usize]) -> Vec<Vec<usize>> {
    let Some((&size, rest)) = shape.split_first() else { return vec![vec![]] };
    let inner = walk(rest);
    (0..size).flat_map(|at| inner.iter().map(move |behind| [&[at], &behind[..]].concat())).collect()
}

#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<i64>,
}

impl Array {
    pub fn build(shape: &[usize], element: impl FnMut(&Vec<usize>) -> i64) -> Self {
        Self { shape: shape.to_vec(), data: walk(shape).iter().map(element).collect() }
    }
    pub fn at(&self, coordinates: &[usize]) -> i64 {
        assert!(
            coordinates.len() == self.shape.len()
                && coordinates.iter().zip(&self.shape).all(|(at, size)| at < size)
        );
        self.data[coordinates.iter().zip(&self.shape).fold(0, |index, (at, size)| index * size + at)]
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    pub fn tensor(&self, dtype: DType) -> Tensor {
        cast(&Tensor::new(self.shape.clone(), self.data.clone()).unwrap(), dtype, true).unwrap()
    }
}

/// Where a node's input comes from.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    Absent,
    Tensor(usize),
    Step(usize),
}

#[derive(Debug, Clone)]
pub struct Step {
    pub op: &'static str,
    pub attributes: Vec<(&'static str, Attribute)>,
    pub inputs: Vec<Of>,
}

/// A small graph, what it is given, and what must come out of its last step.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Each with whether the model holds it.
    pub tensors: Vec<(Tensor, bool)>,
    pub steps: Vec<Step>,
    pub expected: Tensor,
}

impl Trial {
    pub fn new() -> Self {
        Self { tensors: vec![], steps: vec![], expected: Tensor::scalar(0f32) }
    }
    pub fn given(&mut self, tensor: Tensor) -> Of {
        self.tensors.push((tensor, false));
        Of::Tensor(self.tensors.len() - 1)
    }
    pub fn constant(&mut self, tensor: Tensor) -> Of {
        self.tensors.push((tensor, true));
        Of::Tensor(self.tensors.len() - 1)
    }
    pub fn step(
        &mut self,
        op: &'static str,
        attributes: Vec<(&'static str, Attribute)>,
        inputs: Vec<Of>,
    ) -> Of {
        self.steps.push(Step { op, attributes, inputs });
        Of::Step(self.steps.len() - 1)
    }

    /// The graph, and its inputs by name.
    pub fn build(&self) -> (Graph, Vec<(String, Tensor)>) {
        let mut graph = Graph::default();
        let mut names: HashMap<String, ValueId> = HashMap::new();
        let mut given = vec![];
        for (index, (tensor, constant)) in self.tensors.iter().enumerate() {
            let name = format!("x{index}");
            let id = graph.add_value(
                &name,
                Some(Declared { dtype: tensor.dtype(), dims: None }),
                constant.then(|| tensor.clone()),
            );
            names.insert(name.clone(), id);
            if !constant {
                graph.inputs.push(id);
                given.push((name, tensor.clone()));
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            let input = |of: &Of| match of {
                Of::Absent => Input::Absent,
                Of::Tensor(k) => Input::Named(format!("x{k}")),
                Of::Step(k) => Input::Named(format!("y{k}")),
            };
            let attributes =
                step.attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
            let name = format!("n{index}");
            let mut view =
                NodeView::new(&name, step.op, 24, attributes, step.inputs.iter().map(input).collect(), 1);
            let op = (find("", step.op).unwrap().parse)(&mut view).unwrap();
            let inputs = view.inputs.iter().map(|input| match input {
                Input::Absent => None,
                Input::Named(name) => Some(names[name]),
                Input::Constant(tensor) => Some(graph.add_constant("attribute", tensor.clone())),
            });
            let inputs = inputs.collect();
            let output = graph.add_value(format!("y{index}"), None, None);
            names.insert(format!("y{index}"), output);
            graph.nodes.push(Node {
                name,
                op_type: step.op.into(),
                op,
                inputs,
                outputs: vec![Some(output)],
                fused: vec![],
            });
            graph.outputs = vec![output];
        }
        graph.verify().unwrap();
        (graph, given)
    }
}
