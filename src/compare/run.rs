//! The comparison itself: the plan as it runs beside each step by itself, both held against the reference.

use super::SAFETY_FACTOR;
use super::arrange::{Rows, arrange};
use super::comparator::{Comparator, Subject};
use super::evidence::{Evidence, Wanted};
use super::parts::Seen;
use super::range::Range;
use super::reference::{self, AS_IS, Reference, Values, written_value};
use super::report::{Fallback, Report, Verdict};
use super::sets::{Sets, dtype_of};
use crate::base::{BufferId, EvalPrecision, Precision};
use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu::{Execution, POISON, PlaceBytes};
use crate::graph::{Graph, ValueId};
use crate::ops::Operator;
use crate::plan::{Allocation, Placement, Plan, Step, StepKind};
use crate::session::{Prepared, Session};
use crate::tensor::{Tensor, cast};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// How to compare.
#[derive(Clone, Default)]
pub struct Options {
    /// What to compare with.
    pub reference: Reference,
    /// Measures every step by itself, and lists the nodes.
    pub per_node: bool,
    /// (rtol, atol): holds every element to `atol + rtol · |reference|` instead of the derived tolerance.
    pub tolerance: Option<(f64, f64)>,
}

/// Compares a session's device with a reference on these inputs.
///
/// Errors: what reading back, running or planning the model gives. A difference is a verdict, not an error.
///
/// A report says which output or node differs, by how much and what was allowed:
///
/// ```
/// use sardonyx::compare::{Options, Reference, compare};
/// use sardonyx::{Precision, Session, Tensor};
///
/// # fn main() -> sardonyx::Result<()> {
/// let session = Session::builder().precision(Precision::F16).load("models/digits/digits.onnx")?;
/// let inputs = session.bind(&[("image", Tensor::new([1, 1, 8, 8], vec![0.5f32; 64])?)])?;
/// let options = Options { reference: Reference::CpuF64, per_node: true, tolerance: None };
/// for row in compare(&session, &inputs, &options)?.outputs {
///     println!("{}: off by {:.1e} of {:.1e}", row.name, row.measure.max_abs, row.measure.tolerance.value);
/// }
/// # Ok(())
/// # }
/// ```
pub fn compare(session: &Session, inputs: &Values, options: &Options) -> Result<Report> {
    Ok(compare_closely(session, inputs, options, &Wanted::Nothing)?.report)
}

/// A report with what it was made of.
pub struct Comparison {
    /// What was found.
    pub report: Report,
    /// The model's outputs, in its order.
    pub outputs: Vec<Compared>,
    /// What is wanted of evidence, where there is any. Of nodes it takes [`Options::per_node`].
    pub evidence: Option<Evidence>,
}

/// An output of the model and what it was held against.
pub struct Compared {
    /// Its name.
    pub name: String,
    /// What the device made.
    pub got: Tensor,
    /// The reference's.
    pub want: Tensor,
    /// What each element was allowed to be off by.
    pub limits: Vec<f64>,
}

