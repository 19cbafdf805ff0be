//! The comparison itself: the plan as it runs beside each step by itself, both held against the reference.

use super::bounds::{Input, Made, allowed, exact, unit, widened};
use super::measure::{Allowed, Measure, measure};
use super::reference::{self, Reference, Values, written_value};
use super::report::{Fallback, FirstDifferent, FusedPlan, NodeRow, OutputRow, Report, Verdict};
use super::winograd::takes;
use super::{C, UNIT_F32};
use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu::{Execution, POISON, PlaceBytes};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::{Fact, Mode, Operator};
use crate::passes;
use crate::plan::{Home, PlaceId, Placement, Plan, Step, StepKind};
use crate::session::{Prepared, Session};
use crate::tensor::{DType, Tensor, cast};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// How to compare.
#[derive(Clone, Default)]
pub struct Options {
    pub reference: Reference,
    /// Measures every step by itself, and lists the nodes.
    pub per_node: bool,
    /// (rtol, atol): holds every element to `atol + rtol · |reference|` instead of the derived tolerance.
    pub tolerance: Option<(f64, f64)>,
}

/// Compares a session's device with a reference on these inputs.
///
/// Errors: what reading back, running or planning the model gives. A difference is a verdict, not an error.
pub fn compare(session: &Session, inputs: &Values, options: &Options) -> Result<Report> {
    let prepared = session.prepare(inputs)?;
    let graph = session.original();
    let planned = prepared.plan.as_ref().map_or(session.graph(), |plan| &plan.graph);
    let values = |mode| -> Result<Values> {
        let mut all = reference::values(graph, inputs, mode)?;
        reference::complete(&mut all, planned, mode)?;
        Ok(all)
    };
    let oracle = values(Mode::Oracle)?;
    let declared = values(Mode::Declared)?;
    let same = if session.mode() == Mode::Declared { declared.clone() } else { values(session.mode())? };
    let reference = match &options.reference {
        Reference::Adapter(device) => {
            let mut all = reference::on_adapter(session, device, inputs)?;
            reference::complete(&mut all, planned, Mode::Declared)?;
            all
        }
        other => match other.mode() {
            Mode::Oracle => oracle.clone(),
            Mode::Declared => declared.clone(),
            mode if mode == session.mode() => same.clone(),
            mode => values(mode)?,
        },
    };
    let mut judge =
        Judge { session, options, oracle, declared, same, reference, tolerances: HashMap::new(), outputs: HashMap::new(), local: None, cumulative: None };
    let (rows, made) = match &prepared.plan {
        Some(plan) => judge.plan(&prepared, plan, inputs)?,
        None => judge.cpu(inputs)?,
    };
    let outputs = judge.model_outputs(planned, &made, inputs, prepared.plan.as_deref())?;
    let fused_plan = judge.fused_plan(planned, prepared.plan.as_ref().map(|plan| plan.facts.as_slice()), inputs)?;
    let nodes = if options.per_node { arrange(graph, planned, prepared.plan.as_deref(), rows) } else { vec![] };
    let same = outputs.iter().all(|row| row.measure.same) && fused_plan.same && nodes.iter().all(|row| row.same);
    let first = if options.per_node { judge.local.or(judge.cumulative) } else { None };
    let info = session.device().map(|device| device.info());
    Ok(Report {
        schema: 1,
        verdict: Verdict::from(same),
        first_different: first,
        device: if info.is_some() { "gpu" } else { "cpu" },
        adapter: info.map(|info| info.name.clone()),
        backend: info.map(|info| info.backend.clone()),
        driver: info.map(|info| info.driver.clone()),
        precision: session.precision(),
        reference: options.reference.name(),
        c: C,
        outputs,
        fused_plan: Some(fused_plan),
        nodes,
        fallbacks: prepared.fallbacks().into_iter().map(|(node, op, reason)| Fallback { node, op, reason }).collect(),
        planted: prepared.planted.clone(),
    })
}

struct Judge<'a> {
    session: &'a Session,
    options: &'a Options,
    oracle: Values,
    declared: Values,
    /// The CPU at the session's precision.
    same: Values,
    reference: Values,
    /// The largest cumulative tolerance of each value: (fixed, scaled).
    tolerances: HashMap<ValueId, (f64, f64)>,
    /// What the graph's outputs are held to, where a step writes them.
    outputs: HashMap<ValueId, Allowed>,
    /// The first failures.
    local: Option<FirstDifferent>,
    cumulative: Option<FirstDifferent>,
}

