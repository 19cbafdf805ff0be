//! *Given* elementwise nodes `f → g`, f's result of g's shape and read by g alone → *Result* one node `g ∘
//! f`: one dispatch instead of two, and nothing stored between.

use super::only_reader;
use crate::base::Fact;
use crate::error::Result;
use crate::expression::to_wgsl;
use crate::graph::Graph;
use crate::kernels::pointwise::MAX_OPERANDS;
use crate::ops::pointwise::Elementwise;
use std::sync::Arc;

/// A longer expression would compile slowly and spill registers.
const MAX_STEPS: usize = 32;

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        if merge(graph, index, facts) {
            changed = true;
        } else {
            index += 1;
        }
    }
    Ok(changed)
}

fn merge(graph: &mut Graph, index: usize, facts: &[Option<Fact>]) -> bool {
    let fact = |id| facts.get::<usize>(id).and_then(Option::as_ref);
    let inner = &graph.nodes[index];
    let (Some(f), Some(result)) = (inner.op.expression(), inner.outputs.first().copied().flatten()) else {
        return false;
    };
    let uses = graph.uses();
    let Some(outer) = only_reader(graph, &uses, result) else { return false };
    let node = &graph.nodes[outer];
    let (Some(g), Some(out)) = (node.op.expression(), node.outputs.first().copied().flatten()) else {
        return false;
    };
    let (Some(a), Some(b)) = (fact(result.0 as usize), fact(out.0 as usize)) else { return false };
    // What the plan computes by itself stays apart; so does a result that is broadcast, which would be
    // computed again.
    if a.shape != b.shape
        || a.value.is_some()
        || f.steps.len() + g.steps.len() > MAX_STEPS
        || f.is_identity()
        || g.is_identity()
    {
        return false;
    }
    let Some(at) = node.inputs.iter().position(|&id| id == Some(result)) else { return false };
    let mut expression = f.then(g, at);
    let mut inputs = inner.inputs.clone();
    inputs.extend(node.inputs.iter().enumerate().filter(|(k, _)| *k != at).map(|(_, &id)| id));
    // The same value twice is one operand; a constant of one element none.
    let mut k = 0;
    while k < inputs.len() {
        if let Some(first) = inputs[..k].iter().position(|id| *id == inputs[k]) {
            expression.merge_operands(k, first);
            inputs.remove(k);
        } else {
            k += 1;
        }
    }
    let types: Option<Vec<_>> =
        inputs.iter().map(|id| id.and_then(|id| fact(id.0 as usize)).map(|fact| fact.dtype)).collect();
    // Both must have a GPU form, or one that has none would take the other to the CPU.
    let emits = types.is_some_and(|types| to_wgsl("pointwise", &expression, &types).is_ok());
    if inputs.len() > MAX_OPERANDS || !emits {
        return false;
    }
    let mut fused = graph.nodes[outer].clone();
    let first = &graph.nodes[index];
    let mut history = first.fused.clone();
    history.push((first.name.clone(), first.op_type.clone()));
    history.extend(fused.fused);
    (fused.fused, fused.inputs, fused.op) = (history, inputs, Arc::new(Elementwise { expression }));
    graph.nodes[outer] = fused;
    graph.nodes.remove(index);
    true
}
