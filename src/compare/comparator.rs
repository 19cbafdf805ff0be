//! What a step made, held to what it may be off by.

use super::bounds::{DeviceRounding, Input, allowed, exact, unit, widened};
use super::continued::Continued;
use super::evidence::{Evidence, Found, Wanted, answers};
use super::measure::{Allowed, Elements, Expected, Measure, measure};
use super::range::Range;
use super::reference::Values;
use super::report::{FirstDifferent, NodeRow};
use super::run::Options;
use super::sets::{Sets, dtype_of};
use super::{SAFETY_FACTOR, winograd};
use crate::base::{Bound, BufferId, EvalPrecision, Fact, Operands, Precision, held};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::plan::Plan;
use crate::session::Session;
use crate::tensor::{DType, Tensor};
use std::cell::OnceCell;
use std::collections::HashMap;

/// Other right answers and how far one may lie from each.
pub(super) type Others = Vec<(Tensor, Allowed)>;

pub(super) struct Comparator<'a> {
    pub(super) session: &'a Session,
    pub(super) options: &'a Options,
    pub(super) sets: Sets,
    /// The graph as planned, and what it runs on.
    pub(super) planned: &'a Graph,
    pub(super) inputs: &'a Values,
    /// The planned graph's own values, computed where they are needed.
    pub(super) by_plan: OnceCell<Vec<Values>>,
    /// The largest cumulative tolerance of each value: (fixed, scaled).
    tolerances: HashMap<ValueId, (f64, f64)>,
    /// Elements of values whose sums may end as no number, where there are any.
    open: HashMap<ValueId, Vec<bool>>,
    /// What follows from numbers that the device took where a step jumps.
    pub(super) continued: Continued,
    /// What the graph's outputs are held to, where a step writes them.
    pub(super) outputs: HashMap<ValueId, Held>,
    /// The first failures.
    local: Option<FirstDifferent>,
    cumulative: Option<FirstDifferent>,
    /// Of what evidence is wanted, and the measures that it is to be gathered of.
    wanted: &'a Wanted,
    pub(super) found_local: Option<Found>,
    pub(super) found_cumulative: Option<Found>,
    pub(super) evidence_local: Option<Evidence>,
    pub(super) evidence_cumulative: Option<Evidence>,
    /// The step that the next row is about.
    pub(super) at: Option<(usize, BufferId)>,
}

/// What a value is held to: the reference's tolerance, and other answers where there are any.
pub(super) struct Held {
    pub allowed: Allowed,
    pub others: Others,
}

impl<'a> Comparator<'a> {
    pub(super) fn new(
        session: &'a Session,
        options: &'a Options,
        planned: &'a Graph,
        inputs: &'a Values,
        sets: Sets,
        wanted: &'a Wanted,
    ) -> Self {
        let (by_plan, tolerances, outputs, open) =
            (OnceCell::new(), HashMap::new(), HashMap::new(), HashMap::new());
        Self {
            session,
            options,
            sets,
            planned,
            inputs,
            by_plan,
            tolerances,
            open,
            continued: Continued::default(),
            outputs,
            local: None,
            cumulative: None,
            wanted,
            found_local: None,
            found_cumulative: None,
            evidence_local: None,
            evidence_cumulative: None,
            at: None,
        }
    }

    /// Has the values that a graph has beside those known so far: a part's, of a model that runs in parts.
    pub(super) fn add_values(&mut self, graph: &Graph) -> Result<()> {
        self.sets.extend(graph, self.session.precision(), self.session.mode(), self.options.reference.mode())
    }

    /// Forgets what a part alone has: values from the id `shared` on, which another part counts anew.
    pub(super) fn forget_values(&mut self, shared: usize) {
        let known = |id: &ValueId| (id.0 as usize) < shared;
        self.sets.retain(&known);
        self.tolerances.retain(|id, _| known(id));
        self.open.retain(|id, _| known(id));
        self.continued.retain(&known);
    }

