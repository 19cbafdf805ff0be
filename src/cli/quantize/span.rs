//! A part of a graph: what makes one value of some others.

use sardonyx::base::EvalPrecision;
use sardonyx::error::Result;
use sardonyx::graph::Graph;
use sardonyx::{Tensor, ValueId, cpu};
use std::collections::{HashMap, HashSet};

/// The nodes between given values and a result, in their order, and what they need of constants alone.
pub struct Span<'a> {
    graph: &'a Graph,
    nodes: Vec<usize>,
    from: Vec<ValueId>,
    to: ValueId,
    fixed: HashMap<ValueId, Tensor>,
}

impl<'a> Span<'a> {
    /// The span from values to one. `None`: it takes more than these.
    pub fn new(graph: &'a Graph, from: Vec<ValueId>, to: ValueId) -> Result<Option<Self>> {
        let makers = graph.producers();
        let mut nodes: HashSet<usize> = HashSet::new();
        let (mut open, mut seen) = (vec![to], HashSet::new());
        while let Some(value) = open.pop() {
            if from.contains(&value) || graph.constant(value).is_some() || !seen.insert(value) {
                continue;
            }
            let Some(&node) = makers.get(&value) else { return Ok(None) };
            nodes.insert(node);
            open.extend(graph.nodes[node].inputs.iter().flatten());
        }
        let mut nodes: Vec<usize> = nodes.into_iter().collect();
        nodes.sort_unstable();
        let mut span = Self { graph, nodes: vec![], from, to, fixed: HashMap::new() };
        let mut varying: HashSet<ValueId> = span.from.iter().copied().collect();
        for at in nodes {
            let node = &graph.nodes[at];
            if node.inputs.iter().flatten().any(|id| varying.contains(id)) {
                varying.extend(node.outputs.iter().flatten());
                span.nodes.push(at);
            } else {
                let mut made = span.fixed.clone();
                span.step(at, &mut made)?;
                span.fixed = made;
            }
        }
        Ok(Some(span))
    }

    fn step(&self, at: usize, values: &mut HashMap<ValueId, Tensor>) -> Result<()> {
        let node = &self.graph.nodes[at];
        let operand = |id: &Option<ValueId>| id.and_then(|id| values.get(&id).or(self.graph.constant(id)));
        let operands: Vec<Option<&Tensor>> = node.inputs.iter().map(operand).collect();
        let made = cpu::eval_node(&*node.op, &operands, EvalPrecision::Declared)
            .map_err(|error| error.at_node(&node.name).at_operator(&node.op_type))?;
        values.extend(node.outputs.iter().zip(made).filter_map(|(id, made)| Some(((*id)?, made))));
        Ok(())
    }

    /// The result of these values. `None`: it is one of them, or a constant.
    pub fn run(&self, given: &[Tensor]) -> Result<Option<Tensor>> {
        let mut values = self.fixed.clone();
        values.extend(self.from.iter().copied().zip(given.iter().cloned()));
        for &at in &self.nodes {
            self.step(at, &mut values)?;
        }
        Ok(values.remove(&self.to))
    }
}
