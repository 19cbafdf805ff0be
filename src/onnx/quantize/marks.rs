//! Which tensors of a model are quantised over the ranges that samples gave, by the rules of onnxruntime's
//! static quantiser: those around products and convolutions with constant weights, and those that the operators
//! between compute and move. An operator that only moves elements takes part where what it moves does; Relu and
//! Clip behind a quantised node are its result's range.

use super::bytes::{self, Scaling};
use super::candidates::{Candidate, candidate};
use super::ranges::Known;
use super::{Layer, Left, Port, Ranges, Source};
use crate::error::{Error, Result};
use crate::onnx::bodies;
use crate::onnx::functions::{domain, node_name};
use onnx_protobuf::NodeProto;
use std::collections::{HashMap, HashSet};

/// Operators whose inputs and results each have a range.
const COMPUTING: &[&str] = &["Add", "Mul", "Concat", "LeakyRelu", "Sigmoid", "Softmax", "GlobalAveragePool"];
/// Operators whose result has the range of what they read first.
const MOVING: &[&str] = &[
    "MaxPool",
    "AveragePool",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Split",
    "Resize",
    "Gather",
];

/// How a tensor is quantised.
#[derive(Debug, Clone)]
pub enum Mark {
    Own(Scaling),
    /// As another is.
    As(String),
}

/// Weights that a node reads.
pub struct Weights {
    /// The node's place, and its layer's.
    pub at: usize,
    pub layer: usize,
    pub name: String,
    /// The axis whose indices have a scale each.
    pub axis: Option<usize>,
    /// The node's activations and its bias.
    pub x: String,
    pub bias: Option<String>,
}

/// What is to be done to a graph.
pub struct Marks<'a> {
    source: &'a Source,
    ranges: &'a Ranges,
    per_channel: bool,
    /// Tensors and how they are quantised, and their order.
    pub of: HashMap<String, Mark>,
    pub order: Vec<String>,
    pub weights: Vec<Weights>,
    /// Nodes that become part of a range, and what their input is called then.
    pub gone: HashSet<usize>,
    renamed: HashMap<String, String>,
    pub layers: Vec<Layer>,
    pub left: Vec<Left>,
    readers: HashMap<String, usize>,
    made: HashSet<String>,
}

/// Why a node isn't quantised.
enum Not {
    /// It is none of those that are.
    Asked,
    /// For what a tensor holds.
    For(String),
    Wrong(Error),
}

impl<'a> Marks<'a> {
    /// The marks of every node but those of these names. Without names, what would be an error is left.
    ///
    /// Errors: activations that were no numbers in any sample.
    pub fn of(
        source: &'a Source,
        per_channel: bool,
        ranges: &'a Ranges,
        keep: Option<&HashSet<String>>,
    ) -> Result<Self> {
        let graph = source.graph()?;
        let mut readers: HashMap<String, usize> = HashMap::new();
        for node in &graph.node {
            let captures = bodies::captures(node);
            for name in node.input.iter().chain(&captures) {
                *readers.entry(name.clone()).or_default() += 1;
            }
        }
        for output in &graph.output {
            *readers.entry(output.name.clone()).or_default() += 1;
        }
        let mut marks = Self {
            source,
            ranges,
            per_channel,
            of: HashMap::new(),
            order: vec![],
            weights: vec![],
            gone: HashSet::new(),
            renamed: HashMap::new(),
            layers: vec![],
            left: vec![],
            readers,
            made: graph.node.iter().flat_map(|node| node.output.iter().cloned()).collect(),
        };
        let mut left: Vec<(&NodeProto, String)> = vec![];
        for (at, node) in graph.node.iter().enumerate() {
            if !domain(&node.domain).is_empty() || keep.is_some_and(|keep| keep.contains(node_name(node))) {
                continue;
            }
            match marks.node(at, node) {
                Ok(()) | Err(Not::Asked) => {}
                Err(Not::For(reason)) => left.push((node, reason)),
                Err(Not::Wrong(error)) if keep.is_some() => {
                    return Err(error.at_node(node_name(node)).at_operator(&node.op_type));
                }
                Err(Not::Wrong(error)) => left.push((node, error.to_string())),
            }
        }
        let as_left = |(node, reason): (&NodeProto, String)| Left {
            node: node_name(node).into(),
            op_type: node.op_type.clone(),
            reason,
        };
        marks.left = left.into_iter().map(as_left).collect();
        for layer in &mut marks.layers {
            layer.output = Port::same(resolved(&marks.renamed, &layer.output.was));
        }
        Ok(marks)
    }

