//! A graph while it grows: every value with its elements, so that what is drawn next fits them.

use super::draw::Draw;
use super::proto::{self, reads};
use onnx_protobuf::{AttributeProto, GraphProto, Message, ModelProto, NodeProto};
use sardonyx::{DType, Session, Tensor, onnx};
use std::collections::BTreeMap;

/// No value has more elements.
const LARGEST: usize = 6000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Given,
    Constant,
    Made,
}

#[derive(Clone)]
pub struct Value {
    pub name: String,
    pub tensor: Tensor,
    pub kind: Kind,
}

pub struct Grower {
    pub draw: Draw,
    pub values: Vec<Value>,
    pub nodes: Vec<NodeProto>,
    /// Whether ONNX's text says what comes out: no conversion out of range, no index that it leaves open.
    pub portable: bool,
    /// How often the CPU took no node that was drawn, by operator: the draw is odd, not hopeless.
    pub refused: BTreeMap<String, (usize, String)>,
    count: usize,
}

impl Grower {
    pub fn new(draw: Draw) -> Self {
        Self { draw, values: vec![], nodes: vec![], portable: true, refused: BTreeMap::new(), count: 0 }
    }

    fn fresh(&mut self, start: &str) -> String {
        self.count += 1;
        format!("{start}{}", self.count)
    }

    fn add(&mut self, start: &str, tensor: Tensor, kind: Kind) -> String {
        let name = self.fresh(start);
        self.values.push(Value { name: name.clone(), tensor, kind });
        name
    }
    /// A constant of the model.
    pub fn constant(&mut self, tensor: Tensor) -> String {
        self.add("c", tensor, Kind::Constant)
    }
    /// What a run gives.
    pub fn given(&mut self, tensor: Tensor) -> String {
        self.add("x", tensor, Kind::Given)
    }
    /// One or the other: mostly a constant.
    pub fn operand(&mut self, tensor: Tensor) -> String {
        if self.draw.one_in(4) { self.given(tensor) } else { self.constant(tensor) }
    }
    pub fn list(&mut self, values: &[i64]) -> String {
        let tensor = super::draw::list(values);
        if self.draw.one_in(12) { self.given(tensor) } else { self.constant(tensor) }
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        &self.values.iter().find(|value| value.name == name).unwrap().tensor
    }
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.tensor(name).shape().to_vec()
    }
    pub fn dtype(&self, name: &str) -> DType {
        self.tensor(name).dtype()
    }

    /// A value that fits: one of the last ones more often.
    pub fn find(&mut self, fits: impl Fn(&Tensor) -> bool) -> Option<String> {
        let all: Vec<usize> = (0..self.values.len())
            .filter(|&at| self.values[at].kind != Kind::Constant && fits(&self.values[at].tensor))
            .collect();
        let recent = &all[all.len().saturating_sub(3)..];
        let from = if self.draw.one_in(3) { &all } else { recent };
        if from.is_empty() {
            return None;
        }
        Some(self.values[from[self.draw.below(from.len())]].name.clone())
    }
    /// A value of such a type, or a new input.
    pub fn of(&mut self, types: &[DType]) -> String {
        if let Some(name) = self.find(|tensor| types.contains(&tensor.dtype())) {
            return name;
        }
        let (dtype, rank) = (self.draw.pick(types), self.draw.rank());
        let shape = self.draw.shape(rank);
        let tensor = self.draw.tensor(dtype, &shape);
        self.given(tensor)
    }

    /// Adds a node, if the CPU takes it; the names of its outputs.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        outputs: usize,
    ) -> Option<Vec<String>> {
        self.node_of("", op, inputs, attributes, outputs)
    }
    pub fn node_of(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        outputs: usize,
    ) -> Option<Vec<String>> {
        let names: Vec<String> = (0..outputs).map(|_| self.fresh("v")).collect();
        let node = proto::node(domain, op, inputs, attributes, names.clone());
        match self.evaluated(&node) {
            Ok(tensors) => {
                let fits = |tensor: &Tensor| tensor.dtype() != DType::String && tensor.len() <= LARGEST;
                let tame = tensors.iter().all(is_tame) || self.draw.one_in(6);
                if !tame || tensors.len() != outputs || !tensors.iter().all(fits) {
                    return None;
                }
                for (name, tensor) in names.iter().zip(tensors) {
                    self.values.push(Value { name: name.clone(), tensor, kind: Kind::Made });
                }
                self.nodes.push(node);
                Some(names)
            }
            Err(error) => {
                let entry = self.refused.entry(op.to_string()).or_default();
                *entry = (entry.0 + 1, error.to_string());
                None
            }
        }
    }
    /// The same of a node with one output.
    pub fn one(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> Option<String> {
        Some(self.node(op, inputs, attributes, 1)?.swap_remove(0))
    }

    /// What a node gives on the CPU. Errors for one whose results are drawn anew each time.
    fn evaluated(&self, node: &NodeProto) -> sardonyx::Result<Vec<Tensor>> {
        let made = graph(&self.values, std::slice::from_ref(node), &node.output);
        let read = onnx::read_bytes(&proto::model(made).write_to_bytes().unwrap(), None, "node")?;
        if read.graph.nodes.iter().any(|node| node.op.is_random()) {
            return Err(sardonyx::Error::usage("is random"));
        }
        let session = Session::builder().without_rewrites().build(read)?;
        let given = given(&self.values, std::slice::from_ref(node));
        let named: Vec<(&str, Tensor)> =
            given.iter().map(|value| (value.name.as_str(), value.tensor.clone())).collect();
        Ok(session.run(&named)?.into_iter().map(|(_, tensor)| tensor).collect())
    }

    /// The whole, with what nothing reads and some of the rest as outputs.
    pub fn finished(mut self) -> Random {
        let read: std::collections::BTreeSet<String> = self.nodes.iter().flat_map(reads).collect();
        let names = self.nodes.iter().flat_map(|node| node.output.clone());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        let outputs = names.into_iter().filter(|name| !read.contains(name) || self.draw.one_in(5)).collect();
        let Self { values, nodes, portable, refused, .. } = self;
        Random { values, nodes, outputs, portable, refused }
    }
}

