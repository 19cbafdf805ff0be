//! What quantised weights cost: of each layer by itself, and of the whole model.

use super::super::compare::samples::SampleOptions;
use sardonyx::base::EvalPrecision;
use sardonyx::error::{Error, Result};
use sardonyx::onnx::quantize::{Quantized, Source};
use sardonyx::onnx::{self, Model};
use sardonyx::{Session, Tensor, ValueId, cpu};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;

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
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
    /// What layers are given and make, by name.
    values: HashMap<String, Tensor>,
}

/// The samples that costs are measured over.
pub struct Measures {
    name: String,
    samples: Vec<Sample>,
}

impl Measures {
    /// Runs the model as it is.
    ///
    /// Errors: samples that aren't there or don't fit, what a run gives.
    pub fn new(model: &Path, options: &SampleOptions, source: &Source) -> Result<Self> {
        let named = |error: Error| error.in_file(model);
        let mut session = Session::builder().load(model)?;
        let wanted: HashSet<&str> =
            source.layers().flat_map(|layer| [layer.input.as_str(), layer.output.as_str()]).collect();
        let mut samples = vec![];
        for sample in options.list(&session.inputs()).map_err(named)? {
            let inputs = sample.options.bind(&mut session, model).map_err(named)?;
            let graph = session.original();
            let name = |id: ValueId| graph.value(id).name.clone();
            let mut values: HashMap<String, Tensor> = HashMap::new();
            let given: Vec<_> = inputs.iter().map(|(&id, tensor)| (name(id), tensor.clone())).collect();
            let mut keep = |id: ValueId, tensor: &Tensor| {
                if wanted.contains(graph.value(id).name.as_str()) {
                    values.insert(name(id), tensor.clone());
                }
            };
            let made = cpu::run(graph, &inputs, EvalPrecision::Declared, &mut keep).map_err(named)?;
            values.extend(given.iter().filter(|(name, _)| wanted.contains(name.as_str())).cloned());
            let outputs = graph.outputs.iter().map(|&id| name(id)).zip(made).collect();
            samples.push(Sample { inputs: given, outputs, values });
        }
        Ok(Self { name: model.display().to_string(), samples })
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
        let mut costs = HashMap::new();
        for layer in &quantized.layers {
            let Some(id) = graph.find(&layer.output) else { continue };
            let Some(node) = graph.nodes.iter().find(|node| node.outputs.first() == Some(&Some(id))) else {
                continue;
            };
            let mut cost = Cost::NONE;
            for sample in &self.samples {
                let (Some(input), Some(right)) =
                    (sample.values.get(&layer.input), sample.values.get(&layer.output))
                else {
                    continue;
                };
                let operand = |id: &Option<ValueId>| id.map(|id| graph.constant(id).unwrap_or(input));
                let operands: Vec<Option<&Tensor>> = node.inputs.iter().map(operand).collect();
                let made = cpu::eval_node(&*node.op, &operands, EvalPrecision::Declared)?;
                if let Some(made) = made.first() {
                    cost = cost.worse(Cost::of(made, right)?);
                }
            }
            costs.insert(layer.node.clone(), cost);
        }
        Ok(costs)
    }

    /// The cost of all of them to the model's outputs.
    pub fn whole(&self, quantized: &Quantized) -> Result<Cost> {
        let session = Session::builder().build(self.read(quantized)?)?;
        let mut cost = Cost::NONE;
        for sample in &self.samples {
            let given: Vec<(&str, Tensor)> =
                sample.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            for (name, made) in session.run(&given)? {
                let right = sample.outputs.iter().find(|(other, _)| *other == name);
                if let Some((_, right)) = right.filter(|(_, right)| right.dtype().is_float()) {
                    cost = cost.worse(Cost::of(&made, right)?);
                }
            }
        }
        Ok(cost)
    }
}
