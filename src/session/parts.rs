//! The parts of a run one after the other, for who looks at each.

use super::bindings::{AnyTensor, Placed};
use super::segments::{Cut, value_of};
use super::{Prepared, Session};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::plan::Plan;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// The values of a graph that are on the host.
pub(crate) type HostValues = HashMap<ValueId, Tensor>;

/// What looks at the parts of a run.
pub(crate) trait LookAtParts {
    /// Runs the plan of a part for these values of its inputs; returns what it made.
    fn plan(&mut self, prepared: &Prepared, plan: &Arc<Plan>, inputs: &HostValues) -> Result<HostValues>;
    /// Is told of a node between two parts, and what it made.
    fn node(&mut self, between: &Between, made: &[Tensor]) -> Result<()>;
}

/// A node between two parts.
pub(crate) struct Between<'a> {
    session: &'a Session,
    cut: &'a Cut,
    /// A graph that has the values it reads and makes.
    pub(crate) graph: &'a Graph,
}

impl Between<'_> {
    pub(crate) fn node(&self) -> &Node {
        &self.cut.node
    }
    /// Why it runs on the CPU; `None` where its graphs run on the device.
    pub(crate) fn on_cpu(&self) -> Option<&str> {
        self.cut.on_cpu()
    }
    /// Runs it on other operands.
    pub(crate) fn run(&self, operands: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let inputs = operands.iter().map(|tensor| tensor.clone().map(AnyTensor::from)).collect();
        self.session.run_cut(self.cut, inputs)?.into_iter().map(AnyTensor::into_tensor).collect()
    }
}

impl Session {
    /// Runs what was prepared with everything between parts on the host; returns the outputs of its graph.
    pub(crate) fn run_looking(
        &self,
        prepared: &Prepared,
        graph: &Graph,
        inputs: &HostValues,
        look: &mut dyn LookAtParts,
    ) -> Result<HostValues> {
        if let Some(segments) = &prepared.segments {
            let mut values = inputs.clone();
            if let Some(first) = &segments.first {
                // By the id that they have in all parts.
                values.extend(self.run_looking(first, &segments.rest, inputs, look)?);
            }
            let rest = &segments.rest;
            for cut in &segments.cut {
                let here = |error: Error| rest.error_at(&cut.node, error);
                let between = Between { session: self, cut, graph: rest };
                let operand = |id: &Option<ValueId>| id.map(|id| value_of(rest, &values, id)).transpose();
                let operands =
                    cut.node.inputs.iter().map(operand).collect::<Result<Vec<_>>>().map_err(here)?;
                let made = between.run(&operands).map_err(here)?;
                look.node(&between, &made)?;
                let outputs = cut.node.outputs.iter().zip(made);
                values.extend(outputs.filter_map(|(id, tensor)| Some(((*id)?, tensor))));
            }
            let given: HostValues =
                rest.inputs.iter().filter_map(|id| Some((*id, values.get(id)?.clone()))).collect();
            let placed = Placed::of(given.clone());
            let after = self.prepare_in(rest, &segments.plans, placed.facts(), &|id| placed.fetch(id))?;
            values.extend(self.run_looking(&after, rest, &given, look)?);
            return Ok(values);
        }
        let Some(plan) = &prepared.plan else {
            let made = self.run_part(prepared, graph, &graph.outputs, &Placed::of(inputs.clone()))?;
            let made = made.into_iter().map(AnyTensor::into_tensor);
            return graph.outputs.iter().zip(made).map(|(id, tensor)| Ok((*id, tensor?))).collect();
        };
        let mut made = look.plan(prepared, plan, inputs)?;
        for id in &plan.graph.outputs {
            let known = || plan.facts.get(id.0 as usize)?.as_ref()?.value.clone();
            if !made.contains_key(id)
                && let Some(tensor) = inputs.get(id).cloned().or_else(known)
            {
                made.insert(*id, tensor);
            }
        }
        Ok(made)
    }
}