/// Whether most elements are numbers of ordinary size.
fn is_tame(tensor: &Tensor) -> bool {
    if !tensor.dtype().is_float() {
        return true;
    }
    let Ok(list) = tensor.to_f64s() else { return true };
    let wild = list.iter().filter(|x| x.is_nan() || x.abs() >= 3e4).count();
    wild * 4 <= list.len()
}

/// What of the values these nodes read and don't make, and a run gives.
fn given<'a>(values: &'a [Value], nodes: &[NodeProto]) -> Vec<&'a Value> {
    let made: std::collections::BTreeSet<&String> = nodes.iter().flat_map(|node| &node.output).collect();
    let read: std::collections::BTreeSet<String> = nodes.iter().flat_map(reads).collect();
    let fits = |value: &&Value| {
        value.kind != Kind::Constant && read.contains(&value.name) && !made.contains(&value.name)
    };
    values.iter().filter(fits).collect()
}

/// A graph of some nodes: what they read and don't make is its inputs and constants.
fn graph(values: &[Value], nodes: &[NodeProto], outputs: &[String]) -> GraphProto {
    let read: std::collections::BTreeSet<String> = nodes.iter().flat_map(reads).collect();
    let constants = values.iter().filter(|value| value.kind == Kind::Constant && read.contains(&value.name));
    let input =
        |value: &Value| proto::declared(&value.name, value.tensor.dtype(), Some(value.tensor.shape()));
    let output = |name: &String| match values.iter().find(|value| value.name == *name) {
        Some(value) => proto::declared(name, value.tensor.dtype(), None),
        None => onnx_protobuf::ValueInfoProto { name: name.clone(), ..Default::default() },
    };
    GraphProto {
        name: "random".into(),
        node: nodes.to_vec(),
        initializer: constants.map(|value| proto::tensor(&value.name, &value.tensor)).collect(),
        input: given(values, nodes).into_iter().map(input).collect(),
        output: outputs.iter().map(output).collect(),
        ..Default::default()
    }
}

/// A random graph with the elements of every value.
pub struct Random {
    pub values: Vec<Value>,
    pub nodes: Vec<NodeProto>,
    pub outputs: Vec<String>,
    pub portable: bool,
    pub refused: BTreeMap<String, (usize, String)>,
}

impl Random {
    pub fn model(&self) -> ModelProto {
        proto::model(graph(&self.values, &self.nodes, &self.outputs))
    }
    pub fn inputs(&self) -> Vec<(String, Tensor)> {
        given(&self.values, &self.nodes)
            .into_iter()
            .map(|value| (value.name.clone(), value.tensor.clone()))
            .collect()
    }
    /// The nodes of a range alone. What they read of others is given; all that they make is an output, but
    /// for what only they read where `whole` is no output.
    pub fn part(&self, range: std::ops::Range<usize>) -> Random {
        let nodes = self.nodes[range.clone()].to_vec();
        let read_here: std::collections::BTreeSet<String> = nodes.iter().flat_map(reads).collect();
        let names = nodes.iter().flat_map(|node| node.output.clone()).filter(|name| !name.is_empty());
        let outputs = names.filter(|name| self.outputs.contains(name) || !read_here.contains(name)).collect();
        let here: std::collections::BTreeSet<&String> = nodes.iter().flat_map(|node| &node.output).collect();
        let values = self.values.iter().cloned().map(|mut value| {
            if value.kind == Kind::Made && !here.contains(&value.name) {
                value.kind = Kind::Given;
            }
            value
        });
        Random {
            values: values.collect(),
            nodes: nodes.clone(),
            outputs,
            portable: self.portable,
            refused: BTreeMap::new(),
        }
    }
}