    /// The name that a node's result has once activations are parts of ranges.
    pub fn result<'b>(&'b self, name: &'b str) -> &'b str {
        resolved(&self.renamed, name)
    }

    /// The scaling of a tensor that is marked.
    pub fn scaling(&self, name: &str) -> Option<Scaling> {
        match self.of.get(self.root(name))? {
            Mark::Own(scaling) => Some(*scaling),
            Mark::As(_) => None,
        }
    }

    /// The tensor whose scaling a marked one has.
    pub fn root<'b>(&'b self, name: &'b str) -> &'b str {
        let mut name = name;
        // A tensor has the scaling of one before it: this ends.
        while let Some(Mark::As(other)) = self.of.get(name) {
            name = other;
        }
        name
    }

    fn node(&mut self, at: usize, node: &NodeProto) -> Result<(), Not> {
        let input = |index: usize| node.input.get(index).filter(|name| !name.is_empty());
        let (Some(x), Some(y)) = (input(0), node.output.first()) else { return Err(Not::Asked) };
        match node.op_type.as_str() {
            "Conv" | "Gemm" | "MatMul" => {
                let found = candidate(at, node, &self.source.constants).ok_or(Not::Asked)?;
                self.product(node, found)
            }
            "Relu" | "Clip" => self.activation(at, node, x, y),
            "Gather" if !self.of.contains_key(x) => {
                let found = candidate(at, node, &self.source.constants).ok_or(Not::Asked)?;
                let of_table = self.usable(x)?;
                self.usable(y)?;
                let after = self.source.floats(x).map_or(0, |table| table.len() as u64 + 5);
                self.mark(x, of_table);
                self.moved(y, x);
                self.layers.push(Layer { after, ..found.layer });
                Ok(())
            }
            // Integers weren't among their types before.
            "MaxPool" if self.source.opset() < 12 => Err(Not::Asked),
            "Resize" if self.source.opset() < 11 => Err(Not::Asked),
            "Pad" if !self.pads_with_what_is_there(node) => Err(Not::Asked),
            "Pad" => self.moving(node, x),
            moving if MOVING.contains(&moving) => self.moving(node, x),
            computing if COMPUTING.contains(&computing) => self.computing(node, y),
            _ => Err(Not::Asked),
        }
    }

    /// A product or a convolution with constant weights.
    fn product(&mut self, node: &NodeProto, found: Candidate) -> Result<(), Not> {
        let each = self.per_channel || !found.is_matrix() && self.source.has_axes();
        let axis = each.then_some(found.axis());
        let layer = found.layer;
        let (Some(x), y) = (layer.inputs.first().map(|port| port.was.clone()), layer.output.was.clone())
        else {
            return Err(Not::Asked);
        };
        let (of_x, of_y) = (self.usable(&x)?, self.usable(&y)?);
        if self.source.floats(&found.weights).is_none() || self.source.constants.contains_key(&x) {
            return Err(Not::Asked);
        }
        let bias = node.input.get(2).filter(|name| !name.is_empty()).cloned();
        if let Some(bias) = bias.as_ref().filter(|bias| self.source.floats(bias).is_none()) {
            return Err(Not::For(format!("the bias '{bias}' is no constant")));
        }
        self.mark(&x, of_x);
        self.mark(&y, of_y);
        let (at, own) = (found.at, self.layers.len());
        self.weights.push(Weights { at, layer: own, name: found.weights, axis, x, bias });
        self.layers.push(layer);
        Ok(())
    }

