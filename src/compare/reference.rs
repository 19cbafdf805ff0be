//! What a device is compared with: the graph as read, every rewrite off.

use super::bounds::{ReferenceRounding, unit};
use crate::base::{EvalPrecision, Precision, held};
use crate::cpu;
use crate::error::{Error, Result};
use crate::gpu::GpuDevice;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::Operator;
use crate::plan::Plan;
use crate::session::Session;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// What to compare with.
#[derive(Clone, Default)]
pub enum Reference {
    /// The CPU, types as declared.
    Cpu,
    /// The oracle: the CPU with every float in float64.
    #[default]
    CpuF64,
    /// The CPU with every stored float32 rounded to float16.
    CpuF16,
    /// Another adapter, which runs the graph as read.
    Adapter(GpuDevice),
    /// Recorded outputs by name. Nodes are compared with the oracle.
    Outputs(Vec<(String, Tensor)>),
}

impl Reference {
    /// What reports call it: `cpu-f64`, an adapter's name.
    pub fn name(&self) -> String {
        match self {
            Reference::Cpu => "cpu".into(),
            Reference::CpuF64 => "cpu-f64".into(),
            Reference::CpuF16 => "cpu-f16".into(),
            Reference::Adapter(device) => device.info().name.clone(),
            Reference::Outputs(_) => "recorded outputs".into(),
        }
    }
    /// The mode in which the CPU computes the values of nodes.
    pub fn mode(&self) -> EvalPrecision {
        match self {
            Reference::Cpu | Reference::Adapter(_) => EvalPrecision::Declared,
            Reference::CpuF64 | Reference::Outputs(_) => EvalPrecision::Oracle,
            Reference::CpuF16 => EvalPrecision::F16,
        }
    }
    /// How the reference itself rounds a value of this type.
    pub fn own(&self, dtype: DType) -> ReferenceRounding {
        match self.mode() {
            EvalPrecision::Oracle => ReferenceRounding { arithmetic: false, unit: 0.0 },
            EvalPrecision::Declared => {
                ReferenceRounding { arithmetic: true, unit: unit(dtype, Precision::F32) }
            }
            EvalPrecision::F16 => ReferenceRounding { arithmetic: true, unit: unit(dtype, Precision::F16) },
        }
    }
}

/// Every value of a run, by its id. The oracle's are as computed; who reads one as an operand takes it as its
/// type would hold it.
pub type Values = HashMap<ValueId, Tensor>;

/// What storage makes of a value; `None` where it stays as it is.
pub type Stored<'a> = dyn Fn(ValueId, &Tensor) -> Result<Option<Tensor>> + 'a;

/// Values stored as they are.
pub const AS_IS: &Stored = &|_, _| Ok(None);

/// Runs a graph on the CPU and keeps every value, inputs included.
pub fn values(graph: &Graph, inputs: &Values, mode: EvalPrecision) -> Result<Values> {
    stored(&[graph], inputs, mode, AS_IS).map(|(all, _)| all)
}

/// The same, of a graph and then of what others have beside it (several products that became one), where each
/// value is read as it is stored. Whether storage changed any comes with them.
pub fn stored(
    graphs: &[&Graph],
    inputs: &Values,
    mode: EvalPrecision,
    store: &Stored,
) -> Result<(Values, bool)> {
    let mut all =
        inputs.iter().map(|(&id, tensor)| Ok((id, held(tensor, mode)?))).collect::<Result<Values>>()?;
    let mut changed = false;
    for (&id, tensor) in &all {
        changed |= store(id, tensor)?.is_some();
    }
    for graph in graphs {
        changed |= extend(&mut all, graph, mode, store)?;
    }
    Ok((all, changed))
}

