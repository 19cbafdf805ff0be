//! Runs of a model in which shapes depend on data: what comes before the nodes that decide them is planned as
//! any graph, those nodes run on the CPU, and the rest is planned by the shapes that came out.

use super::bindings::{AnyTensor, Placed};
use super::plans::PlanCache;
use super::{Prepared, Session};
use crate::cpu;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::plan::{Partial, Plan, mode_of};
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

/// The parts of a run.
pub(super) struct Segments {
    /// What can be planned before a run; `None` where there is nothing to do.
    pub(super) first: Option<Arc<Prepared>>,
    /// What the first part makes for the others.
    handed_on: Vec<ValueId>,
    /// The nodes whose results' shapes only a run can know, and why.
    cut: Vec<(Node, String)>,
    /// The rest, and its plans for the shapes that came out so far.
    rest: Graph,
    plans: PlanCache,
}

impl Segments {
    /// Divides a graph: the graph of the first part, which is still to be planned, and all parts. `None` where
    /// one works on other values than tensors.
    pub(super) fn split(graph: &Graph, partial: &Partial) -> Option<(Option<Graph>, Self)> {
        let known =
            |node: &Node| node.outputs.iter().flatten().all(|id| partial.facts[id.0 as usize].is_some());
        let (mut first, mut cut, mut rest) = (vec![], vec![], vec![]);
        for (index, node) in graph.nodes.iter().enumerate() {
            let reason = partial.undecided.iter().find(|(at, _)| *at == index).map(|(_, reason)| reason);
            match reason {
                Some(reason) => cut.push((node.clone(), format!("{reason}: the model runs in parts"))),
                None if known(node) => first.push(node.clone()),
                None => rest.push(node.clone()),
            }
        }
        if cut.iter().map(|(node, _)| node).chain(&rest).any(|node| node.op.on_values().is_some()) {
            return None;
        }
        let made = |nodes: &[Node]| -> HashSet<ValueId> {
            nodes.iter().flat_map(|node| node.outputs.iter().flatten()).copied().collect()
        };
        let reads = |node: &Node| node.inputs.iter().flatten().copied().collect::<Vec<_>>();
        let (by_first, by_rest) = (made(&first), made(&rest));
        let later = cut.iter().map(|(node, _)| node).chain(&rest);
        let mut handed_on: Vec<ValueId> =
            later.flat_map(reads).chain(graph.outputs.iter().copied()).collect();
        handed_on.retain(|id| by_first.contains(id));
        handed_on.sort();
        handed_on.dedup();
        let mut inputs: Vec<ValueId> = rest.iter().flat_map(reads).collect();
        inputs.retain(|id| !by_rest.contains(id) && graph.constant(*id).is_none());
        inputs.sort();
        inputs.dedup();
        let outputs = graph.outputs.iter().copied().filter(|id| by_rest.contains(id)).collect();
        let part = |nodes: Vec<Node>, inputs: Vec<ValueId>, outputs: Vec<ValueId>| Graph {
            name: graph.name.clone(),
            values: graph.values.clone(),
            nodes,
            inputs,
            outputs,
        };
        let first = (!handed_on.is_empty()).then(|| part(first, graph.inputs.clone(), handed_on.clone()));
        let rest = part(rest, inputs, outputs);
        Some((first, Self { first: None, handed_on, cut, rest, plans: PlanCache::default() }))
    }

    /// The nodes that run on the CPU at every run, as far as is known: those of the rest after a run alone.
    pub(super) fn fallbacks(&self) -> Vec<(String, String, String)> {
        let cut = self.cut.iter();
        let cut = cut.map(|(node, reason)| (node.name.clone(), node.op_type.clone(), reason.clone()));
        let first = self.first.iter().flat_map(|first| first.fallbacks());
        first.chain(cut).chain(self.last().iter().flat_map(|last| last.fallbacks())).collect()
    }

    /// The plan of the first part, and those of the rest that ran last.
    pub(super) fn plans(&self) -> Vec<Arc<Plan>> {
        let first = self.first.iter().flat_map(|first| first.plans());
        first.chain(self.last().iter().flat_map(|last| last.plans())).collect()
    }

    fn last(&self) -> Option<Arc<Prepared>> {
        self.plans.plans.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }
}

impl Session {
    /// Runs the parts one after the other; returns the values of these ids.
    pub(super) fn run_segments(
        &self,
        segments: &Segments,
        ids: &[ValueId],
        placed: &Placed,
    ) -> Result<Vec<AnyTensor>> {
        let rest = &segments.rest;
        let mut values: HashMap<ValueId, AnyTensor> = placed.values();
        if let Some(first) = &segments.first {
            // What the device alone reads stays there.
            let on_host: HashSet<ValueId> =
                segments.cut.iter().flat_map(|(node, _)| node.inputs.iter().flatten().copied()).collect();
            let keep =
                |id: &&ValueId| rest.inputs.contains(id) && !on_host.contains(id) || placed.keep.contains(id);
            let keep = segments.handed_on.iter().filter(keep).copied().collect();
            let made = self.run_part(first, rest, &segments.handed_on, &placed.keeping(keep))?;
            values.extend(segments.handed_on.iter().copied().zip(made));
        }
        for (node, _) in &segments.cut {
            let here = |error: Error| rest.error_at(node, error);
            let mut operands: Vec<Option<Tensor>> = vec![];
            for id in &node.inputs {
                operands.push(id.map(|id| host_value(rest, &values, id)).transpose().map_err(here)?);
            }
            let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
            let results = cpu::eval_step(&*node.op, &operands, mode_of(self.precision())).map_err(here)?;
            let made = node.outputs.iter().zip(results);
            values.extend(made.filter_map(|(id, tensor)| Some(((*id)?, tensor.into()))));
        }
        let mut given = HashMap::new();
        for &id in &rest.inputs {
            let value = values.get(&id).cloned();
            given.insert(id, value.ok_or_else(|| missing(rest, id))?);
        }
        let given = Placed::from_values(given, placed.keep.clone())?;
        let prepared = self.prepare_in(rest, &segments.plans, given.facts(), &|id| given.fetch(id))?;
        let made = self.run_part(&prepared, rest, &rest.outputs, &given)?;
        values.extend(rest.outputs.iter().copied().zip(made));
        let output = |&id: &ValueId| match (values.get(&id), rest.constant(id)) {
            (Some(value), _) if placed.keep.contains(&id) => Ok(value.clone()),
            (Some(value), _) => value.clone().into_tensor().map(AnyTensor::from),
            (None, Some(constant)) => Ok(constant.clone().into()),
            (None, None) => Err(missing(rest, id)),
        };
        ids.iter().map(output).collect()
    }
}

fn missing(graph: &Graph, id: ValueId) -> Error {
    Error::internal("a part of the model has not made this").at_tensor(&graph.value(id).name)
}

/// A value on the host, copied there if need be.
fn host_value(graph: &Graph, values: &HashMap<ValueId, AnyTensor>, id: ValueId) -> Result<Tensor> {
    match (values.get(&id), graph.constant(id)) {
        (Some(value), _) => value.clone().into_tensor(),
        (None, Some(constant)) => Ok(constant.clone()),
        (None, None) => Err(missing(graph, id)),
    }
}