    /// What computes numbers of a range of their own from several.
    fn computing(&mut self, node: &NodeProto, y: &str) -> Result<(), Not> {
        let mut all = vec![];
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            all.push((name.clone(), self.usable(name)?));
        }
        let found = self.usable(y)?;
        let whole = (node.op_type == "Softmax").then(|| Scaling::unsigned([0.0, 1.0])).flatten();
        all.push((y.to_string(), whole.unwrap_or(found)));
        all.into_iter().for_each(|(name, scaling)| self.mark(&name, scaling));
        let constant = |name: &&String| name.is_empty() || self.source.constants.contains_key(*name);
        let inputs = node.input.iter().filter(|name| !constant(name)).map(|name| Port::same(name)).collect();
        self.layers.push(Layer {
            node: node_name(node).into(),
            op_type: node.op_type.clone(),
            inputs,
            output: Port::same(y),
            sizes: [0; 2],
            before: 0,
            after: 0,
        });
        Ok(())
    }

    /// What only moves elements, or chooses among them, or takes their mean.
    fn moving(&mut self, node: &NodeProto, x: &str) -> Result<(), Not> {
        if !self.of.contains_key(x) {
            return Err(Not::Asked);
        }
        for y in node.output.iter().filter(|name| !name.is_empty()) {
            // MaxPool's second result is of indices.
            if self.usable(y).is_ok() {
                self.moved(y, x);
            }
        }
        Ok(())
    }

    /// Relu or Clip: part of the range of the node before it, where nothing else reads what that makes.
    fn activation(&mut self, at: usize, node: &NodeProto, x: &str, y: &str) -> Result<(), Not> {
        if !self.of.contains_key(x) {
            return Err(Not::Asked);
        }
        let scaling = self.usable(y)?;
        let alone = self.readers.get(x) == Some(&1) && self.made.contains(x) && self.result(y) != x;
        if alone && self.holds_zero(node) {
            self.of.remove(x);
            self.order.retain(|name| name != x);
            self.gone.insert(at);
            self.renamed.insert(x.to_string(), y.to_string());
        }
        self.mark(y, scaling);
        Ok(())
    }

    /// Whether 0 lies between the ends of a Clip that are known: a range that is widened to hold 0 then stays
    /// between them.
    fn holds_zero(&self, node: &NodeProto) -> bool {
        if node.op_type == "Relu" {
            return true;
        }
        let end = |index: usize, attribute: &str| {
            let own = node.attribute.iter().find(|own| own.name == attribute).map(|own| f64::from(own.f));
            match node.input.get(index).filter(|name| !name.is_empty()) {
                None => Some(own),
                Some(name) => self.source.floats(name)?.to_f64s().ok()?.first().copied().map(Some),
            }
        };
        match (end(1, "min"), end(2, "max")) {
            (Some(low), Some(high)) => {
                low.is_none_or(|low| low <= 0.0) && high.is_none_or(|high| high >= 0.0)
            }
            _ => false,
        }
    }

    /// Whether a Pad fills up with elements that are there, or with zeros.
    fn pads_with_what_is_there(&self, node: &NodeProto) -> bool {
        let own = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        match own("mode").map(|mode| mode.s.as_slice()) {
            None | Some(b"constant") => match node.input.get(2).filter(|name| !name.is_empty()) {
                None => own("value").is_none_or(|value| value.f == 0.0),
                Some(name) => {
                    let with = self.source.floats(name).and_then(|tensor| tensor.to_f64s().ok());
                    with.is_some_and(|list| list.iter().all(|x| *x == 0.0))
                }
            },
            Some(_) => true,
        }
    }

    fn mark(&mut self, name: &str, scaling: Scaling) {
        if !self.of.contains_key(name) {
            self.of.insert(name.into(), Mark::Own(scaling));
            self.order.push(name.into());
        }
    }

    fn moved(&mut self, name: &str, from: &str) {
        if !self.of.contains_key(name) {
            self.of.insert(name.into(), Mark::As(from.into()));
            self.order.push(name.into());
        }
    }

    /// The scaling that a tensor's range gives.
    fn usable(&self, name: &str) -> Result<Scaling, Not> {
        if let Some(tensor) = self.source.constants.get(name) {
            let floats = self.source.floats(name).filter(|_| !tensor.is_empty()).ok_or(Not::Asked)?;
            let list = floats.as_slice().map_err(|_| Not::Asked)?;
            let range = bytes::range(list)
                .map_err(|_| Not::For(format!("'{name}' holds infinities, which no integer stands for")))?;
            return Ok(Scaling::unsigned(range).unwrap_or(Scaling::NOTHING));
        }
        match self.ranges.known(name) {
            Known::Unseen => Err(Not::Asked),
            Known::NoNumber => Err(Not::Wrong(
                Error::input("no sample gave it a finite number: it has no range")
                    .at_tensor(name)
                    .remedy("give samples that the model makes numbers of, or --keep the node"),
            )),
            Known::Odd => Err(Not::For(format!("'{name}' held infinities, which no integer stands for"))),
            Known::Range(range) => Scaling::unsigned(range)
                .ok_or_else(|| Not::For(format!("'{name}' was {} in all samples: no scale", range[1]))),
        }
    }
}

fn resolved<'b>(renamed: &'b HashMap<String, String>, name: &'b str) -> &'b str {
    let mut name = name;
    // Each is the result of a node behind the one before.
    while let Some(other) = renamed.get(name) {
        name = other;
    }
    name
}
