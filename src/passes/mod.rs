//! Rewrites, one to a file, each with a picture of what it makes of what. The graph is verified after every
//! one.
//!
//! Those of [`at_load`] need no shapes and run once; those of [`with_shapes`] run when a plan is made.

mod attention;
mod batch_norm;
mod bodies;
mod common_subexpressions;
mod conv_bias;
pub mod dead_code;
mod elementwise_fusion;
mod epilogue_fusion;
mod fold_constants;
mod gelu;
mod identity_elimination;
mod if_inlining;
mod merged_products;
mod norm;
mod packed_weights;
mod quantized;
mod reshape;
mod residual;
mod rotary;
mod search;
mod shapes;

use crate::base::Fact;
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::graph::{Graph, Node, ValueId};
use std::collections::HashMap;

/// A rewrite without shapes: whether it changed the graph.
type Rewrite = fn(&mut Graph) -> Result<bool>;
/// A rewrite that reads shapes, and gives those of values that it adds.
type ShapedRewrite = fn(&mut Graph, &mut Vec<Option<Fact>>) -> Result<bool>;

/// The rewrites that run once, when a model is loaded: (name, rewrite).
pub const AT_LOAD: &[(&str, Rewrite)] = &[
    // Before what it reads is folded.
    ("packed_weights", packed_weights::rewrite),
    ("fold_constants", fold_constants::rewrite),
    ("bodies", bodies::rewrite),
    ("if_inlining", if_inlining::rewrite),
    ("batch_norm", batch_norm::rewrite),
    ("conv_bias", conv_bias::rewrite),
    ("epilogue_fusion", epilogue_fusion::rewrite),
    ("dead_code", dead_code::rewrite),
];

/// The rewrites that run once, before those at load, for a session on the CPU or on a GPU.
pub const FOR_THE_CPU: &[(&str, Rewrite)] = &[("quantized", quantized::rewrite)];
pub const FOR_A_GPU: &[(&str, Rewrite)] = &[("quantized_pairs", quantized::pairs::rewrite)];

/// The rewrites that run once, for plans alone: they make views of what the CPU would copy.
pub const FOR_PLANS: &[(&str, Rewrite)] = &[("merged_products", merged_products::rewrite)];

/// The rewrites that run when a plan is made.
pub const WITH_SHAPES: &[(&str, ShapedRewrite)] = &[
    ("if_inlining", if_inlining::with_shapes),
    ("shapes", |graph, facts| shapes::rewrite(graph, facts)),
    ("identity_elimination", |graph, facts| identity_elimination::rewrite(graph, facts)),
    ("common_subexpressions", |graph, _| common_subexpressions::rewrite(graph)),
    ("rotary", |graph, facts| rotary::rewrite(graph, facts)),
    ("attention", |graph, facts| attention::rewrite(graph, facts)),
    ("norm", |graph, facts| norm::rewrite(graph, facts)),
    ("gelu", |graph, facts| gelu::rewrite(graph, facts)),
    ("reshape", reshape::rewrite),
    ("residual", |graph, facts| residual::rewrite(graph, facts)),
    ("elementwise_fusion", |graph, facts| elementwise_fusion::rewrite(graph, facts)),
];

/// Runs the load-time rewrites.
pub fn at_load(graph: &mut Graph) -> Result<()> {
    run(graph, AT_LOAD)
}

/// Runs the rewrites that are for the CPU alone, or for a GPU alone, before those at load.
pub fn for_device(graph: &mut Graph, gpu: bool) -> Result<()> {
    run(graph, if gpu { FOR_A_GPU } else { FOR_THE_CPU })
}

/// Runs the rewrites that only plans are made of, after those at load.
pub fn for_plans(graph: &mut Graph) -> Result<()> {
    run(graph, FOR_PLANS)
}

fn run(graph: &mut Graph, rewrites: &[(&str, Rewrite)]) -> Result<()> {
    for (name, rewrite) in rewrites {
        rewrite(graph)?;
        check(graph, name)?;
    }
    Ok(())
}

/// Runs the first of the load-time rewrites alone.
pub(crate) fn fold_constants(graph: &mut Graph) -> Result<()> {
    fold_constants::rewrite(graph).map(|_| ())
}

/// Runs the planning-time rewrites. Facts are by value, and hold for the result: rewrites keep what values
/// mean. Returned are those of the values that were added, too; given may be facts of more values than there
/// are, as those of a finished plan.
pub fn with_shapes(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<Vec<Option<Fact>>> {
    let mut facts: Vec<Option<Fact>> = facts.iter().take(graph.values.len()).cloned().collect();
    for (name, rewrite) in WITH_SHAPES {
        if rewrite(graph, &mut facts)? {
            dead_code::rewrite(graph)?;
        }
        let added = graph.values.get(facts.len()..).unwrap_or_default();
        facts.extend(added.iter().map(|value| value.constant.as_ref().map(Fact::of)));
        check(graph, name)?;
    }
    Ok(facts)
}

fn check(graph: &Graph, name: &str) -> Result<()> {
    if cfg!(debug_assertions) {
        graph.verify().map_err(|error| Error::internal(format!("after the rewrite {name}: {error}")))
    } else {
        Ok(())
    }
}

/// Where a pattern begins: the only reader of a value, if it has just one and is no graph output.
fn only_reader(graph: &Graph, uses: &[usize], value: ValueId) -> Option<usize> {
    if uses[value.0 as usize] != 1 {
        return None;
    }
    graph.nodes.iter().position(|node| node.inputs.contains(&Some(value)))
}

/// Gives a node that carries an epilogue another one. Its further operands are inputs from 3 on.
pub(crate) fn set_epilogue(node: &mut Node, epilogue: Pointwise) {
    if let Some(op) = node.op.with_epilogue(epilogue) {
        node.op = op;
    }
}

/// Fuses node `outer`, which alone reads node `inner`'s result, into `inner`: `inner` takes over its output
/// and its history. The fused node stands where `outer` stood, so that everything it reads is ready.
fn fuse_into(graph: &mut Graph, inner: usize, outer: usize) {
    let last = graph.nodes[outer].clone();
    let mut node = graph.nodes[inner].clone();
    node.outputs = last.outputs;
    // A fused node goes by its last node; what came before is listed.
    node.fused.push((node.name.clone(), node.op_type.clone()));
    node.fused.extend(last.fused);
    node.name = last.name;
    graph.nodes[outer] = node;
    graph.nodes.remove(inner);
}

/// Has a node read other values in place of its inputs, where `same` names them; whether it did.
fn redirect(node: &mut Node, same: &HashMap<ValueId, ValueId>) -> bool {
    let mut changed = false;
    for input in node.inputs.iter_mut().flatten() {
        if let Some(&other) = same.get(input) {
            *input = other;
            changed = true;
        }
    }
    changed
}

/// A constant with one element, as a number.
fn scalar(graph: &Graph, value: Option<ValueId>) -> Option<f64> {
    let tensor = graph.constant(value?)?;
    if tensor.len() == 1 { tensor.to_f64s().ok()?.first().copied() } else { None }
}