/// A row, and the index of the node that its step belongs to.
type Rows = Vec<(Option<usize>, NodeRow)>;

impl Judge<'_> {
    /// Runs the plan and each of its steps.
    fn plan(&mut self, prepared: &Prepared, plan: &Arc<Plan>, inputs: &Values) -> Result<(Rows, Values)> {
        let mode = self.session.mode();
        let mut whole = self.session.lease(prepared, plan)?;
        let mut single = if self.options.per_node { Some(self.session.lease(prepared, plan)?) } else { None };
        let mut carried: HashMap<PlaceId, Vec<u8>> = HashMap::new();
        let mut rows: Rows = vec![];
        // What a CPU step has just made.
        let results: RefCell<Vec<Tensor>> = RefCell::default();
        let evaluate = |op: &dyn Operator, operands: &[Option<&Tensor>]| {
            let made = cpu::eval_node(op, operands, mode)?;
            *results.borrow_mut() = made.clone();
            Ok(made)
        };
        let made = whole.run_probed(inputs, &evaluate, &mut |index, written| {
            let step = plan.steps.get(index).ok_or_else(|| Error::internal("a step went missing"))?;
            let node = step.node.and_then(|node| plan.graph.nodes.get(node));
            match (&step.kind, node) {
                (StepKind::Gpu { dispatches }, _) => {
                    let alone = match &mut single {
                        Some(execution) => self.run_alone(execution, plan, index, step, &mut carried)?,
                        None => vec![],
                    };
                    let mut kernels: Vec<&'static str> = dispatches.iter().map(|dispatch| dispatch.kernel).collect();
                    kernels.dedup();
                    for (place, bytes) in written {
                        let Some((value, cumulative)) = written_value(plan, *place, bytes)? else { continue };
                        let local = alone.iter().find(|(id, _)| id == place).map(|(id, bytes)| written_value(plan, *id, bytes)).transpose()?.flatten();
                        let is_copy = step.op_type == "copy";
                        let subject =
                            Subject { node: node.filter(|_| !is_copy), label: &step.label, op: &step.op_type, value, graph: &plan.graph, plan: Some(plan) };
                        let mut row = self.row(&subject, local.as_ref().map(|found| &found.1), Some(&cumulative))?;
                        (row.ran_on, row.kernels) = ("gpu", kernels.clone());
                        rows.push((step.node, row));
                    }
                    rows.extend(self.completed(plan, index, written)?);
                }
                (StepKind::Cpu { op, inputs: reads, outputs, .. }, Some(node)) => {
                    let alone = self.evaluate_alone(&**op, reads, &plan.graph)?;
                    for (at, (value, cumulative)) in outputs.iter().zip(results.borrow().iter()).enumerate() {
                        let Some(value) = *value else { continue };
                        let subject = Subject { node: Some(node), label: &step.label, op: &step.op_type, value, graph: &plan.graph, plan: None };
                        let mut row = self.row(&subject, alone.get(at), Some(cumulative))?;
                        row.ran_on = "cpu";
                        rows.push((step.node, row));
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok((rows, made))
    }

    /// What this step has made whole, though it wrote a part of it alone: no step is to be measured by itself, only what lies there now.
    fn completed(&mut self, plan: &Arc<Plan>, index: usize, written: &[PlaceBytes]) -> Result<Rows> {
        let mut rows = vec![];
        for whole in plan.completed(index) {
            let bytes = written.iter().find(|(id, _)| plan.whole_of(*id) == whole).map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
            let Some((value, cumulative)) = written_value(plan, whole, bytes)? else { continue };
            let Some(&node) = plan.graph.producers().get(&value) else { continue };
            let joined = &plan.graph.nodes[node];
            let subject = Subject { node: Some(joined), label: &joined.name, op: &joined.op_type, value, graph: &plan.graph, plan: Some(plan) };
            let mut row = self.row(&subject, None, Some(&cumulative))?;
            row.ran_on = Placement::View.name();
            rows.push((Some(node), row));
        }
        Ok(rows)
    }

    /// Runs one step fed with the reference's values. What an earlier step made for this one alone (a copy of a view that is no
    /// value of the graph) is carried over from that step's own run.
    fn run_alone(
        &self,
        execution: &mut Execution,
        plan: &Arc<Plan>,
        index: usize,
        step: &Step,
        carried: &mut HashMap<PlaceId, Vec<u8>>,
    ) -> Result<Vec<PlaceBytes>> {
        let mut feed: Vec<PlaceBytes> = vec![];
        for &id in &step.reads {
            let place = plan.place(id);
            if !matches!(place.home, Home::Slot(_)) {
                continue;
            }
            let whole = plan.whole_of(id);
            let mut bytes = match feed.iter().position(|(fed, _)| *fed == whole) {
                Some(at) => feed.swap_remove(at).1,
                None if whole != id => POISON.to_ne_bytes().repeat(place.bytes() as usize / size_of_val(&POISON)),
                None => vec![],
            };
            match place.value {
                Some(value) => {
                    let tensor = self.reference.get(&value).ok_or_else(|| Error::internal("the reference lacks a value").at_tensor(&place.label))?;
                    place.encode_into(&cast(tensor, place.fact.dtype, true)?.reshape(place.fact.shape.clone())?, &mut bytes)?;
                }
                None => bytes = carried.get(&id).cloned().ok_or_else(|| Error::internal("nothing wrote what a step reads").at_tensor(&place.label))?,
            };
            feed.push((whole, bytes));
        }
        let written = execution.run_step(index, &feed)?;
        carried.extend(written.iter().filter(|(id, _)| plan.place(*id).value.is_none()).cloned());
        Ok(written)
    }

    /// An operator on the CPU, on the reference's values as the session holds them.
    fn evaluate_alone(&self, op: &dyn Operator, reads: &[Option<ValueId>], graph: &Graph) -> Result<Vec<Tensor>> {
        let mode = self.session.mode();
        let take = |id: ValueId| -> Result<Tensor> {
            let value = self.value(&self.reference, id, graph, mode)?;
            cpu::held(&cast(&value, self.dtype(id, graph), true)?, mode)
        };
        let operands = reads.iter().map(|id| id.map(take).transpose()).collect::<Result<Vec<_>>>()?;
        cpu::eval_node(op, &operands.iter().map(Option::as_ref).collect::<Vec<_>>(), mode)
    }

    /// A session without a device: the graph after its rewrites, on the CPU.
    fn cpu(&mut self, inputs: &Values) -> Result<(Rows, Values)> {
        let graph = self.session.graph();
        let made = reference::values(graph, inputs, self.session.mode())?;
        let mut rows: Rows = vec![];
        for (index, node) in graph.nodes.iter().enumerate() {
            let alone = self.evaluate_alone(&*node.op, &node.inputs, graph)?;
            for (at, value) in node.outputs.iter().enumerate() {
                let Some(value) = *value else { continue };
                let subject = Subject { node: Some(node), label: &node.name, op: &node.op_type, value, graph, plan: None };
                let mut row = self.row(&subject, alone.get(at), made.get(&value))?;
                row.ran_on = "cpu";
                rows.push((Some(index), row));
            }
        }
        Ok((rows, made))
    }

    /// A value in a set of values, or a constant of the graph.
    fn value(&self, all: &Values, id: ValueId, graph: &Graph, mode: Mode) -> Result<Tensor> {
        if let Some(tensor) = all.get(&id) {
            return Ok(tensor.clone());
        }
        let constant = graph.values.get(id.0 as usize).and_then(|value| value.constant.as_ref());
        cpu::held(constant.ok_or_else(|| Error::internal(format!("the reference lacks value {}", id.0)))?, mode)
    }

    /// The type that the model declares for a value.
    fn dtype(&self, id: ValueId, graph: &Graph) -> DType {
        let constant = || graph.values.get(id.0 as usize).and_then(|value| value.constant.as_ref());
        self.declared.get(&id).or_else(constant).map_or(DType::F32, Tensor::dtype)
    }

    /// How far two sets of values lie apart at one value, at most.
    fn distance(&self, a: &Values, b: &Values, id: ValueId) -> Result<f64> {
        let (Some(a), Some(b)) = (a.get(&id), b.get(&id)) else { return Ok(0.0) };
        let (a, b) = (a.to_f64s()?, b.to_f64s()?);
        Ok(a.iter().zip(&b).map(|(a, b)| (a - b).abs()).filter(|d| d.is_finite()).fold(0.0, f64::max))
    }

    /// Measures what a step made of one value.
    fn row(&mut self, subject: &Subject, local: Option<&Tensor>, cumulative: Option<&Tensor>) -> Result<NodeRow> {
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

    fn measure(&self, got: &Tensor, want: &[f64], derived: &Allowed, half: bool) -> Result<Measure> {
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
        let winograd = subject.plan.is_some_and(|plan| takes(plan, node));
        allowed(node, index, &inputs, want, Made { unit: store, winograd }, own)
    }

    /// The largest cumulative tolerance of a value; a view has that of what it looks at.
    fn tolerance(&self, id: ValueId, graph: &Graph) -> f64 {
        let (fixed, scaled) = self.parts(id, graph);
        fixed + C * scaled
    }

    fn parts(&self, id: ValueId, graph: &Graph) -> (f64, f64) {
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

    /// The model's outputs as a caller gets them.
    fn model_outputs(&self, graph: &Graph, made: &Values, inputs: &Values, plan: Option<&Plan>) -> Result<Vec<OutputRow>> {
        let original = self.session.original();
        let row = |&id: &ValueId| -> Result<OutputRow> {
            let name = original.value(id).name.clone();
            let known = || plan.and_then(|plan| plan.facts.get(id.0 as usize).cloned().flatten()).and_then(|fact| fact.value);
            let constant = || graph.values.get(id.0 as usize).and_then(|value| value.constant.clone());
            let got = made.get(&id).or_else(|| inputs.get(&id)).cloned().or_else(known).or_else(constant);
            let got = got.ok_or_else(|| Error::internal("an output was not made").at_tensor(&name))?;
            let expected = self.value(&self.reference, id, original, self.options.reference.mode())?;
            let mut derived = self.outputs.get(&id).cloned().unwrap_or_else(|| {
                let (fixed, scaled) = self.parts(id, graph);
                let store = unit(got.dtype(), self.session.precision());
                Allowed {
                    fixed: expected.to_f64s().unwrap_or_default().iter().map(|x| fixed + store * x.abs()).collect(),
                    scaled: vec![scaled; got.len()],
                    formula: "that of the value it is a view of".into(),
                }
            });
            let mut want = expected;
            if let Reference::Outputs(recorded) = &self.options.reference {
                let found = recorded.iter().find(|(recorded, _)| *recorded == name);
                want = found.map(|found| found.1.clone()).ok_or_else(|| {
                    Error::input("the reference has no such output").at_tensor(&name).remedy("name the arrays of the .npz after the model's outputs")
                })?;
                if want.shape() != got.shape() || want.dtype() != got.dtype() {
                    return Err(Error::input(format!(
                        "the reference is {} {:?}; the model gives {} {:?}",
                        want.dtype(),
                        want.shape(),
                        got.dtype(),
                        got.shape()
                    ))
                    .at_tensor(&name));
                }
                // Another implementation's float32 is as far from the oracle as ours may be.
                let own = self.distance(&self.declared, &self.oracle, id)?;
                derived.scaled.iter_mut().for_each(|scaled| *scaled += own);
                derived.fixed.iter_mut().zip(want.to_f64s()?).for_each(|(fixed, x)| *fixed += UNIT_F32 * x.abs());
            }
            let half = unit(got.dtype(), self.session.precision()) == super::UNIT_F16;
            let measure = self.measure(&got, &want.to_f64s()?, &derived, half)?;
            Ok(OutputRow { name, dtype: got.dtype().name().into(), shape: got.shape().to_vec(), measure })
        };
        original.outputs.iter().map(row).collect()
    }

    /// The rewritten graph against the graph as read, both on the CPU in float64.
    fn fused_plan(&self, planned: &Graph, facts: Option<&[Option<Fact>]>, inputs: &Values) -> Result<FusedPlan> {
        let wide = self.rewritten_wide(planned, facts)?;
        let results = cpu::run(wide.as_ref().unwrap_or(planned), inputs, Mode::Oracle, &mut |_, _| {})?;
        let mut outputs = vec![];
        for (&id, got) in self.session.original().outputs.iter().zip(results) {
            let want = self.value(&self.oracle, id, self.session.original(), Mode::Oracle)?.to_f64s()?;
            let distance = self.distance(&self.declared, &self.oracle, id)?;
            let fixed = want.iter().map(|x| if got.dtype().is_float() { UNIT_F32 * x.abs() } else { 0.0 }).collect();
            let derived = Allowed { fixed, scaled: vec![distance; want.len()], formula: "c·|cpu − oracle| + rounding of folded constants".into() };
            let measure = measure(&got.to_f64s()?, &want, &derived, false);
            let name = self.session.original().value(id).name.clone();
            outputs.push(OutputRow { name, dtype: got.dtype().name().into(), shape: got.shape().to_vec(), measure });
        }
        Ok(FusedPlan { same: outputs.iter().all(|row| row.measure.same), outputs })
    }

    /// The same rewrites over constants held as float64, so that what they fold isn't rounded to float32 and stands for no wrong
    /// rewrite. `None` where they don't come to the planned nodes: then those are what is run.
    fn rewritten_wide(&self, planned: &Graph, facts: Option<&[Option<Fact>]>) -> Result<Option<Graph>> {
        if !self.session.rewrites() {
            return Ok(None);
        }
        let mut wide = (**self.session.original()).clone();
        // What Constant nodes hold is widened too.
        passes::fold_constants(&mut wide)?;
        for value in &mut wide.values {
            if let Some(constant) = value.constant.as_mut().filter(|constant| constant.dtype() == DType::F32) {
                *constant = cast(constant, DType::F64, true)?;
                value.declared = None;
            }
        }
        passes::at_load(&mut wide)?;
        if let Some(facts) = facts {
            passes::for_plans(&mut wide)?;
            passes::with_shapes(&mut wide, facts)?;
        }
        let alike = |a: &Node, b: &Node| a.name == b.name && a.fused == b.fused && a.inputs == b.inputs && a.outputs == b.outputs;
        let same = wide.nodes.len() == planned.nodes.len() && wide.nodes.iter().zip(&planned.nodes).all(|(a, b)| alike(a, b));
        Ok(same.then_some(wide))
    }
}

/// What a row is about: a value that a node made, or a copy of one.
struct Subject<'a> {
    node: Option<&'a Node>,
    label: &'a str,
    op: &'a str,
    value: ValueId,
    graph: &'a Graph,
    /// The plan, where the device made it.
    plan: Option<&'a Plan>,
}

impl Subject<'_> {
    /// Whether the step reads a value that was known before anything ran.
    fn is_constant(&self, id: ValueId) -> bool {
        let fact = self.plan.and_then(|plan| plan.facts.get(id.0 as usize)?.as_ref());
        self.graph.constant(id).is_some() || fact.is_some_and(|fact| fact.value.is_some())
    }
}

/// The rows in the order of the graph as read, each node of it listed; a copy stands before the node that wanted it.
fn arrange(original: &Graph, planned: &Graph, plan: Option<&Plan>, rows: Rows) -> Vec<NodeRow> {
    let mut of_node: HashMap<usize, Vec<NodeRow>> = HashMap::new();
    let mut last = vec![];
    for (node, row) in rows {
        match node {
            Some(node) => of_node.entry(node).or_default().push(row),
            None => last.push(row),
        }
    }
    let producers = planned.producers();
    let mut into: HashMap<&str, &str> = HashMap::new();
    let mut named: HashMap<&str, usize> = HashMap::new();
    for (index, node) in planned.nodes.iter().enumerate() {
        into.extend(node.fused.iter().map(|(name, _)| (name.as_str(), node.name.as_str())));
        named.insert(&node.name, index);
    }
    let mut arranged = vec![];
    for node in &original.nodes {
        let output = node.outputs.iter().flatten().next().copied();
        let name = output.map(|id| original.value(id).name.clone()).unwrap_or_default();
        let plain = |ran_on: &'static str, fused_into: Option<&str>| NodeRow {
            node: node.name.clone(),
            op: node.op_type.clone(),
            output: name.clone(),
            ran_on,
            fused_into: fused_into.map(str::to_string),
            fused: vec![],
            kernels: vec![],
            local: None,
            cumulative: None,
            same: true,
        };
        let index = output.and_then(|id| producers.get(&id)).copied();
        // A node whose result is now a part of another's goes by its name alone.
        let rows = index.and_then(|index| of_node.remove(&index)).or_else(|| of_node.remove(named.get(node.name.as_str())?));
        match (rows, into.get(node.name.as_str()), index) {
            (Some(rows), ..) => arranged.extend(rows),
            (None, Some(target), _) => arranged.push(plain("fused", Some(target))),
            (None, None, Some(index)) => {
                let placement = plan.and_then(|plan| plan.placements.get(index)).map_or("removed", Placement::name);
                arranged.push(plain(placement, None));
            }
            (None, None, None) => arranged.push(plain("removed", None)),
        }
    }
    arranged.extend(last);
    arranged
}
