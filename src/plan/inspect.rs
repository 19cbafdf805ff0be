//! A plan as something to look at: a summary for JSON, and text.

use super::{Placement, Plan, StepKind};
use serde::Serialize;
use std::collections::HashSet;

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub nodes: Vec<PlannedNode>,
    pub steps: Vec<PlannedStep>,
    pub dispatches: usize,
    /// Distinct kernels to compile.
    pub pipelines: usize,
    /// Bytes of activation buffers, shared by lifetime.
    pub activation_bytes: u64,
    /// Bytes that the activations would take without sharing.
    pub unshared_bytes: u64,
    /// Bytes of the buffers of inputs and outputs, which a run binds.
    pub external_bytes: u64,
    /// Bytes of constants as packed for their kernels.
    pub constant_bytes: u64,
}

/// Where a node ended up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedNode {
    pub node: String,
    pub op: String,
    /// Nodes that were fused into this one, by name.
    pub fused: Vec<String>,
    /// `gpu`, `view` (costs nothing), `plan` (computed with the plan) or `cpu`.
    pub placement: &'static str,
    /// Why it runs on the CPU.
    pub reason: Option<String>,
    pub shapes: Vec<Vec<usize>>,
}

/// A step in the order of execution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStep {
    /// `gpu` or `cpu`; `upload` or `download` around the latter.
    pub kind: &'static str,
    pub label: String,
    pub op: String,
    pub dispatches: Vec<PlannedDispatch>,
}

/// A run of a kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedDispatch {
    pub kernel: &'static str,
    /// Workgroups in each dimension.
    pub grid: [u32; 3],
}

impl Plan {
    /// The number of distinct kernels: pipelines to compile.
    pub fn pipelines(&self) -> usize {
        self.dispatches()
            .map(|(_, dispatch)| (&dispatch.shader, dispatch.accesses()))
            .collect::<HashSet<_>>()
            .len()
    }

    /// What the plan comes to, as plain data.
    pub fn summary(&self) -> Summary {
        let shape = |id: &Option<crate::graph::ValueId>| {
            id.and_then(|id| self.facts.get(id.0 as usize)?.as_ref()).map(|fact| fact.shape.clone())
        };
        let nodes = self.graph.nodes.iter().zip(&self.placements).map(|(node, placement)| PlannedNode {
            node: node.name.clone(),
            op: node.op_type.clone(),
            fused: node.fused.iter().map(|(name, _)| name.clone()).collect(),
            placement: placement.name(),
            reason: if let Placement::Cpu(reason) = placement { Some(reason.clone()) } else { None },
            shapes: node.outputs.iter().filter_map(shape).collect(),
        });
        let steps = self.steps.iter().map(|step| {
            let (kind, dispatches) = match &step.kind {
                StepKind::Upload { .. } => ("upload", vec![]),
                StepKind::Download { .. } => ("download", vec![]),
                StepKind::Cpu { .. } => ("cpu", vec![]),
                StepKind::Gpu { dispatches } => (
                    "gpu",
                    dispatches
                        .iter()
                        .map(|dispatch| PlannedDispatch { kernel: dispatch.kernel, grid: dispatch.grid })
                        .collect(),
                ),
            };
            PlannedStep { kind, label: step.label.clone(), op: step.op_type.clone(), dispatches }
        });
        Summary {
            nodes: nodes.collect(),
            steps: steps.collect(),
            dispatches: self.dispatches().count(),
            pipelines: self.pipelines(),
            activation_bytes: self.activation_bytes(),
            unshared_bytes: self.unshared_bytes(),
            external_bytes: self.external_bytes(),
            constant_bytes: self.constant_bytes(),
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "placement:")?;
        for node in &self.nodes {
            let fused = if node.fused.is_empty() {
                String::new()
            } else {
                format!("  with {}", node.fused.join(", "))
            };
            let reason =
                node.reason.as_ref().map(|reason| format!("  because: {reason}")).unwrap_or_default();
            writeln!(
                f,
                "  {:4}  {}  {}  {:?}{fused}{reason}",
                node.placement, node.op, node.node, node.shapes
            )?;
        }
        writeln!(f, "steps:")?;
        for (index, step) in self.steps.iter().enumerate() {
            write!(f, "  {index:3}  {:8}  {}", step.kind, step.label)?;
            for dispatch in &step.dispatches {
                let [x, y, z] = dispatch.grid;
                write!(f, "  {} {x}x{y}x{z}", dispatch.kernel)?;
            }
            writeln!(f)?;
        }
        writeln!(f, "dispatches: {} in {} steps", self.dispatches, self.steps.len())?;
        writeln!(f, "pipelines: {}", self.pipelines)?;
        writeln!(
            f,
            "activations: {} bytes in shared buffers, {} without sharing",
            self.activation_bytes, self.unshared_bytes
        )?;
        writeln!(f, "inputs and outputs: {} bytes", self.external_bytes)?;
        writeln!(f, "constants, packed: {} bytes", self.constant_bytes)
    }
}
