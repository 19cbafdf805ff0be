//! What quantised weights cost: of each layer by itself, and of the whole model.

use super::super::compare::samples::SampleOptions;
use super::span::Span;
use sardonyx::base::EvalPrecision;
use sardonyx::error::{Error, Result};
use sardonyx::graph::Graph;
use sardonyx::onnx::quantize::{Layer, Quantized};
use sardonyx::onnx::{self, Model};
use sardonyx::{Session, Tensor, ValueId, cpu};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// How far results lie from what they were.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// The largest difference ÷ the largest magnitude; infinite where what was a number isn't one.
    pub max_rel: f64,
    /// The least of all results.
    pub cosine: f64,
}

impl Cost {
    const NONE: Self = Self { max_rel: 0.0, cosine: 1.0 };

    fn of(made: &Tensor, right: &Tensor) -> Result<Self> {
        let (made, right) = (made.to_f64s()?, right.to_f64s()?);
        let (mut most, mut largest) = (0f64, 0f64);
        let (mut both, mut ours, mut theirs) = (0f64, 0f64, 0f64);
        for (x, y) in made.iter().zip(&right) {
            if x == y || x.is_nan() && y.is_nan() {
                if y.is_finite() {
                    (both, ours, theirs) = (both + x * y, ours + x * x, theirs + y * y);
                    largest = largest.max(y.abs());
                }
                continue;
            }
            let off = (x - y).abs();
            most = most.max(if off.is_finite() { off } else { f64::INFINITY });
            largest = largest.max(if y.is_finite() { y.abs() } else { 0.0 });
            (both, ours, theirs) = (both + x * y, ours + x * x, theirs + y * y);
        }
        let cosine = if ours == 0.0 && theirs == 0.0 { 1.0 } else { both / (ours.sqrt() * theirs.sqrt()) };
        let max_rel = if most == 0.0 { 0.0 } else { most / largest.max(f64::MIN_POSITIVE) };
        Ok(Self { max_rel, cosine })
    }

    fn worse(self, other: Self) -> Self {
        // A cosine that is no number is worse than any.
        let cosine =
            if other.cosine < self.cosine || other.cosine.is_nan() { other.cosine } else { self.cosine };
        Self { max_rel: self.max_rel.max(other.max_rel), cosine }
    }
}

/// A sample and what the model as it was makes of it.
struct Sample {
    inputs: HashMap<ValueId, Tensor>,
    outputs: Vec<(String, Tensor)>,
}

/// The samples that costs are measured over.
pub struct Measures {
    name: String,
    /// The model as it was.
    graph: Arc<Graph>,
    samples: Vec<Sample>,
}

/// What sees every value of a run, by name.
type Watch<'a> = &'a mut dyn FnMut(&str, &Tensor);

impl Measures {
    /// Runs the model as it is; `watch` sees what all samples give.
    ///
    /// Errors: samples that aren't there or don't fit, what a run gives.
    pub fn new(model: &Path, options: &SampleOptions, watch: Watch<'_>) -> Result<Self> {
        let named = |error: Error| error.in_file(model);
        let mut session = Session::builder().load(model)?;
        let name = model.display().to_string();
        let mut measures = Self { name, graph: session.original().clone(), samples: vec![] };
        for sample in options.list(&session.inputs()).map_err(named)? {
            let inputs = sample.options.bind(&mut session, model).map_err(named)?;
            let outputs = run(&measures.graph, &inputs, watch).map_err(named)?;
            measures.samples.push(Sample { inputs, outputs });
        }
        Ok(measures)
    }

    /// The samples' values once more.
    pub fn again(&self, watch: Watch<'_>) -> Result<()> {
        self.samples.iter().try_for_each(|sample| run(&self.graph, &sample.inputs, watch).map(drop))
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    fn read(&self, quantized: &Quantized) -> Result<Model> {
        onnx::read_bytes(&quantized.model, None, &self.name)
    }

    /// The cost of each layer by itself, by its node's name; of those that are known.
    pub fn layers(&self, quantized: &Quantized) -> Result<HashMap<String, Cost>> {
        let graph = self.read(quantized)?.graph;
        let mut spans: Vec<(&Layer, Span<'_>)> = vec![];
        for layer in &quantized.layers {
            let from: Option<Vec<ValueId>> = layer.inputs.iter().map(|input| graph.find(&input.is)).collect();
            let (Some(from), Some(to)) = (from, graph.find(&layer.output.is)) else { continue };
            spans.extend(Span::new(&graph, from, to)?.map(|span| (layer, span)));
        }
        let ports = |layer: &Layer| {
            let all = layer.inputs.iter().chain([&layer.output]);
            all.map(|port| port.was.clone()).collect::<Vec<_>>()
        };
        let wanted: HashSet<String> = spans.iter().flat_map(|(layer, _)| ports(layer)).collect();
        let mut costs: HashMap<String, Cost> = HashMap::new();
        // A sample's values at a time: those of all would be many times the model.
        for sample in &self.samples {
            let mut values: HashMap<String, Tensor> = HashMap::new();
            let mut keep = |name: &str, tensor: &Tensor| {
                if wanted.contains(name) {
                    values.insert(name.to_string(), tensor.clone());
                }
            };
            run(&self.graph, &sample.inputs, &mut keep)?;
            for (layer, span) in &spans {
                let given: Option<Vec<Tensor>> =
                    layer.inputs.iter().map(|input| values.get(&input.was).cloned()).collect();
                let (Some(given), Some(right)) = (given, values.get(&layer.output.was)) else { continue };
                if let Some(made) = span.run(&given)? {
                    let cost = costs.entry(layer.node.clone()).or_insert(Cost::NONE);
                    *cost = cost.worse(Cost::of(&made, right)?);
                }
            }
        }
        Ok(costs)
    }

    /// The cost of all of them to the model's outputs.
    pub fn whole(&self, quantized: &Quantized) -> Result<Cost> {
        let session = Session::builder().build(self.read(quantized)?)?;
        let mut cost = Cost::NONE;
        for sample in &self.samples {
            let named = |(&id, tensor): (&ValueId, &Tensor)| (self.name_of(id), tensor.clone());
            let given: Vec<(&str, Tensor)> = sample.inputs.iter().map(named).collect();
            for (name, made) in session.run(&given)? {
                let right = sample.outputs.iter().find(|(other, _)| *other == name);
                if let Some((_, right)) = right.filter(|(_, right)| right.dtype().is_float()) {
                    cost = cost.worse(Cost::of(&made, right)?);
                }
            }
        }
        Ok(cost)
    }

    fn name_of(&self, id: ValueId) -> &str {
        &self.graph.value(id).name
    }
}

/// Runs a graph; gives its outputs by name.
fn run(graph: &Graph, inputs: &HashMap<ValueId, Tensor>, watch: Watch<'_>) -> Result<Vec<(String, Tensor)>> {
    let name = |id: ValueId| graph.value(id).name.as_str();
    inputs.iter().for_each(|(&id, tensor)| watch(name(id), tensor));
    let mut see = |id: ValueId, tensor: &Tensor| watch(name(id), tensor);
    let made = cpu::run(graph, inputs, EvalPrecision::Declared, &mut see)?;
    Ok(graph.outputs.iter().map(|&id| name(id).to_string()).zip(made).collect())
}
