//! Graphs in nodes, on the device: each is a session of its own there.
//!
//! What is carried from turn to turn stays on the device, and so do the slices of a Scan and what turns leave
//! to be stacked. A condition is read back only where the device computes it; the number of turns and the
//! order of graphs is the host's matter. Plans are made once for each set of shapes and kept by the graph's
//! session, as any session's are.

use super::bindings::{AnyTensor, Placed};
use super::{Session, SessionBuilder};
use crate::cpu::body::graph_of;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::onnx;
use crate::ops::control::loop_::{FIRST, Loop};
use crate::ops::control::{ControlFlow, counter, endless, turn_limit};
use crate::ops::values::scalar;
use crate::ops::{OnValues, Operator};
use crate::plan::Plan;
use crate::tensor::{Boolean, Tensor};
use crate::value::ValueType;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A session of a graph in a node. Behind a trait, so that whoever asks whether a session may go to another thread
/// isn't led through all types of a device once more: compilers do so only to some depth.
pub(super) trait GraphSession: Send + Sync {
    fn session(&self) -> &Session;
}

impl GraphSession for Session {
    fn session(&self) -> &Session {
        self
    }
}

/// A node's operator, and a session for each of its graphs.
pub(super) struct Control {
    op: Arc<dyn Operator>,
    bodies: Vec<Box<dyn GraphSession>>,
    /// What brings slices in the order in which graphs take and make them, by the order of axes.
    pub(super) moves: Mutex<HashMap<Vec<usize>, Arc<dyn GraphSession>>>,
    /// Why the CPU runs it instead, where it was found to.
    pub(super) on_cpu: OnceLock<String>,
}

/// What turns need of the elements of: no plan serves two of them.
const BY_TURN: &str = "a shape in its graph depends on what changes from turn to turn";

impl Control {
    pub(super) fn op(&self) -> Result<&dyn OnValues> {
        self.op.on_values().ok_or_else(|| Error::internal("a node without graphs runs as one with"))
    }

    /// The fallbacks inside, of the graphs that ran.
    pub(super) fn fallbacks(&self) -> impl Iterator<Item = (String, String, String)> {
        self.bodies
            .iter()
            .flat_map(|body| body.session().plans.latest())
            .flat_map(|prepared| prepared.fallbacks())
    }

    /// The plans of the graphs that ran.
    pub(super) fn plans(&self) -> impl Iterator<Item = Arc<Plan>> {
        self.bodies
            .iter()
            .flat_map(|body| body.session().plans.latest())
            .flat_map(|prepared| prepared.plans())
    }

    /// The inputs of the node that the host reads.
    pub(super) fn read_by_host(&self) -> Range<usize> {
        match self.op.on_values().and_then(OnValues::control_flow) {
            Some(ControlFlow::If) => 0..1,
            Some(ControlFlow::Loop(_)) => 0..FIRST,
            _ => 0..0,
        }
    }
}

impl Session {
    /// What runs a node's graphs on the device; `None` where only the CPU runs them.
    ///
    /// Errors: a rewrite of a graph that fails.
    pub(super) fn control(&self, node: &Node) -> Result<Option<Arc<Control>>> {
        let Some(op) = node.op.on_values().filter(|op| op.control_flow().is_some()) else { return Ok(None) };
        let mut known = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.iter().find(|control| Arc::ptr_eq(&control.op, &node.op)) {
            return Ok(Some(found.clone()));
        }
        let mut bodies: Vec<Box<dyn GraphSession>> = vec![];
        for body in op.bodies() {
            let Some(graph) = graph_of(&**body) else { return Ok(None) };
            bodies.push(Box::new(self.of_graph((**graph).clone())?));
        }
        let made = Arc::new(Control {
            op: node.op.clone(),
            bodies,
            moves: Mutex::default(),
            on_cpu: OnceLock::new(),
        });
        known.push(made.clone());
        Ok(Some(made))
    }

    /// A session of a graph of this one's, on the same device, which shares the constants that lie there.
    pub(super) fn of_graph(&self, graph: Graph) -> Result<Session> {
        let options =
            SessionBuilder { transform: None, capacities: Default::default(), ..self.options.clone() };
        let made = options.build(onnx::Model { graph, info: self.info.clone() })?;
        Ok(Session { constants: self.constants.clone(), ..made })
    }

    /// Runs a node by its graphs; `None` where the CPU is to run it instead.
    ///
    /// Errors: what the graphs' runs give, a loop beyond `SARDONYX_LOOP_LIMIT` turns.
    pub(super) fn run_control(
        &self,
        control: &Control,
        inputs: &[Option<AnyTensor>],
    ) -> Result<Option<Vec<AnyTensor>>> {
        if control.on_cpu.get().is_some() {
            return Ok(None);
        }
        let op = control.op()?;
        let around: Vec<AnyTensor> = inputs.iter().skip(op.own_inputs()).flatten().cloned().collect();
        let made = match op.control_flow() {
            Some(ControlFlow::If) => {
                let taken = usize::from(on_host(inputs, 0)?.is_some_and(|value| value == 0));
                let (body, outputs) = (body(control, taken)?, 0..usize::MAX);
                body.run_graph(around, outputs, 0..0)
            }
            Some(ControlFlow::Loop(op)) => self.run_loop(control, op, inputs, &around),
            Some(ControlFlow::Scan(op)) => self.run_scan(control, op, inputs, &around),
            None => Err(Error::internal("only the CPU runs these graphs")),
        }?;
        if made.is_none() {
            control.on_cpu.get_or_init(|| BY_TURN.to_string());
        }
        Ok(made)
    }

