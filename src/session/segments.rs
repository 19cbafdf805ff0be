//! Runs of a model in which shapes depend on data, or nodes hold graphs: what comes before such nodes is planned
//! as any graph, those nodes run, and the rest is planned by the shapes that came out.

use super::bindings::{AnyTensor, Placed};
use super::control_flow::Control;
use super::plans::{PlanCache, would_fall_back};
use super::{Prepared, Session};
use crate::cpu;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::plan::{Partial, Plan, mode_of};
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The parts of a run.
pub(super) struct Segments {
    /// What can be planned before a run; `None` where there is nothing to do.
    pub(super) first: Option<Arc<Prepared>>,
    /// What the first part makes for the others.
    handed_on: Vec<ValueId>,
    /// The nodes whose results' shapes only a run can know, and those with graphs that run apart.
    pub(super) cut: Vec<Cut>,
    /// The rest, and its plans for the shapes that came out so far.
    pub(super) rest: Graph,
    pub(super) plans: PlanCache,
}

/// A node between parts.
pub(super) struct Cut {
    pub(super) node: Node,
    /// What runs its graphs on the device; `None` where it runs on the CPU.
    control: Option<Arc<Control>>,
    /// Why it runs on the CPU, where it does.
    reason: String,
}

impl Cut {
    /// Why it runs on the CPU, as far as is known.
    pub(super) fn on_cpu(&self) -> Option<&str> {
        self.control.as_ref().map_or(Some(&*self.reason), |control| control.on_cpu.get().map(|why| &**why))
    }
    /// Whether the host reads this input.
    fn read_by_host(&self, index: usize) -> bool {
        self.control.as_ref().is_none_or(|control| control.read_by_host().contains(&index))
    }
}

impl Segments {
    /// Divides a graph: the graph of the first part, which is still to be planned, and all parts. `None` where
    /// one works on other values than tensors.
    pub(super) fn split(
        session: &Session,
        graph: &Graph,
        partial: &Partial,
    ) -> Result<Option<(Option<Graph>, Self)>> {
        let known =
            |node: &Node| node.outputs.iter().flatten().all(|id| partial.facts[id.0 as usize].is_some());
        let (mut first, mut cut, mut rest) = (vec![], vec![], vec![]);
        for (index, node) in graph.nodes.iter().enumerate() {
            let reason = partial.undecided.iter().find(|(at, _)| *at == index).map(|(_, reason)| reason);
            match reason {
                Some(reason) => {
                    let control = session.control(node).map_err(|error| graph.error_at(node, error))?;
                    let reason = format!("{reason}: the model runs in parts");
                    cut.push(Cut { node: node.clone(), control, reason });
                }
                None if known(node) => first.push(node.clone()),
                None => rest.push(node.clone()),
            }
        }
        let on_other_values = |node: &Node| node.op.on_values().is_some_and(|op| op.control_flow().is_none());
        if cut.iter().map(|cut| &cut.node).chain(&rest).any(on_other_values) {
            return Ok(None);
        }
        let made = |nodes: &[Node]| -> HashSet<ValueId> {
            nodes.iter().flat_map(|node| node.outputs.iter().flatten()).copied().collect()
        };
        let reads = |node: &Node| node.inputs.iter().flatten().copied().collect::<Vec<_>>();
        let (by_first, by_rest) = (made(&first), made(&rest));
        let later = cut.iter().map(|cut| &cut.node).chain(&rest);
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
        Ok(Some((first, Self { first: None, handed_on, cut, rest, plans: PlanCache::default() })))
    }

    /// The nodes that run on the CPU at every run, as far as is known: those of the rest, and of graphs in
    /// nodes, after a run alone.
    pub(super) fn fallbacks(&self) -> Vec<(String, String, String)> {
        let mut all: Vec<_> = self.first.iter().flat_map(|first| first.fallbacks()).collect();
        for cut in &self.cut {
            match cut.on_cpu() {
                Some(why) => all.push((cut.node.name.clone(), cut.node.op_type.clone(), why.to_string())),
                None => all.extend(cut.control.iter().flat_map(|control| control.fallbacks())),
            }
        }
        all.extend(self.plans.latest().iter().flat_map(|last| last.fallbacks()));
        all
    }

    /// The nodes between the parts, and why each runs on the CPU, if it does.
    pub(super) fn between(&self) -> impl Iterator<Item = (String, String, Option<String>)> {
        let told =
            |cut: &Cut| (cut.node.name.clone(), cut.node.op_type.clone(), cut.on_cpu().map(str::to_string));
        self.cut.iter().map(told)
    }

    /// The plan of the first part, and those of graphs in nodes and of the rest that ran last.
    pub(super) fn plans(&self) -> Vec<Arc<Plan>> {
        let first = self.first.iter().flat_map(|first| first.plans());
        let graphs = self.cut.iter().flat_map(|cut| &cut.control).flat_map(|control| control.plans());
        first.chain(graphs).chain(self.plans.latest().iter().flat_map(|last| last.plans())).collect()
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
            let (mut on_host, mut on_device) = (HashSet::new(), HashSet::new());
            for cut in &segments.cut {
                for (index, id) in cut.node.inputs.iter().enumerate() {
                    let reads = if cut.read_by_host(index) { &mut on_host } else { &mut on_device };
                    reads.extend(*id);
                }
            }
            on_device.extend(rest.inputs.iter().copied());
            let keep =
                |id: &&ValueId| on_device.contains(id) && !on_host.contains(id) || placed.keep.contains(id);
            let keep = segments.handed_on.iter().filter(keep).copied().collect();
            let made = self.run_part(first, rest, &segments.handed_on, &placed.keeping(keep))?;
            values.extend(segments.handed_on.iter().copied().zip(made));
        }
        for cut in &segments.cut {
            let input = |id: &Option<ValueId>| id.map(|id| value_of(rest, &values, id)).transpose();
            let inputs = cut.node.inputs.iter().map(input).collect::<Result<Vec<_>>>();
            let made = inputs.and_then(|inputs| self.run_cut(cut, inputs));
            let made = made.map_err(|error| rest.error_at(&cut.node, error))?;
            values.extend(cut.node.outputs.iter().zip(made).filter_map(|(id, value)| Some(((*id)?, value))));
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

    /// Runs a node between parts.
    pub(super) fn run_cut(&self, cut: &Cut, inputs: Vec<Option<AnyTensor>>) -> Result<Vec<AnyTensor>> {
        if let Some(control) = &cut.control {
            if let Some(made) = self.run_control(control, &inputs)? {
                return Ok(made);
            }
            if self.options.strict {
                return Err(would_fall_back(cut.on_cpu().unwrap_or_default()));
            }
        }
        let operands = inputs.into_iter().map(|value| value.map(AnyTensor::into_tensor).transpose());
        let operands = operands.collect::<Result<Vec<_>>>()?;
        let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
        let made = cpu::eval_step(&*cut.node.op, &operands, mode_of(self.precision()))?;
        Ok(made.into_iter().map(AnyTensor::from).collect())
    }
}

fn missing(graph: &Graph, id: ValueId) -> Error {
    Error::internal("a part of the model has not made this").at_tensor(&graph.value(id).name)
}

/// A value of a graph, as one of those that were made so far or a constant.
pub(super) fn value_of<T: Clone + From<Tensor>>(
    graph: &Graph,
    values: &HashMap<ValueId, T>,
    id: ValueId,
) -> Result<T> {
    match (values.get(&id), graph.constant(id)) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(constant)) => Ok(constant.clone().into()),
        (None, None) => Err(missing(graph, id)),
    }
}
