//! *Given* a node that changes nothing: an Identity, a Cast to the type that a value has, a Pad by nothing, a Where
//! whose condition is known and the same everywhere → *Result* its readers read what it read. The graph's outputs
//! stay what they are. A CastLike no longer reads the value whose type it takes.

use super::redirect;
use crate::base::Fact;
use crate::error::Result;
use crate::expression::table;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::pointwise::cast_like::CastLike;
use crate::ops::shape::pad::Pad;
use std::collections::HashMap;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    let mut changed = false;
    // What is another value, and which.
    let mut same: HashMap<ValueId, ValueId> = HashMap::new();
    for node in &mut graph.nodes {
        changed |= settled(node, facts);
        changed |= redirect(node, &same);
        same.extend(passed(node, facts).filter(|(result, _)| !graph.outputs.contains(result)));
    }
    Ok(changed)
}

/// Makes a CastLike a cast to the type that is known by now.
fn settled(node: &mut Node, facts: &[Option<Fact>]) -> bool {
    // By type: the rewrite makes another CastLike of it.
    let Some(&CastLike { to: None, saturate, round }) = node.op.downcast::<CastLike>() else { return false };
    let Some(to) = node
        .outputs
        .first()
        .copied()
        .flatten()
        .and_then(|id| facts.get(id.0 as usize)?.as_ref())
        .map(|fact| fact.dtype)
    else {
        return false;
    };
    node.op = Arc::new(CastLike { to: Some(to), saturate, round });
    node.inputs.truncate(1);
    true
}

/// Whether a node is a Pad of known lengths, all 0.
fn pads_nothing(node: &Node, facts: &[Option<Fact>]) -> bool {
    // By type: its lengths are an input.
    let lengths = node.op.downcast::<Pad>().and_then(|_| node.inputs.get(1).copied().flatten());
    let known = lengths.and_then(|id| facts.get(id.0 as usize)?.as_ref()?.value.as_ref()?.to_i64s().ok());
    known.is_some_and(|lengths| lengths.iter().all(|&length| length == 0))
}

/// A node's result and the value that it is.
fn passed(node: &Node, facts: &[Option<Fact>]) -> Option<(ValueId, ValueId)> {
    let fact = |id: ValueId| facts.get(id.0 as usize)?.as_ref();
    let &[Some(result)] = &node.outputs[..] else { return None };
    // By type: a cast, as the table's row is below.
    let cast = node.op.downcast::<CastLike>().is_some();
    let step = node
        .op
        .expression()
        .filter(|expression| expression.steps.len() == 1)
        .map(|expression| expression.steps[0].row);
    let from = match step {
        Some(row) if row == &table::IDENTITY || row == &table::CAST => node.inputs.first().copied()??,
        Some(row) if row == &table::WHERE && node.inputs.len() == 3 => {
            let condition = fact(node.inputs[0]?)?.value.as_ref()?.to_f64s().ok()?;
            let first = *condition.first()?;
            if condition.iter().any(|&other| other != first) {
                return None;
            }
            node.inputs[if first != 0.0 { 1 } else { 2 }]?
        }
        _ if cast || pads_nothing(node, facts) => node.inputs.first().copied()??,
        _ => return None,
    };
    let (x, y) = (fact(from)?, fact(result)?);
    (x.dtype == y.dtype && x.shape == y.shape).then_some((result, from))
}