    fn run_loop(
        &self,
        control: &Control,
        op: &Loop,
        inputs: &[Option<AnyTensor>],
        around: &[AnyTensor],
    ) -> Result<Option<Vec<AnyTensor>>> {
        let (session, graph) = (body(control, 0)?, &*control.op()?.bodies()[0]);
        let asked = on_host(inputs, 0)?;
        let mut goes_on = on_host(inputs, 1)?.unwrap_or(1) != 0;
        let count = op.carried();
        let mut carried =
            (FIRST..FIRST + count).map(|index| given(inputs, index)).collect::<Result<Vec<_>>>()?;
        let mut stacked = vec![vec![]; graph.outputs() - 1 - count];
        let (mut turn, limit) = (0i64, turn_limit()?);
        while goes_on && asked.is_none_or(|turns| turn < turns) {
            if turn >= limit {
                return Err(endless(limit));
            }
            let mut given: Vec<AnyTensor> = vec![
                counter(graph, 0, Tensor::scalar(turn))?.into(),
                counter(graph, 1, Tensor::scalar(Boolean::from(true)))?.into(),
            ];
            let types: Vec<_> = carried.iter().map(AnyTensor::dtype).collect();
            given.append(&mut carried);
            given.extend_from_slice(around);
            let Some(made) = session.run_graph(given, 1..usize::MAX, 0..FIRST + count)? else {
                return Ok(None);
            };
            let mut made = made.into_iter();
            let condition = made.next().ok_or_else(|| Error::internal("a loop's graph made nothing"))?;
            goes_on = scalar(&condition.into_tensor()?.into(), 1)? != 0;
            carried.extend(made.by_ref().take(count));
            let types = types.into_iter().zip(carried.iter().map(AnyTensor::dtype));
            let mut changed = types.enumerate().filter(|(_, (before, now))| before != now);
            if let Some((index, (before, now))) = changed.next() {
                let [before, now] = [before, now].map(ValueType::Tensor);
                let message =
                    format!("carried value {index} began the turn as {before}, and its graph makes it {now}");
                return Err(Error::model(message)
                    .of_input(index + FIRST)
                    .remedy("export the model again: a carried value keeps its type"));
            }
            for (list, value) in stacked.iter_mut().zip(made) {
                list.push(value);
            }
            turn += 1;
        }
        for (index, list) in stacked.into_iter().enumerate() {
            carried.push(self.stacked(list, graph, 1 + count + index)?);
        }
        Ok(Some(carried))
    }

    /// Runs this session's graph on values in the order of its inputs, and leaves the outputs in `keep` on the
    /// device. `None` where a plan would be made by the elements of one of the inputs in `changing`.
    pub(super) fn run_graph(
        &self,
        inputs: Vec<AnyTensor>,
        keep: Range<usize>,
        changing: Range<usize>,
    ) -> Result<Option<Vec<AnyTensor>>> {
        let graph = &self.graph;
        if inputs.len() != graph.inputs.len() {
            let (given, wanted) = (inputs.len(), graph.inputs.len());
            return Err(Error::internal(format!("a graph of {wanted} inputs was given {given}")));
        }
        let kept = graph.outputs.iter().enumerate().filter(|(index, _)| keep.contains(index));
        let kept: HashSet<_> = kept.map(|(_, id)| *id).collect();
        let placed = Placed::from_values(graph.inputs.iter().copied().zip(inputs).collect(), kept)?;
        let prepared = self.prepare_for(placed.facts(), &|id| placed.fetch(id))?;
        let changes = graph.inputs.get(changing).unwrap_or_default();
        if prepared.made_for.inputs.iter().any(|given| given.bytes.is_some() && changes.contains(&given.id)) {
            return Ok(None);
        }
        self.run_part(&prepared, graph, &graph.outputs, &placed).map(Some)
    }
}

pub(super) fn body(control: &Control, index: usize) -> Result<&Session> {
    let body = control.bodies.get(index).map(|body| body.session());
    body.ok_or_else(|| Error::internal("a node lacks a graph"))
}

/// An input that the node has.
pub(super) fn given(inputs: &[Option<AnyTensor>], index: usize) -> Result<AnyTensor> {
    let value = inputs.get(index).cloned().flatten();
    value.ok_or_else(|| Error::model(format!("input {index} is missing")).of_input(index))
}

/// The one number or truth value of an input, if it is there.
fn on_host(inputs: &[Option<AnyTensor>], index: usize) -> Result<Option<i64>> {
    let value = inputs.get(index).cloned().flatten();
    value.map(|value| scalar(&value.into_tensor()?.into(), index)).transpose()
}