/// Runs the nodes of a graph that have made nothing yet.
pub fn extend(all: &mut Values, graph: &Graph, mode: EvalPrecision, store: &Stored) -> Result<bool> {
    let mut changed = false;
    for node in &graph.nodes {
        if node.outputs.iter().flatten().all(|id| all.contains_key(id)) {
            continue;
        }
        let (made, stored) = evaluate(node, graph, &|id| all.get(&id).cloned(), mode, store)?;
        changed |= stored;
        for (id, tensor) in made {
            changed |= store(id, &tensor)?.is_some();
            all.entry(id).or_insert(tensor);
        }
    }
    Ok(changed)
}

/// Runs a node on values, of which constants of the graph need not be any. What it made, and whether storage
/// changed an operand.
pub fn evaluate(
    node: &Node,
    graph: &Graph,
    value: &dyn Fn(ValueId) -> Option<Tensor>,
    mode: EvalPrecision,
    store: &Stored,
) -> Result<(Vec<(ValueId, Tensor)>, bool)> {
    let here = |error: Error| graph.error_at(node, error);
    let mut changed = false;
    let mut operand = |index: usize, id: ValueId| {
        let held = match (value(id), graph.constant(id)) {
            (Some(tensor), _) => tensor,
            (None, Some(constant)) => cpu::held_by(&*node.op, index, constant, mode)?,
            (None, None) => {
                return Err(Error::internal("the reference lacks a value").at_tensor(&graph.value(id).name));
            }
        };
        let stored = if node.op.by_value(index) { None } else { store(id, &held)? };
        changed |= stored.is_some();
        Ok(stored.unwrap_or(held))
    };
    let operands = node
        .inputs
        .iter()
        .enumerate()
        .map(|(index, id)| id.map(|id| operand(index, id)).transpose())
        .collect::<Result<Vec<_>>>()
        .map_err(here)?;
    let results = cpu::eval_node(&*node.op, &operands.iter().map(Option::as_ref).collect::<Vec<_>>(), mode)
        .map_err(here)?;
    let made = node.outputs.iter().zip(results).filter_map(|(id, tensor)| Some(((*id)?, tensor)));
    Ok((made.collect(), changed))
}

/// Runs the graph as read on another adapter, and computes on the CPU what that has only as a view.
pub fn on_adapter(session: &Session, device: &GpuDevice, inputs: &Values) -> Result<Values> {
    let model = crate::onnx::Model { graph: (**session.original()).clone(), info: session.info().clone() };
    let other = Session::builder()
        .device(device.clone())
        .precision(session.precision())
        .without_rewrites()
        .build(model)?;
    let prepared = other.prepare(inputs)?;
    let mut all = inputs.clone();
    if let Some(plan) = &prepared.plan {
        let mut execution = other.lease(&prepared)?;
        let mode = other.mode();
        let evaluate = |op: &dyn Operator, operands: &[Option<&Tensor>]| cpu::eval_step(op, operands, mode);
        let made = execution.run_probed(inputs, &evaluate, &mut |_, written| {
            for (id, bytes) in written {
                if let Some((value, tensor)) = written_value(plan, *id, bytes)? {
                    all.entry(value).or_insert(tensor);
                }
            }
            Ok(())
        })?;
        all.extend(made);
    }
    extend(&mut all, session.original(), EvalPrecision::Declared, AS_IS)?;
    Ok(all)
}

/// The value that a place holds, from its bytes; `None` for what is no value of the graph.
pub fn written_value(
    plan: &Arc<Plan>,
    id: crate::base::BufferId,
    bytes: &[u8],
) -> Result<Option<(ValueId, Tensor)>> {
    let place = plan.buffers.get(id.0 as usize).ok_or_else(|| Error::internal("a place went missing"))?;
    let Some(value) = place.value else { return Ok(None) };
    let tensor = place.decode(bytes)?;
    let shape = plan
        .facts
        .get(value.0 as usize)
        .and_then(Option::as_ref)
        .map(|fact| fact.shape.clone())
        .unwrap_or_default();
    // A place may hold the value in a shape of as many elements in the same order.
    Ok(Some((value, if tensor.shape() == shape { tensor } else { tensor.reshape(shape)? })))
}
