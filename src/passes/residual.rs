//! *Given* `y = Conv | MatMul | Gemm; Add(y, r)`, or Sub or Mul (a gate's), of one shape, nobody else reading
//! y → *Result* one node with r as the epilogue's operand. *Given* `MatMul → Add(y, b)` with b `[n]` →
//! *Result* MatMul with a bias. Then functions of the sum alone are absorbed as in [`super::activation`].

use super::epilogue_fusion::function_of;
use super::{fuse_into, only_reader, set_epilogue};
use crate::base::Fact;
use crate::error::Result;
use crate::expression::table;
use crate::graph::{Graph, ValueId};

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        if step(graph, index, facts) {
            changed = true;
        } else {
            index += 1;
        }
    }
    Ok(changed)
}

fn step(graph: &mut Graph, index: usize, facts: &[Option<Fact>]) -> bool {
    let fact = |id: ValueId| facts.get(id.0 as usize).and_then(Option::as_ref);
    let node = &graph.nodes[index];
    let Some(epilogue) = node.op.epilogue().cloned() else { return false };
    let Some(result) = node.outputs.first().copied().flatten() else { return false };
    let uses = graph.uses();
    let Some(outer) = only_reader(graph, &uses, result) else { return false };
    if let Some(function) = function_of(graph, outer, result) {
        set_epilogue(&mut graph.nodes[index], epilogue.then(&function, 0));
        fuse_into(graph, index, outer);
        return true;
    }
    let reader = &graph.nodes[outer];
    let row =
        reader.op.expression().filter(|e| e.steps.len() == 1 && e.operands == 2).map(|e| e.steps[0].row);
    let takes = row.is_some_and(|row| [&table::ADD, &table::SUB, &table::MUL].contains(&row));
    let Some(other) = reader.inputs.iter().flatten().copied().find(|&id| id != result).filter(|_| takes)
    else {
        return false;
    };
    let (Some(y), Some(r)) = (fact(result), fact(other)) else { return false };
    if !y.dtype.is_float() || changes_type(&epilogue) {
        return false;
    }
    let n = y.shape.last().copied();
    // A product with a vector has one column: what is added along its result's last axis is no bias of columns.
    let column = node.inputs.get(1).copied().flatten().and_then(fact).is_some_and(|b| b.rank() < 2);
    let bias = !column
        && row == Some(&table::ADD)
        && r.shape.last().copied() == n
        && r.count() == n.unwrap_or(0)
        && r.value.is_some();
    if node.op.product().is_some_and(|product| !product.matrix_c)
        && epilogue.is_identity()
        && bias
        && node.inputs.len() == 2
        && y.rank() >= r.rank()
    {
        let flat = match (graph.constant(other), r.rank()) {
            (_, 1) => other,
            (Some(tensor), _) => match tensor.reshape([tensor.len()]) {
                Ok(tensor) => graph.add_constant("bias", tensor),
                Err(_) => return false,
            },
            _ => return false,
        };
        graph.nodes[index].inputs.push(Some(flat));
        fuse_into(graph, index, outer);
        return true;
    }
    // The operand must not come from behind this node: the fused node stands where its reader stood, so it
    // can't.
    let gemm_with_matrix = node.op.product().is_some_and(|product| product.matrix_c)
        && node.inputs.get(2).copied().flatten().and_then(fact).is_some_and(|c| c.count() != n.unwrap_or(0));
    if r.shape != y.shape || epilogue.operands > 1 || gemm_with_matrix || r.dtype != y.dtype {
        return false;
    }
    let Some(at) = reader.inputs.iter().position(|&id| id == Some(result)) else { return false };
    let function = reader.op.expression().cloned().unwrap_or_default();
    let node = &mut graph.nodes[index];
    node.inputs.resize(3, None);
    node.inputs.push(Some(other));
    set_epilogue(node, epilogue.then(&function, at));
    fuse_into(graph, index, outer);
    true
}

/// An epilogue that ends in another type takes no residual. (None does today: comparisons are not absorbed.)
fn changes_type(epilogue: &crate::expression::Pointwise) -> bool {
    epilogue.steps.iter().any(|step| step.row.result != table::Result_::Same)
}
