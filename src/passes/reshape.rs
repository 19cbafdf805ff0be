//! *Given* `y = MatMul | Gemm; Reshape(y) → f(·, r)`, f elementwise, r of the Reshape's shape, nobody else reading between → *Result*
//! `f(y, Reshape(r)) → Reshape`: f then stands where [`super::residual`] finds it, and the Reshapes cost a plan nothing.
//!
//! As a Reshape counts whatever leaves the elements in their order and the last axis whole: Flatten, Squeeze, Unsqueeze, and a
//! Transpose that moves axes of size 1. Between y and the Reshape there may be functions that went this way before.

use super::{expression_of, only_reader};
use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::Fact;
use crate::ops::matrix::{gemm::Gemm, matmul::MatMul};
use crate::ops::shape::{reshape::Reshape, transpose::Transpose};
use crate::tensor::Tensor;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph, facts: &mut Vec<Option<Fact>>) -> Result<bool> {
    let mut changed = false;
    loop {
        let uses = graph.uses();
        // What has moved stands before another Reshape, perhaps, or has made room for the next function.
        if !(0..graph.nodes.len()).rev().any(|index| step(graph, index, &uses, facts)) {
            break;
        }
        changed = true;
    }
    Ok(changed)
}

/// Moves the function behind the Reshape at `index` before it; gives back whether it did.
fn step(graph: &mut Graph, index: usize, uses: &[usize], facts: &mut Vec<Option<Fact>>) -> bool {
    let known = |id: Option<ValueId>| facts.get(id?.0 as usize)?.as_ref();
    let view = &graph.nodes[index];
    let (Some(&Some(y)), &[Some(result)]) = (view.inputs.first(), &view.outputs[..]) else { return false };
    let (Some(before), Some(after)) = (known(Some(y)), known(Some(result))) else { return false };
    if !keeps_order(view, before, after) || uses[y.0 as usize] != 1 || !comes_of_product(graph, facts, y, uses) {
        return false;
    }
    let Some(outer) = only_reader(graph, uses, result) else { return false };
    let reader = &graph.nodes[outer];
    let &[Some(output)] = &reader.outputs[..] else { return false };
    let same = |fact: &Fact| fact.shape == after.shape && fact.dtype == after.dtype;
    // What f reads: the result, numbers that broadcast to y's axes too, and tensors of the same shape, of which an epilogue takes one.
    let number = |fact: &Fact| fact.count() == 1 && fact.rank() <= before.rank();
    let others = |id: &Option<ValueId>| *id != Some(result) && !known(*id).is_some_and(number);
    let tensors: Vec<usize> = (0..reader.inputs.len()).filter(|&k| others(&reader.inputs[k])).collect();
    let fits = known(Some(output)).is_some_and(same) && tensors.iter().all(|&k| known(reader.inputs[k]).is_some_and(same));
    if expression_of(reader).is_none() || tensors.len() > 1 || !fits || after.count() <= 1 || after.value.is_some() {
        return false;
    }

    let (before, after) = (before.clone(), after.clone());
    let mut function = reader.clone();
    let view = view.clone();
    let mut moved = vec![];
    for id in function.inputs.iter_mut().flatten().filter(|id| **id == result) {
        *id = y;
    }
    for k in tensors {
        let Some(residual) = function.inputs[k] else { return false };
        let name = format!("{}/Reshape", function.name);
        let reshaped = add(graph, facts, &name, &before);
        function.inputs[k] = Some(reshaped);
        moved.push(reshape(graph, facts, name, [residual, reshaped], &before));
    }
    let made = add(graph, facts, &format!("{}_before_Reshape", graph.value(output).name), &before);
    function.outputs = vec![Some(made)];
    // It keeps its name; its result is f's.
    moved.extend([function, Node { fused: view.fused, ..reshape(graph, facts, view.name, [made, output], &after) }]);
    graph.nodes.splice(outer..=outer, moved);
    graph.nodes.remove(index);
    true
}

/// Whether a node only says what shape its elements have, the last axis staying whole.
fn keeps_order(node: &Node, before: &Fact, after: &Fact) -> bool {
    let order = |perm: &[i64]| {
        let moved: Vec<i64> = perm.iter().copied().filter(|&axis| before.shape.get(axis as usize).is_some_and(|&size| size != 1)).collect();
        moved.is_sorted()
    };
    let transposes = || node.op.downcast::<Transpose>().and_then(|op| op.perm.as_deref()).is_some_and(order);
    let whole = before.shape.last().is_some() && before.shape.last() == after.shape.last();
    whole && (node.op.downcast::<Reshape>().is_some() || transposes())
}

/// Whether a value is a product's, through functions and Reshapes of it that nobody else reads.
fn comes_of_product(graph: &Graph, facts: &[Option<Fact>], value: ValueId, uses: &[usize]) -> bool {
    let Some(node) = graph.nodes.iter().find(|node| node.outputs.contains(&Some(value))) else { return false };
    if node.op.downcast::<MatMul>().is_some() || node.op.downcast::<Gemm>().is_some() {
        return true;
    }
    let fact = |id: ValueId| facts.get(id.0 as usize)?.as_ref();
    let view = |from| fact(from).zip(fact(value)).is_some_and(|(before, after)| keeps_order(node, before, after));
    let through = |from: ValueId| expression_of(node).is_some() || node.inputs.first() == Some(&Some(from)) && view(from);
    node.inputs.iter().flatten().any(|&from| uses[from.0 as usize] == 1 && through(from) && comes_of_product(graph, facts, from, uses))
}

/// A new value with its fact.
fn add(graph: &mut Graph, facts: &mut Vec<Option<Fact>>, hint: &str, fact: &Fact) -> ValueId {
    facts.resize(graph.values.len(), None);
    facts.push(Some(Fact::new(fact.dtype, fact.shape.clone())));
    let name = graph.fresh_name(hint);
    graph.add_value(name, None, None)
}

/// A Reshape of one value to another, which has a fact's shape.
fn reshape(graph: &mut Graph, facts: &mut Vec<Option<Fact>>, name: String, [from, to]: [ValueId; 2], fact: &Fact) -> Node {
    let shape = Tensor::int64s(fact.shape.iter().map(|&size| size as i64));
    facts.resize(graph.values.len(), None);
    facts.push(Some(Fact::of(&shape)));
    let shape = graph.add_constant(&format!("{name}_shape"), shape);
    let op = Arc::new(Reshape::To { allow_zero: true });
    Node { name, op_type: "Reshape".into(), op, inputs: vec![Some(from), Some(shape)], outputs: vec![Some(to)], fused: vec![] }
}
