//! *Given* `Conv | MatMul | Gemm → f`, f an elementwise function of that result and of numbers alone, nobody
//! else reading between → *Result* one node with epilogue `f`.
//!
//! Also the gates that exporters write as two nodes: `y · Sigmoid(y)` becomes SiLU, `y · HardSigmoid(y)`
//! HardSwish; both read y, the contraction's result.

use super::{fuse_into, only_reader, scalar, set_epilogue};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::graph::{Graph, ValueId};

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        if gate(graph, index) || absorb(graph, index) {
            changed = true;
        } else {
            index += 1;
        }
    }
    Ok(changed)
}

/// The elementwise node's expression as a function of `value` alone, other operands being constants of one
/// element.
pub(super) fn function_of(graph: &Graph, node: usize, value: ValueId) -> Option<Pointwise> {
    function_where(graph, node, value, &|id| scalar(graph, id))
}

/// The same, with another opinion of what is a number.
pub(super) fn function_where(
    graph: &Graph,
    node: usize,
    value: ValueId,
    number: &dyn Fn(Option<ValueId>) -> Option<f64>,
) -> Option<Pointwise> {
    let node = &graph.nodes[node];
    let mut expression = node.op.expression()?.clone();
    let mut inputs = node.inputs.clone();
    if node.outputs.len() != 1 {
        return None;
    }
    for k in (0..inputs.len()).rev() {
        if inputs[k] != Some(value) {
            expression.bind(k, number(inputs[k])?);
            inputs.remove(k);
        }
    }
    for k in (1..inputs.len()).rev() {
        expression.merge_operands(k, 0);
    }
    // Types must stay: a Cast or a comparison ends a chain of floats. So does a constant that comes first in
    // typing.
    let float = expression
        .steps
        .iter()
        .all(|step| step.row.float.is_some() && step.row.result == table::Result_::Same);
    (float && !inputs.is_empty()).then_some(expression)
}

fn absorb(graph: &mut Graph, index: usize) -> bool {
    let Some(epilogue) = graph.nodes[index].op.epilogue().cloned() else { return false };
    let Some(result) = graph.nodes[index].outputs.first().copied().flatten() else { return false };
    let uses = graph.uses();
    // One reader that reads it once; a function that reads it twice counts two uses.
    let Some(outer) = only_reader(graph, &uses, result) else { return false };
    let Some(function) = function_of(graph, outer, result) else { return false };
    set_epilogue(&mut graph.nodes[index], epilogue.then(&function, 0));
    fuse_into(graph, index, outer);
    true
}

/// `y → g = Sigmoid(y) → y · g`: three uses in two nodes become one function of y.
fn gate(graph: &mut Graph, index: usize) -> bool {
    let Some(epilogue) = graph.nodes[index].op.epilogue().cloned() else { return false };
    let Some(y) = graph.nodes[index].outputs.first().copied().flatten() else { return false };
    let uses = graph.uses();
    if uses[y.0 as usize] != 2 || graph.outputs.contains(&y) {
        return false;
    }
    let readers: Vec<usize> =
        (0..graph.nodes.len()).filter(|&n| graph.nodes[n].inputs.contains(&Some(y))).collect();
    let &[first, second] = readers.as_slice() else { return false };
    let (sigmoid, product) = (&graph.nodes[first], &graph.nodes[second]);
    let Some(inner) = sigmoid.op.expression().filter(|e| e.steps.len() == 1 && e.operands == 1) else {
        return false;
    };
    let is_product = product
        .op
        .expression()
        .is_some_and(|e| e.steps.len() == 1 && e.steps[0].row == &table::MUL && e.operands == 2);
    let Some(g) = sigmoid.outputs.first().copied().flatten() else { return false };
    let both = product.inputs == [Some(y), Some(g)] || product.inputs == [Some(g), Some(y)];
    if !is_product || !both || uses[g.0 as usize] != 1 {
        return false;
    }
    let step = &inner.steps[0];
    let row = if step.row == &table::SIGMOID {
        &table::SILU
    } else if step.row == &table::HARD_SIGMOID
        && matches!(step.args[1..], [Arg::Const(a), Arg::Const(b)] if (a - 1.0 / 6.0).abs() < 1e-6 && b == 0.5)
    {
        &table::HARD_SWISH
    } else {
        return false;
    };
    let mut function = Pointwise { operands: 1, steps: vec![] };
    function.push(row, vec![Arg::Operand(0)]);
    let gate = (sigmoid.name.clone(), sigmoid.op_type.clone());
    set_epilogue(&mut graph.nodes[index], epilogue.then(&function, 0));
    fuse_into(graph, index, second);
    // The fused node now stands at second − 1; the gate's node is gone.
    graph.nodes[second - 1].fused.push(gate);
    graph.nodes.remove(first - 1);
    true
}