/// The same as [`compare`], with the outputs and, where it is wanted, what it takes to see a difference again.
pub fn compare_closely(
    session: &Session,
    inputs: &Values,
    options: &Options,
    wanted: &Wanted,
) -> Result<Comparison> {
    let prepared = session.prepare(inputs)?;
    let graph = session.original();
    let planned = match &prepared.plan {
        Some(plan) => &plan.graph,
        None if prepared.runs_in_parts() => session.planned(),
        None => session.graph(),
    };
    // Those of the graph as read, and what the planned one has beside them.
    let values = |mode| reference::stored(&[graph, planned], inputs, mode, AS_IS).map(|(all, _)| all);
    let declared = values(EvalPrecision::Declared)?;
    let precision = session.precision();
    let held = |id, precision, tensor: &Tensor| {
        Range::of(dtype_of(&declared, id, planned), precision).beyond(tensor)
    };
    let in_float64 = |precision| {
        reference::stored(&[graph, planned], inputs, EvalPrecision::Oracle, &|id, tensor| {
            held(id, precision, tensor)
        })
    };
    let (oracle, beyond) = in_float64(Precision::F32)?;
    let (near, narrowed) =
        if precision == Precision::F32 { (oracle.clone(), beyond) } else { in_float64(precision)? };
    let same =
        if session.mode() == EvalPrecision::Declared { declared.clone() } else { values(session.mode())? };
    let reference = match &options.reference {
        Reference::Adapter(device) => {
            let mut all = reference::on_adapter(session, device, inputs)?;
            reference::extend(&mut all, planned, EvalPrecision::Declared, AS_IS)?;
            all
        }
        other => match other.mode() {
            EvalPrecision::Oracle => oracle.clone(),
            EvalPrecision::Declared => declared.clone(),
            mode if mode == session.mode() => same.clone(),
            mode => values(mode)?,
        },
    };
    let sets = Sets { oracle, near, declared, same, reference, beyond, narrowed };
    let mut judge = Comparator::new(session, options, planned, inputs, sets, wanted);
    let mut in_parts = None;
    let (rows, made) = match &prepared.plan {
        Some(plan) => judge.plan(&prepared, plan, inputs)?,
        None if prepared.runs_in_parts() => {
            let (Seen { rows, graph, placements }, made) = judge.in_parts(&prepared, inputs)?;
            in_parts = Some((graph, placements));
            (rows, made)
        }
        None => judge.cpu(inputs)?,
    };
    let compared = judge.model_outputs(planned, &made, inputs, prepared.plan.as_deref())?;
    let (outputs, compared): (Vec<_>, Vec<_>) = compared.into_iter().unzip();
    let evidence = judge.gathered()?;
    let fused_plan =
        judge.fused_plan(planned, prepared.plan.as_ref().map(|plan| plan.facts.as_slice()), inputs)?;
    let (ran, placements) = match (&in_parts, &prepared.plan) {
        (Some((graph, placements)), _) => (graph, &placements[..]),
        (None, Some(plan)) => (planned, &plan.placements[..]),
        (None, None) => (planned, &[][..]),
    };
    let nodes = if options.per_node { arrange(graph, ran, placements, rows) } else { vec![] };
    let same =
        outputs.iter().all(|row| row.measure.same) && fused_plan.same && nodes.iter().all(|row| row.same);
    let first = if options.per_node { judge.first_different() } else { None };
    let info = session.gpu().map(|device| device.info());
    let report = Report {
        schema: 1,
        verdict: Verdict::from(same),
        first_different: first,
        device: if info.is_some() { "gpu" } else { "cpu" },
        adapter: info.map(|info| info.name.clone()),
        backend: info.map(|info| info.backend.clone()),
        driver: info.map(|info| info.driver.clone()),
        precision: session.precision(),
        reference: options.reference.name(),
        c: SAFETY_FACTOR,
        outputs,
        fused_plan: Some(fused_plan),
        nodes,
        fallbacks: prepared
            .fallbacks()
            .into_iter()
            .map(|(node, op, reason)| Fallback { node, op, reason })
            .collect(),
        planted: None,
    };
    Ok(Comparison { report, outputs: compared, evidence })
}

/// The bytes of what steps made that is no value of the graph.
pub(super) type Carried = HashMap<BufferId, Vec<u8>>;

