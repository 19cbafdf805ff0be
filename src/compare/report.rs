//! What a comparison found: the JSON of `compare`, schema 1.

use super::fault::Planted;
use super::measure::Measure;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Same,
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
    pub node: String,
    pub op: String,
    /// The value that differs.
    pub output: String,
}

/// An output of the model.
#[derive(Debug, Clone, Serialize)]
pub struct OutputRow {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    #[serde(flatten)]
    pub measure: Measure,
}

/// The graph as planned, fused, against the graph as read, both on the CPU in float64.
#[derive(Debug, Clone, Serialize)]
pub struct FusedPlan {
    pub outputs: Vec<OutputRow>,
    pub same: bool,
}

/// A node, or a copy that a layout made necessary.
#[derive(Debug, Clone, Serialize)]
pub struct NodeRow {
    pub node: String,
    pub op: String,
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
    pub local: Option<Measure>,
    pub cumulative: Option<Measure>,
    pub same: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Fallback {
    pub node: String,
    pub op: String,
    pub reason: String,
}

/// A whole comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub schema: u32,
    pub verdict: Verdict,
    pub first_different: Option<FirstDifferent>,
    /// `gpu` or `cpu`.
    pub device: &'static str,
    pub adapter: Option<String>,
    pub backend: Option<String>,
    pub driver: Option<String>,
    pub precision: crate::base::Precision,
    pub reference: String,
    /// The constant of every tolerance.
    pub c: f64,
    pub outputs: Vec<OutputRow>,
    pub fused_plan: Option<FusedPlan>,
    pub nodes: Vec<NodeRow>,
    pub fallbacks: Vec<Fallback>,
    /// A fault that was planted on purpose, filled in by who planted it.
    #[doc(hidden)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planted: Option<Planted>,
}
