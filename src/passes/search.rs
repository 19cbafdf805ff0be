//! What rewrites of several nodes look at: who makes and who reads a value, what is a number, and the
//! exchange itself.

use super::epilogue_fusion::function_where;
use crate::base::Fact;
use crate::expression::{Pointwise, Row};
use crate::graph::{Graph, ValueId};
use crate::ops::Operator;
use std::collections::HashMap;
use std::sync::Arc;

/// A graph as it is, with what is known of its values.
pub struct Search<'a> {
    pub graph: &'a Graph,
    facts: &'a [Option<Fact>],
    uses: Vec<usize>,
    producers: HashMap<ValueId, usize>,
}

impl<'a> Search<'a> {
    pub fn new(graph: &'a Graph, facts: &'a [Option<Fact>]) -> Self {
        Self { graph, facts, uses: graph.uses(), producers: graph.producers() }
    }
    pub fn fact(&self, id: ValueId) -> Option<&Fact> {
        self.facts.get(id.0 as usize)?.as_ref()
    }
    /// A number that is known when the plan is made.
    pub fn number(&self, id: Option<ValueId>) -> Option<f64> {
        let value = self.graph.constant(id?).or_else(|| self.fact(id?)?.value.as_ref())?;
        if value.len() == 1 { value.to_f64s().ok()?.first().copied() } else { None }
    }
    /// A node's only output.
    pub fn output(&self, node: usize) -> Option<ValueId> {
        match self.graph.nodes[node].outputs[..] {
            [output] => output,
            _ => None,
        }
    }
    pub fn input(&self, node: usize, index: usize) -> Option<ValueId> {
        self.graph.nodes[node].inputs.get(index).copied().flatten()
    }
    pub fn operator<T: Operator>(&self, node: usize) -> Option<&T> {
        // By type: a pattern names its operators.
        self.graph.nodes[node].op.downcast::<T>()
    }
    pub fn producer(&self, value: ValueId) -> Option<usize> {
        self.producers.get(&value).copied()
    }
    /// How often a value is read, by nodes and as a graph output.
    pub fn uses(&self, value: ValueId) -> usize {
        self.uses[value.0 as usize]
    }
    /// The only reader of a value that is no graph output.
    pub fn reader(&self, value: ValueId) -> Option<usize> {
        super::only_reader(self.graph, &self.uses, value)
    }
    /// The nodes that read a value, each once.
    pub fn readers(&self, value: ValueId) -> Vec<usize> {
        (0..self.graph.nodes.len())
            .filter(|&node| self.graph.nodes[node].inputs.contains(&Some(value)))
            .collect()
    }
    /// The function of an elementwise node of one step.
    pub fn step(&self, node: usize) -> Option<&'static Row> {
        self.graph.nodes[node].op.expression().filter(|e| e.steps.len() == 1).map(|e| e.steps[0].row)
    }
    /// The other input of an elementwise node of two.
    pub fn other(&self, node: usize, value: ValueId) -> Option<ValueId> {
        match self.graph.nodes[node].inputs[..] {
            [Some(a), Some(b)] if a == value => Some(b),
            [Some(a), Some(b)] if b == value => Some(a),
            _ => None,
        }
    }
    /// A node's function of `value`, everything else that it reads being numbers.
    pub fn function(&self, node: usize, value: ValueId) -> Option<Pointwise> {
        function_where(self.graph, node, value, &|id| self.number(id))
    }
    /// The one input of an elementwise node that is no number.
    pub fn variable(&self, node: usize) -> Option<ValueId> {
        let mut variables = self.graph.nodes[node]
            .inputs
            .iter()
            .flatten()
            .copied()
            .filter(|&id| self.number(Some(id)).is_none());
        variables.next().filter(|_| variables.next().is_none())
    }
}

/// Nodes that become one.
pub struct Fusion {
    pub op: Arc<dyn Operator>,
    /// The ONNX operator that the node then goes by.
    pub op_type: &'static str,
    pub inputs: Vec<Option<ValueId>>,
    /// The nodes in order; the last one's output is the result, and nobody else reads what lies between.
    pub nodes: Vec<usize>,
}

impl Fusion {
    /// Puts the new node where the last of the old ones stood; returns the index behind it.
    pub fn apply(self, graph: &mut Graph) -> usize {
        let Some((&last, before)) = self.nodes.split_last() else { return graph.nodes.len() };
        let history = before.iter().flat_map(|&index| {
            let node = &graph.nodes[index];
            node.fused.iter().cloned().chain([(node.name.clone(), node.op_type.clone())])
        });
        let mut fused: Vec<(String, String)> = history.collect();
        let node = &mut graph.nodes[last];
        fused.append(&mut node.fused);
        (node.op, node.inputs, node.op_type, node.fused) = (self.op, self.inputs, self.op_type.into(), fused);
        let mut index = 0;
        graph.nodes.retain(|_| {
            index += 1;
            !before.contains(&(index - 1))
        });
        last + 1 - before.len()
    }
}

/// Runs a rewrite that begins its search at each node.
pub fn everywhere(
    graph: &mut Graph,
    facts: &[Option<Fact>],
    find: fn(&Search<'_>, usize) -> Option<Fusion>,
) -> bool {
    let (mut changed, mut index) = (false, 0);
    // What a search sees stays as it is until something was found.
    while index < graph.nodes.len() {
        let found = {
            let search = Search::new(graph, facts);
            (index..graph.nodes.len()).find_map(|node| find(&search, node))
        };
        let Some(found) = found else { break };
        // Nodes before the new one may have been left out; none behind it has been looked at, and none before
        // it is a beginning.
        index = found.nodes.iter().copied().min().unwrap_or(0);
        found.apply(graph);
        changed = true;
    }
    changed
}