impl Comparator<'_> {
    /// Runs the plan and each of its steps.
    pub(super) fn plan(
        &mut self,
        prepared: &Prepared,
        plan: &Arc<Plan>,
        inputs: &Values,
    ) -> Result<(Rows, Values)> {
        let mode = self.session.mode();
        let mut whole = self.session.lease(prepared)?;
        let mut single = if self.options.per_node { Some(self.session.lease(prepared)?) } else { None };
        let mut carried = Carried::new();
        let mut rows: Rows = vec![];
        // What a CPU step has just made.
        let results: RefCell<Vec<Tensor>> = RefCell::default();
        let evaluate = |op: &dyn Operator, operands: &[Option<&Tensor>]| {
            let made = cpu::eval_step(op, operands, mode)?;
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
                    let mut kernels: Vec<&'static str> =
                        dispatches.iter().map(|dispatch| dispatch.kernel).collect();
                    kernels.dedup();
                    for (place, bytes) in written {
                        let Some((value, cumulative)) = written_value(plan, *place, bytes)? else { continue };
                        let local = alone
                            .iter()
                            .find(|(id, _)| id == place)
                            .map(|(id, bytes)| written_value(plan, *id, bytes))
                            .transpose()?
                            .flatten();
                        let is_copy = step.op_type == "copy";
                        let subject = Subject {
                            node: node.filter(|_| !is_copy),
                            label: &step.label,
                            op: &step.op_type,
                            value,
                            graph: &plan.graph,
                            plan: Some(plan),
                        };
                        self.at = Some((index, *place));
                        let mut row =
                            self.row(&subject, local.as_ref().map(|found| &found.1), Some(&cumulative))?;
                        (row.ran_on, row.kernels) = ("gpu", kernels.clone());
                        rows.push((step.node, row));
                    }
                    rows.extend(self.completed(plan, index, written)?);
                }
                (StepKind::Cpu { op, inputs: reads, outputs, .. }, Some(node)) => {
                    let alone = self.evaluate_alone(&**op, reads, &plan.graph)?;
                    for (at, (value, cumulative)) in outputs.iter().zip(results.borrow().iter()).enumerate() {
                        let Some(value) = *value else { continue };
                        let subject = Subject {
                            node: Some(node),
                            label: &step.label,
                            op: &step.op_type,
                            value,
                            graph: &plan.graph,
                            plan: None,
                        };
                        let mut row = self.row(&subject, alone.get(at), Some(cumulative))?;
                        row.ran_on = "cpu";
                        rows.push((step.node, row));
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        if let Some(execution) = &mut single {
            self.gather(execution, plan, &carried)?;
        }
        Ok((rows, made))
    }

    /// What this step has made whole, though it wrote a part of it alone: no step is to be measured by
    /// itself, only what lies there now.
    fn completed(&mut self, plan: &Arc<Plan>, index: usize, written: &[PlaceBytes]) -> Result<Rows> {
        let mut rows = vec![];
        for whole in plan.completed(index) {
            let bytes = written
                .iter()
                .find(|(id, _)| plan.parent_of(*id) == whole)
                .map(|(_, bytes)| bytes.as_slice())
                .unwrap_or_default();
            let Some((value, cumulative)) = written_value(plan, whole, bytes)? else { continue };
            let Some(&node) = plan.graph.producers().get(&value) else { continue };
            let joined = &plan.graph.nodes[node];
            let subject = Subject {
                node: Some(joined),
                label: &joined.name,
                op: &joined.op_type,
                value,
                graph: &plan.graph,
                plan: Some(plan),
            };
            let mut row = self.row(&subject, None, Some(&cumulative))?;
            row.ran_on = Placement::View.name();
            rows.push((Some(node), row));
        }
        Ok(rows)
    }

    /// Runs one step fed with the reference's values. What an earlier step made for this one alone (a copy of
    /// a view that is no value of the graph) is carried over from that step's own run.
    fn run_alone(
        &self,
        execution: &mut Execution,
        plan: &Arc<Plan>,
        index: usize,
        step: &Step,
        carried: &mut Carried,
    ) -> Result<Vec<PlaceBytes>> {
        let feed = self.feed(plan, &step.reads, carried)?;
        let written = execution.run_step(index, &feed)?;
        carried.extend(written.iter().filter(|(id, _)| plan.buffer(*id).value.is_none()).cloned());
        Ok(written)
    }

    /// The reference's values as they lie in places, and what was carried.
    pub(super) fn feed(
        &self,
        plan: &Arc<Plan>,
        reads: &[BufferId],
        carried: &Carried,
    ) -> Result<Vec<PlaceBytes>> {
        let mut feed: Vec<PlaceBytes> = vec![];
        for &id in reads {
            let place = plan.buffer(id);
            if matches!(place.allocation, Allocation::Constant(_)) {
                continue;
            }
            let whole = plan.parent_of(id);
            let mut bytes = match feed.iter().position(|(fed, _)| *fed == whole) {
                Some(at) => feed.swap_remove(at).1,
                None if whole != id => {
                    POISON.to_ne_bytes().repeat(place.bytes() as usize / size_of_val(&POISON))
                }
                None => vec![],
            };
            match place.value {
                Some(value) => {
                    let tensor = self.sets.reference.get(&value).ok_or_else(|| {
                        Error::internal("the reference lacks a value").at_tensor(&place.label)
                    })?;
                    place.encode_into(
                        &cast(tensor, place.fact.dtype, true)?.reshape(place.fact.shape.clone())?,
                        &mut bytes,
                    )?;
                }
                // No dispatch makes a copy without elements.
                None if place.fact.count() == 0 => {}
                None => {
                    bytes = carried.get(&id).cloned().ok_or_else(|| {
                        Error::internal("nothing wrote what a step reads").at_tensor(&place.label)
                    })?
                }
            };
            feed.push((whole, bytes));
        }
        Ok(feed)
    }

    /// An operator on the CPU, on the reference's values as the session holds them.
    fn evaluate_alone(
        &self,
        op: &dyn Operator,
        reads: &[Option<ValueId>],
        graph: &Graph,
    ) -> Result<Vec<Tensor>> {
        let operands = self.fed(op, reads, graph)?;
        cpu::eval_node(op, &operands.iter().map(Option::as_ref).collect::<Vec<_>>(), self.session.mode())
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
                let subject = Subject {
                    node: Some(node),
                    label: &node.name,
                    op: &node.op_type,
                    value,
                    graph,
                    plan: None,
                };
                let mut row = self.row(&subject, alone.get(at), made.get(&value))?;
                row.ran_on = "cpu";
                rows.push((Some(index), row));
            }
        }
        Ok((rows, made))
    }
}