    /// A value's name.
    pub(super) fn name(&self, id: ValueId) -> String {
        let graphs = [&**self.session.original(), self.planned];
        let value = graphs.iter().find_map(|graph| graph.values.get(id.0 as usize));
        value.map(|value| value.name.clone()).unwrap_or_default()
    }

    /// The first step whose local measure failed, else the first whose cumulative one did.
    pub(super) fn first_different(self) -> Option<FirstDifferent> {
        self.local.or(self.cumulative)
    }

    /// A value in a set of values, or a constant of the graph, as the session would store it but for
    /// rounding.
    pub(super) fn value(
        &self,
        all: &Values,
        id: ValueId,
        graph: &Graph,
        mode: EvalPrecision,
    ) -> Result<Tensor> {
        if let Some(tensor) = all.get(&id) {
            return Ok(self.range(id, graph).beyond(tensor)?.unwrap_or_else(|| tensor.clone()));
        }
        let constant = graph.values.get(id.0 as usize).and_then(|value| value.constant.as_ref());
        held(constant.ok_or_else(|| Error::internal(format!("the reference lacks value {}", id.0)))?, mode)
    }

    /// The type that the model declares for a value.
    pub(super) fn dtype(&self, id: ValueId, graph: &Graph) -> DType {
        dtype_of(&self.sets.declared, id, graph)
    }

    /// The range in which the session stores a value.
    pub(super) fn range(&self, id: ValueId, graph: &Graph) -> Range {
        Range::of(self.dtype(id, graph), self.session.precision())
    }

    /// Measures what a step made of one value.
    pub(super) fn row(
        &mut self,
        subject: &Subject,
        local: Option<&Tensor>,
        cumulative: Option<&Tensor>,
    ) -> Result<NodeRow> {
        let here = |error: Error| error.at_node(subject.label).at_operator(subject.op);
        let name = subject.graph.value(subject.value).name.clone();
        let lacking = || Error::internal("the reference lacks a value").at_tensor(&name);
        let want = self.sets.reference.get(&subject.value).cloned().ok_or_else(lacking).map_err(here)?;
        let (dtype, range) =
            (self.dtype(subject.value, subject.graph), self.range(subject.value, subject.graph));
        let numbers = want.to_f64s()?;
        // How a graph's nodes round together no bound says: what the CPU's arithmetic makes of them does.
        let graphs = subject.node.is_some_and(|node| node.op.on_values().is_some());
        let derived = if graphs {
            self.along(subject, &self.sets.reference, &numbers, dtype)
        } else {
            self.derive(subject, &self.sets.reference, &numbers, dtype, false)
        };
        let derived = derived.map_err(here)?;
        let (mut others_alone, made) = (vec![], (local, cumulative));
        let local = match local {
            Some(tensor) => {
                let others = || {
                    Ok([self.as_fed(subject, dtype)?, self.as_chosen(subject, tensor, &want, 0.0)?].concat())
                };
                let (measure, found) = self.measure(tensor, &want, &derived, range, &others)?;
                others_alone = found;
                Some(measure)
            }
            None => None,
        };
        let mut along = self.along(subject, &self.sets.reference, &numbers, dtype).map_err(here)?;
        if along.open.contains(&true) {
            self.open.insert(subject.value, along.open.clone());
        } else if let (None, Some(open)) = (subject.node, self.open.get(&subject.value)) {
            along.open.clone_from(open);
        }
        let most = |list: &[f64]| list.iter().copied().filter(|x| x.is_finite()).fold(0.0, f64::max);
        self.tolerances.insert(subject.value, (most(&along.fixed), most(&along.scaled)));
        let mut others = vec![];
        let cumulative = match cumulative {
            Some(tensor) => {
                let apart = || {
                    subject
                        .node
                        .and_then(|node| *node.inputs.first()?)
                        .map_or(0.0, |id| self.tolerance(id, subject.graph))
                };
                let found = || {
                    Ok([
                        self.as_continued(subject, dtype)?,
                        self.as_chosen(subject, tensor, &want, apart())?,
                        self.as_planned(subject, dtype)?,
                    ]
                    .concat())
                };
                let (measure, found) = self.measure(tensor, &want, &along, range, &found)?;
                others = found;
                if measure.same {
                    self.carry_on(subject, tensor, &want)?;
                }
                Some(measure)
            }
            None => None,
        };
        let different = || {
            Some(FirstDifferent {
                node: subject.label.to_string(),
                op: subject.op.to_string(),
                output: name.clone(),
            })
        };
        let at = self.at.take();
        for (measure, got, allowed, others, is_local) in
            [(&local, made.0, &derived, &others_alone, true), (&cumulative, made.1, &along, &others, false)]
        {
            let (Some(measure), Some(got), Some(step)) = (measure, got, different()) else { continue };
            let known = if is_local { &self.found_local } else { &self.found_cumulative };
            if known.is_some() || !self.wants(subject, &name, measure.same, is_local) {
                continue;
            }
            let stated = self.options.tolerance;
            let mut all = answers(&want, allowed, range, stated)?;
            for (tensor, allowed) in others {
                all.extend(answers(tensor, allowed, range, stated)?);
            }
            let (differs, got, node) = (!measure.same, got.clone(), subject.node.cloned());
            let found = Some(Found { step, local: is_local, differs, got, answers: all, node, at });
            *(if is_local { &mut self.found_local } else { &mut self.found_cumulative }) = found;
        }
        if self.session.original().outputs.contains(&subject.value) {
            self.outputs.insert(subject.value, Held { allowed: along, others });
        }
        if local.as_ref().is_some_and(|measure| !measure.same) && self.local.is_none() {
            self.local = different();
        }
        if cumulative.as_ref().is_some_and(|measure| !measure.same) && self.cumulative.is_none() {
            self.cumulative = different();
        }
        let same = local.iter().chain(&cumulative).all(|measure| measure.same);
        let fused = subject
            .node
            .map(|node| node.fused.iter().map(|(name, _)| name.clone()).collect())
            .unwrap_or_default();
        let (node, op) = (subject.label.to_string(), subject.op.to_string());
        Ok(NodeRow {
            node,
            op,
            output: name,
            ran_on: "gpu",
            fused_into: None,
            fused,
            kernels: vec![],
            local,
            cumulative,
            same,
        })
    }

