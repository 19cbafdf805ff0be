//! What a comparison found: the JSON of `compare`, schema 1.

use super::fault::Planted;
use super::measure::Measure;
use serde::Serialize;

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was measured lies within its tolerance.
    Same,
    /// Something doesn't.
    Different,
}

impl From<bool> for Verdict {
    fn from(same: bool) -> Self {
        if same { Verdict::Same } else { Verdict::Different }
    }
}

/// The first step whose local measure fails, else the first whose cumulative one does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstDifferent {
    /// The node by whose name the step goes.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The value that differs.
    pub output: String,
}

/// An output of the model.
#[derive(Debug, Clone, Serialize)]
pub struct OutputRow {
    /// The output's name in the model.
    pub name: String,
    /// Its type, by numpy's name.
    pub dtype: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// How far it is from the reference.
    #[serde(flatten)]
    pub measure: Measure,
}

/// The graph as planned, fused, against the graph as read, both on the CPU in float64.
#[derive(Debug, Clone, Serialize)]
pub struct FusedPlan {
    /// The model's outputs, in its order.
    pub outputs: Vec<OutputRow>,
    /// Whether all of them are the same.
    pub same: bool,
}

/// A node, or a copy that a layout made necessary.
#[derive(Debug, Clone, Serialize)]
pub struct NodeRow {
    /// The node's name, or the first of its outputs where it has none.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The value that was measured.
    pub output: String,
    /// `gpu`, `cpu` (a fallback), `view` (costs nothing: its elements are measured where they are next
    /// written), `plan` (known when the plan was made), `fused` (into another node's step), `removed` (its
    /// result is needed by nobody, or a constant).
    pub ran_on: &'static str,
    /// The node by whose name the step goes.
    pub fused_into: Option<String>,
    /// The other nodes of the step, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fused: Vec<String>,
    /// The kernels of the step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<&'static str>,
    /// The step as planned, fed the reference's values.
    pub local: Option<Measure>,
    /// The value as the plan made it, whatever came before.
    pub cumulative: Option<Measure>,
    /// Whether both are within their tolerances.
    pub same: bool,
}

/// A node that runs on the CPU though a GPU was asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Fallback {
    /// The node's name, or the first of its outputs where it has none.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Why no kernel takes it.
    pub reason: String,
}

/// A whole comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of the JSON's form, which grows by addition.
    pub schema: u32,
    /// What it comes to.
    pub verdict: Verdict,
    /// Where to look first, if something differs and nodes were measured.
    pub first_different: Option<FirstDifferent>,
    /// `gpu` or `cpu`.
    pub device: &'static str,
    /// The adapter's name, of a GPU.
    pub adapter: Option<String>,
    /// `vulkan`, `metal` or `dx12`, of a GPU.
    pub backend: Option<String>,
    /// The driver's name and version, of a GPU.
    pub driver: Option<String>,
    /// How float32 tensors were stored.
    pub precision: crate::base::Precision,
    /// What it was compared with, by [`Reference::name`](super::Reference::name).
    pub reference: String,
    /// The constant of every tolerance.
    pub c: f64,
    /// The model's outputs, in its order.
    pub outputs: Vec<OutputRow>,
    /// The rewrites by themselves.
    pub fused_plan: Option<FusedPlan>,
    /// The nodes in the model's order, where they were measured.
    pub nodes: Vec<NodeRow>,
    /// What ran on the CPU though a GPU was asked for.
    pub fallbacks: Vec<Fallback>,
    /// A fault that was planted on purpose, filled in by who planted it.
    #[doc(hidden)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planted: Option<Planted>,
}
