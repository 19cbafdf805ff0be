//! *Given* a node whose inputs are all constants → *Result* its outputs as constants.
//!
//! Results much larger than what they come from (an Expand, a Range) are left to the plan; quantised weights
//! become floats of four times their size.

use crate::base::EvalPrecision;
use crate::cpu;
use crate::error::Result;
use crate::graph::Graph;

const FREE_BYTES: usize = 1 << 20;
/// How many times larger a result may be: float32 of int8.
const GROWTH: usize = 4;

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let before = graph.nodes.len();
    let mut kept = vec![];
    for node in std::mem::take(&mut graph.nodes) {
        let operands: Vec<_> = node.inputs.iter().map(|id| id.map(|id| graph.constant(id))).collect();
        let all_known = operands.iter().flatten().all(Option::is_some);
        if !all_known || node.op.is_random() {
            kept.push(node);
            continue;
        }
        let operands: Vec<_> = operands.iter().map(|operand| operand.flatten()).collect();
        let facts: Vec<_> = operands.iter().map(|operand| operand.map(crate::base::Fact::of)).collect();
        let refs: Vec<_> = facts.iter().map(Option::as_ref).collect();
        let given: usize = operands.iter().flatten().map(|tensor| tensor.bytes().len()).sum();
        let modest = crate::plan::infer_node(&node, &refs).is_ok_and(|results| {
            results.iter().all(|fact| {
                crate::tensor::element_count(&fact.shape).is_ok_and(|count| {
                    count.saturating_mul(fact.dtype.size()) <= FREE_BYTES.max(given.saturating_mul(GROWTH))
                })
            })
        });
        // What can't be computed here is reported where the model is run, with its shapes.
        let results =
            if modest { cpu::eval_node(&*node.op, &operands, EvalPrecision::Declared).ok() } else { None };
        match results {
            Some(results) if results.len() >= node.outputs.len() => {
                for (id, tensor) in node.outputs.iter().zip(results) {
                    if let Some(id) = id {
                        let value = &mut graph.values[id.0 as usize];
                        (value.constant, value.declared) = (Some(tensor), None);
                    }
                }
            }
            _ => kept.push(node),
        }
    }
    graph.nodes = kept;
    Ok(graph.nodes.len() != before)
}