    /// Whether evidence is wanted of a measure.
    fn wants(&self, subject: &Subject, name: &str, same: bool, local: bool) -> bool {
        match self.wanted {
            Wanted::Nothing => false,
            Wanted::FirstDifferent => !same,
            // A step that is right by itself, and that nothing spoils, is told of by itself.
            Wanted::Node(node) => {
                (subject.node.is_some() && subject.label == node || name == node) && (local || !same)
            }
        }
    }

    /// Measures a tensor against the reference and, where it fails, against other right answers too, which it
    /// gives back.
    pub(super) fn measure(
        &self,
        got: &Tensor,
        want: &Tensor,
        derived: &Allowed,
        range: Range,
        others: &dyn Fn() -> Result<Others>,
    ) -> Result<(Measure, Others)> {
        let stated = |values: &Elements| {
            let (rtol, atol) = self.options.tolerance?;
            let fixed = values.floats.iter().map(|x| atol + rtol * x.abs()).collect();
            Some(Allowed::new(fixed, vec![0.0; values.floats.len()], format!("{atol} + {rtol}·|reference|")))
        };
        let (got, want) = (Elements::of(got)?, Elements::of(want)?);
        let held = stated(&want);
        let reference = Expected { values: &want, allowed: held.as_ref().unwrap_or(derived) };
        let first = measure(&got, &[reference], range);
        let others = if first.same { vec![] } else { others()? };
        if others.is_empty() {
            return Ok((first, others));
        }
        let held = |(tensor, allowed): &(Tensor, Allowed)| {
            let values = Elements::of(tensor)?;
            let allowed = stated(&values).unwrap_or_else(|| allowed.clone());
            Ok((values, allowed))
        };
        let all = others.iter().map(held).collect::<Result<Vec<_>>>()?;
        let expected: Vec<Expected> = std::iter::once(reference)
            .chain(all.iter().map(|(values, allowed)| Expected { values, allowed }))
            .collect();
        Ok((measure(&got, &expected, range), others))
    }

