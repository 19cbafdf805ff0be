//! *Given* `y = MatMul | Gemm; Reshape(y) → f(·, r)`, f elementwise, r of the Reshape's shape, nobody else
//! reading between → *Result* `f(y, Reshape(r)) → Reshape`: f then stands where [`super::residual`] finds it,
//! and the Reshapes cost a plan nothing.
//!
//! As a Reshape counts whatever leaves the elements in their order and the last axis whole: Flatten, Squeeze,
//! Unsqueeze, and a Transpose that moves axes of size 1. Between y and the Reshape there may be functions
//! that went this way before.

use super::search::Search;
use crate::base::Fact;
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::matrix::{gemm::Gemm, matmul::MatMul};
use crate::ops::shape::{reshape::Reshape, transpose::Transpose};
use crate::tensor::Tensor;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph, facts: &mut Vec<Option<Fact>>) -> Result<bool> {
    let mut changed = false;
    loop {
        // What has moved stands before another Reshape, perhaps, or has made room for the next function.
        let found = {
            let search = Search::new(graph, facts);
            (0..graph.nodes.len()).rev().find_map(|view| find(&search, view))
        };
        let Some(found) = found else { return Ok(changed) };
        found.apply(graph, facts);
        changed = true;
    }
}

/// A function that may go before a Reshape.
struct Move {
    view: usize,
    function: usize,
    /// What the Reshape reads and gives.
    values: [ValueId; 2],
    /// Their facts.
    facts: [Fact; 2],
    /// The function's input that is another tensor, and its result.
    residual: Option<usize>,
    output: ValueId,
}

fn find(search: &Search<'_>, view: usize) -> Option<Move> {
    let (y, result) = (search.input(view, 0)?, search.output(view)?);
    if !keeps_order(search, view) || search.uses(y) != 1 || !comes_of_product(search, y) {
        return None;
    }
    let (before, after) = (search.fact(y)?, search.fact(result)?);
    let function = search.reader(result)?;
    let (reader, output) = (&search.graph.nodes[function], search.output(function)?);
    let same = |fact: &Fact| fact.shape == after.shape && fact.dtype == after.dtype;
    let known = |id: Option<ValueId>| search.fact(id?);
    // What f reads: the result, numbers that broadcast to y's axes too, and tensors of the same shape, of
    // which an epilogue takes one.
    let number = |fact: &Fact| fact.count() == 1 && fact.rank() <= before.rank();
    let other = |id: Option<ValueId>| id != Some(result) && !known(id).is_some_and(number);
    let tensors: Vec<usize> = (0..reader.inputs.len()).filter(|&k| other(reader.inputs[k])).collect();
    let fits =
        same(search.fact(output)?) && tensors.iter().all(|&k| known(reader.inputs[k]).is_some_and(same));
    let worth = after.count() > 1 && after.value.is_none();
    let moves = reader.op.expression().is_some() && tensors.len() <= 1 && fits && worth;
    let residual = tensors.first().copied();
    moves.then(|| Move {
        view,
        function,
        values: [y, result],
        facts: [before.clone(), after.clone()],
        residual,
        output,
    })
}

impl Move {
    fn apply(self, graph: &mut Graph, facts: &mut Vec<Option<Fact>>) {
        let ([y, result], [before, after]) = (self.values, self.facts);
        let mut function = graph.nodes[self.function].clone();
        let view = graph.nodes[self.view].clone();
        let mut moved = vec![];
        for id in function.inputs.iter_mut().flatten().filter(|id| **id == result) {
            *id = y;
        }
        let name = format!("{}/Reshape", function.name);
        if let Some(input) = self.residual.and_then(|k| function.inputs[k].as_mut()) {
            let reshaped = add(graph, facts, &name, &before);
            moved.push(reshape(graph, facts, name, [std::mem::replace(input, reshaped), reshaped], &before));
        }
        let made = add(graph, facts, &format!("{}_before_Reshape", graph.value(self.output).name), &before);
        function.outputs = vec![Some(made)];
        // It keeps its name; its result is f's.
        moved.extend([
            function,
            Node { fused: view.fused, ..reshape(graph, facts, view.name, [made, self.output], &after) },
        ]);
        graph.nodes.splice(self.function..=self.function, moved);
        graph.nodes.remove(self.view);
    }
}

/// Whether a node only says what shape its elements have, the last axis staying whole.
fn keeps_order(search: &Search<'_>, node: usize) -> bool {
    let facts = || Some((search.fact(search.input(node, 0)?)?, search.fact(search.output(node)?)?));
    let Some((before, after)) = facts() else { return false };
    let order = |perm: &[i64]| {
        let moved: Vec<i64> = perm
            .iter()
            .copied()
            .filter(|&axis| before.shape.get(axis as usize).is_some_and(|&size| size != 1))
            .collect();
        moved.is_sorted()
    };
    let transposes =
        || search.operator::<Transpose>(node).and_then(|op| op.perm.as_deref()).is_some_and(order);
    let whole = before.shape.last().is_some() && before.shape.last() == after.shape.last();
    whole && (search.operator::<Reshape>(node).is_some() || transposes())
}

/// Whether a value is a product's, through functions and Reshapes of it that nobody else reads.
fn comes_of_product(search: &Search<'_>, value: ValueId) -> bool {
    let Some(node) = search.producer(value) else { return false };
    if search.operator::<MatMul>(node).is_some() || search.operator::<Gemm>(node).is_some() {
        return true;
    }
    let inputs = &search.graph.nodes[node].inputs;
    let function = search.graph.nodes[node].op.expression().is_some();
    let through =
        |from: ValueId| function || inputs.first() == Some(&Some(from)) && keeps_order(search, node);
    inputs
        .iter()
        .flatten()
        .any(|&from| search.uses(from) == 1 && through(from) && comes_of_product(search, from))
}

/// A new value with its fact. (There is a fact for each value: those of new ones follow in their order.)
fn add(graph: &mut Graph, facts: &mut Vec<Option<Fact>>, hint: &str, fact: &Fact) -> ValueId {
    facts.push(Some(Fact::new(fact.dtype, fact.shape.clone())));
    let name = graph.fresh_name(hint);
    graph.add_value(name, None, None)
}

/// A Reshape of one value to another, which has a fact's shape.
fn reshape(
    graph: &mut Graph,
    facts: &mut Vec<Option<Fact>>,
    name: String,
    [from, to]: [ValueId; 2],
    fact: &Fact,
) -> Node {
    let shape = Tensor::int64s(fact.shape.iter().map(|&size| size as i64));
    facts.push(Some(Fact::of(&shape)));
    let shape = graph.add_constant(&format!("{name}_shape"), shape);
    let op = Arc::new(Reshape::To { allow_zero: true });
    Node {
        name,
        op_type: "Reshape".into(),
        op,
        inputs: vec![Some(from), Some(shape)],
        outputs: vec![Some(to)],
        fused: vec![],
    }
}
