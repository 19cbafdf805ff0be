//! What a step made, held to what it may be off by.

use super::C;
use super::bounds::{Input, Made, allowed, exact, unit, widened};
use super::measure::{Allowed, Measure, measure};
use super::reference::Values;
use super::report::{FirstDifferent, NodeRow};
use super::run::Options;
use super::winograd;
use crate::cpu;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::Mode;
use crate::plan::Plan;
use crate::session::Session;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;

pub(super) struct Judge<'a> {
    pub(super) session: &'a Session,
    pub(super) options: &'a Options,
    pub(super) oracle: Values,
    pub(super) declared: Values,
    /// The CPU at the session's precision.
    pub(super) same: Values,
    pub(super) reference: Values,
    /// The largest cumulative tolerance of each value: (fixed, scaled).
    pub(super) tolerances: HashMap<ValueId, (f64, f64)>,
    /// What the graph's outputs are held to, where a step writes them.
    pub(super) outputs: HashMap<ValueId, Allowed>,
    /// The first failures.
    pub(super) local: Option<FirstDifferent>,
    pub(super) cumulative: Option<FirstDifferent>,
}

impl Judge<'_> {
    /// A value in a set of values, or a constant of the graph.
    pub(super) fn value(&self, all: &Values, id: ValueId, graph: &Graph, mode: Mode) -> Result<Tensor> {
        if let Some(tensor) = all.get(&id) {
            return Ok(tensor.clone());
        }
        let constant = graph.values.get(id.0 as usize).and_then(|value| value.constant.as_ref());
        cpu::held(constant.ok_or_else(|| Error::internal(format!("the reference lacks value {}", id.0)))?, mode)
    }

    /// The type that the model declares for a value.
    pub(super) fn dtype(&self, id: ValueId, graph: &Graph) -> DType {
        let constant = || graph.values.get(id.0 as usize).and_then(|value| value.constant.as_ref());
        self.declared.get(&id).or_else(constant).map_or(DType::F32, Tensor::dtype)
    }

    /// How far two sets of values lie apart at one value, at most.
    pub(super) fn distance(&self, a: &Values, b: &Values, id: ValueId) -> Result<f64> {
        let (Some(a), Some(b)) = (a.get(&id), b.get(&id)) else { return Ok(0.0) };
        let (a, b) = (a.to_f64s()?, b.to_f64s()?);
        Ok(a.iter().zip(&b).map(|(a, b)| (a - b).abs()).filter(|d| d.is_finite()).fold(0.0, f64::max))
    }

    /// Measures what a step made of one value.
    pub(super) fn row(&mut self, subject: &Subject, local: Option<&Tensor>, cumulative: Option<&Tensor>) -> Result<NodeRow> {
        let here = |error: Error| error.at_node(subject.label).at_operator(subject.op);
        let name = subject.graph.value(subject.value).name.clone();
        let want = self.reference.get(&subject.value).cloned().ok_or_else(|| Error::internal("the reference lacks a value").at_tensor(&name)).map_err(here)?;
        let dtype = self.dtype(subject.value, subject.graph);
        let numbers = want.to_f64s()?;
        let half = unit(dtype, self.session.precision()) == super::UNIT_F16;
        let derived = self.derive(subject, &numbers, dtype, false).map_err(here)?;
        let local = local.map(|tensor| self.measure(tensor, &numbers, &derived, half)).transpose()?;
        // Beside the step's own error, what the CPU at the same precision accumulates.
        let mut along = if dtype.is_float() { derived } else { self.derive(subject, &numbers, dtype, true).map_err(here)? };
        if dtype.is_float() {
            let (mine, own) = (self.distance(&self.same, &self.oracle, subject.value)?, self.distance(&self.reference, &self.oracle, subject.value)?);
            along.fixed.iter_mut().for_each(|fixed| *fixed += own);
            along.scaled.iter_mut().for_each(|scaled| *scaled += mine);
            along.formula = format!("c·|cpu − oracle| + {}", along.formula);
        }
        let most = |list: &[f64]| list.iter().copied().filter(|x| x.is_finite()).fold(0.0, f64::max);
        self.tolerances.insert(subject.value, (most(&along.fixed), most(&along.scaled)));
        let cumulative = cumulative.map(|tensor| self.measure(tensor, &numbers, &along, half)).transpose()?;
        if self.session.original().outputs.contains(&subject.value) {
            self.outputs.insert(subject.value, along);
        }
        let different = || Some(FirstDifferent { node: subject.label.to_string(), op: subject.op.to_string(), output: name.clone() });
        if local.as_ref().is_some_and(|measure| !measure.same) && self.local.is_none() {
            self.local = different();
        }
        if cumulative.as_ref().is_some_and(|measure| !measure.same) && self.cumulative.is_none() {
            self.cumulative = different();
        }
        let same = local.iter().chain(&cumulative).all(|measure| measure.same);
        let fused = subject.node.map(|node| node.fused.iter().map(|(name, _)| name.clone()).collect()).unwrap_or_default();
        let (node, op) = (subject.label.to_string(), subject.op.to_string());
        Ok(NodeRow { node, op, output: name, ran_on: "gpu", fused_into: None, fused, kernels: vec![], local, cumulative, same })
    }

    pub(super) fn measure(&self, got: &Tensor, want: &[f64], derived: &Allowed, half: bool) -> Result<Measure> {
        let stated = self.options.tolerance.map(|(rtol, atol)| Allowed {
            fixed: want.iter().map(|x| atol + rtol * x.abs()).collect(),
            scaled: vec![0.0; want.len()],
            formula: format!("{atol} + {rtol}·|reference|"),
        });
        Ok(measure(&got.to_f64s()?, want, stated.as_ref().unwrap_or(derived), half))
    }

    /// The step's tolerance. `apart`: its inputs may already lie apart by their cumulative tolerances.
    fn derive(&self, subject: &Subject, want: &[f64], dtype: DType, apart: bool) -> Result<Allowed> {
        let precision = self.session.precision();
        let store = unit(dtype, precision);
        let own = self.options.reference.own(dtype);
        let Some(node) = subject.node else {
            let value = Input {
                value: Tensor::new([0], Vec::<f64>::new())?,
                unit: store,
                apart: if apart { self.tolerance(subject.value, subject.graph) } else { 0.0 },
            };
            return Ok(exact(&[Some(value)], want));
        };
        let input = |id: ValueId| -> Result<Input> {
            let value = widened(&self.value(&self.reference, id, subject.graph, Mode::Oracle)?)?;
            // What a rewrite folded is fed as folded: off by what the CPU's arithmetic makes of it, and by no more.
            let folded = if subject.is_constant(id) { self.distance(&self.declared, &self.reference, id)? } else { 0.0 };
            let apart = if apart { self.tolerance(id, subject.graph) } else { 0.0 };
            Ok(Input { value, unit: unit(self.dtype(id, subject.graph), precision), apart: apart + folded })
        };
        let inputs = node.inputs.iter().map(|id| id.map(input).transpose()).collect::<Result<Vec<_>>>()?;
        let index = node.outputs.iter().position(|id| *id == Some(subject.value)).unwrap_or(0);
        let winograd = subject.plan.and_then(|plan| winograd::tile(plan, node));
        allowed(node, index, &inputs, want, Made { unit: store, winograd }, own)
    }

    /// The largest cumulative tolerance of a value; a view has that of what it looks at.
    fn tolerance(&self, id: ValueId, graph: &Graph) -> f64 {
        let (fixed, scaled) = self.parts(id, graph);
        fixed + C * scaled
    }

    pub(super) fn parts(&self, id: ValueId, graph: &Graph) -> (f64, f64) {
        let producers = graph.producers();
        let (mut stack, mut seen, mut most) = (vec![id], std::collections::HashSet::new(), (0f64, 0f64));
        while let Some(id) = stack.pop() {
            match self.tolerances.get(&id) {
                Some(&(fixed, scaled)) => most = (most.0.max(fixed), most.1.max(scaled)),
                None if seen.insert(id) => {
                    if let Some(node) = producers.get(&id).and_then(|&node| graph.nodes.get(node)) {
                        stack.extend(node.inputs.iter().flatten());
                    }
                }
                None => {}
            }
        }
        most
    }
}

/// What a row is about: a value that a node made, or a copy of one.
pub(super) struct Subject<'a> {
    pub(super) node: Option<&'a Node>,
    pub(super) label: &'a str,
    pub(super) op: &'a str,
    pub(super) value: ValueId,
    pub(super) graph: &'a Graph,
    /// The plan, where the device made it.
    pub(super) plan: Option<&'a Plan>,
}

impl Subject<'_> {
    /// Whether the step reads a value that was known before anything ran.
    fn is_constant(&self, id: ValueId) -> bool {
        let fact = self.plan.and_then(|plan| plan.facts.get(id.0 as usize)?.as_ref());
        self.graph.constant(id).is_some() || fact.is_some_and(|fact| fact.value.is_some())
    }
}