    /// The cumulative tolerance: beside the step's own error, what the CPU at the same precision accumulates.
    pub(super) fn along(
        &self,
        subject: &Subject,
        all: &Values,
        want: &[f64],
        dtype: DType,
    ) -> Result<Allowed> {
        if !dtype.is_float() {
            return self.derive(subject, all, want, dtype, true);
        }
        let mut along = self.derive(subject, all, want, dtype, false)?;
        let (sets, id) = (&self.sets, subject.value);
        let mine = sets.distance(&sets.same, &sets.near, id, self.range(id, subject.graph))?;
        let own = sets.distance(&sets.reference, &sets.oracle, id, Range::of(dtype, Precision::F32))?;
        // What is moved is off by what it was off by before, where the CPU happened to be nearer.
        let brought = (self.brought(subject) - own - SAFETY_FACTOR * mine).max(0.0);
        for ((fixed, scaled), _) in
            along.fixed.iter_mut().zip(&mut along.scaled).zip(want).filter(|(_, want)| want.is_finite())
        {
            (*fixed, *scaled) = (*fixed + own + brought, *scaled + mine);
        }
        along.formula = format!("c·|cpu − oracle| + {}", along.formula);
        Ok(along)
    }

    /// The largest cumulative tolerance of what a step moves or chooses, and of a copy's value; 0 for a step that
    /// computes.
    fn brought(&self, subject: &Subject) -> f64 {
        let of = |id: ValueId| self.tolerance(id, subject.graph);
        let Some(node) = subject.node else { return of(subject.value) };
        let facts: Vec<Option<Fact>> =
            node.inputs.iter().map(|id| id.and_then(|id| self.sets.oracle.get(&id)).map(Fact::of)).collect();
        let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        match node.op.error_bound(Operands::new(&refs)) {
            Bound::Exact | Bound::Choice { .. } => {
                node.inputs.iter().flatten().map(|&id| of(id)).fold(0.0, f64::max)
            }
            _ => 0.0,
        }
    }

    /// The step's tolerance over operands of a set. `apart`: they may already lie apart by their cumulative
    /// tolerances.
    pub(super) fn derive(
        &self,
        subject: &Subject,
        all: &Values,
        want: &[f64],
        dtype: DType,
        apart: bool,
    ) -> Result<Allowed> {
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
            let value = widened(&self.value(all, id, subject.graph, EvalPrecision::Oracle)?)?;
            // What a rewrite folded is fed as folded: off by what the CPU's arithmetic makes of it, and by no
            // more.
            let (sets, range) = (&self.sets, self.range(id, subject.graph));
            // While a model is loaded that is done in the declared types, and for a plan as the session stores.
            let folded = if subject.is_constant(id) {
                let far = |all| sets.distance(all, &sets.reference, id, range);
                far(&sets.declared)?.max(far(&sets.same)?)
            } else {
                0.0
            };
            let apart = if apart { self.tolerance(id, subject.graph) } else { 0.0 };
            Ok(Input { value, unit: unit(self.dtype(id, subject.graph), precision), apart: apart + folded })
        };
        let inputs = node.inputs.iter().map(|id| id.map(input).transpose()).collect::<Result<Vec<_>>>()?;
        let index = node.outputs.iter().position(|id| *id == Some(subject.value)).unwrap_or(0);
        let winograd = subject.plan.and_then(|plan| winograd::tile(plan, node));
        allowed(node, index, &inputs, want, DeviceRounding { unit: store, winograd }, own)
    }

    /// The largest cumulative tolerance of a value; a view has that of what it looks at.
    fn tolerance(&self, id: ValueId, graph: &Graph) -> f64 {
        let (fixed, scaled) = self.parts(id, graph);
        fixed + SAFETY_FACTOR * scaled
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
