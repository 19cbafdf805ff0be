//! A model that runs in parts: each part's plan step by step, as a plan that is the whole model is, and each
//! node between two parts as one step.

use super::arrange::Rows;
use super::comparator::{Comparator, Subject};
use super::reference::Values;
use crate::error::Result;
use crate::graph::Graph;
use crate::plan::{Placement, Plan};
use crate::session::{Between, HostValues, LookAtParts, Prepared};
use crate::tensor::Tensor;
use std::sync::Arc;

/// What was seen of the parts.
pub(super) struct Seen {
    pub(super) rows: Rows,
    /// The nodes of all parts, which the rows count. Values that one part alone has share ids with others'.
    pub(super) graph: Graph,
    /// Where each of these nodes ran.
    pub(super) placements: Vec<Placement>,
}

/// Looks at the parts.
struct Parts<'c, 'a> {
    comparator: &'c mut Comparator<'a>,
    seen: Seen,
    /// The ids below this are the same in all parts.
    shared: usize,
}

impl Comparator<'_> {
    /// Runs a model in parts, and each of their steps. Returns what was seen and the model's outputs.
    pub(super) fn in_parts(&mut self, prepared: &Prepared, inputs: &Values) -> Result<(Seen, Values)> {
        let session = self.session;
        let whole = session.planned();
        let graph = Graph { nodes: vec![], ..whole.clone() };
        let seen = Seen { rows: vec![], graph, placements: vec![] };
        let mut parts = Parts { comparator: self, seen, shared: whole.values.len() };
        let made = session.run_looking(prepared, whole, inputs, &mut parts)?;
        Ok((parts.seen, made))
    }
}

impl LookAtParts for Parts<'_, '_> {
    fn plan(&mut self, prepared: &Prepared, plan: &Arc<Plan>, inputs: &HostValues) -> Result<HostValues> {
        let Self { comparator, seen, shared } = self;
        let before = seen.graph.nodes.len();
        comparator.add_values(&plan.graph)?;
        let (rows, made) = comparator.plan(prepared, plan, inputs)?;
        comparator.forget_values(*shared);
        seen.rows.extend(rows.into_iter().map(|(node, row)| (node.map(|node| before + node), row)));
        seen.graph.nodes.extend(plan.graph.nodes.iter().cloned());
        seen.placements.extend(plan.placements.iter().cloned());
        seen.placements.resize(seen.graph.nodes.len(), Placement::Gpu);
        Ok(made)
    }

    fn node(&mut self, between: &Between, made: &[Tensor]) -> Result<()> {
        let Self { comparator, seen, .. } = self;
        let (node, graph) = (between.node(), between.graph);
        let alone = if comparator.options.per_node {
            between.run(&comparator.fed(&*node.op, &node.inputs, graph)?)?
        } else {
            vec![]
        };
        let placement = between.on_cpu().map_or(Placement::Gpu, |why| Placement::Cpu(why.to_string()));
        for (at, (value, cumulative)) in node.outputs.iter().zip(made).enumerate() {
            let Some(value) = *value else { continue };
            let subject =
                Subject { node: Some(node), label: &node.name, op: &node.op_type, value, graph, plan: None };
            let mut row = comparator.row(&subject, alone.get(at), Some(cumulative))?;
            row.ran_on = placement.name();
            seen.rows.push((Some(seen.graph.nodes.len()), row));
        }
        seen.graph.nodes.push(node.clone());
        seen.placements.push(placement);
        Ok(())
    }
}
