//! A graph's nodes and constants as they are rewritten.

use super::bytes::Codes;
use crate::error::Result;
use crate::onnx::{bodies, proto_of};
use crate::tensor::Tensor;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, GraphProto, NodeProto, TensorProto};
use std::collections::HashSet;

/// New nodes in their order, new constants, and the names that are taken.
pub struct Edit {
    taken: HashSet<String>,
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<TensorProto>,
}

impl Edit {
    pub fn of(graph: &GraphProto) -> Self {
        let made = graph.node.iter().flat_map(|node| node.output.iter().chain([&node.name]));
        let held = graph.initializer.iter().map(|tensor| &tensor.name);
        let given = graph.input.iter().map(|input| &input.name);
        Self { taken: made.chain(held).chain(given).cloned().collect(), nodes: vec![], constants: vec![] }
    }

    /// A name that nothing else has, of a value or a node.
    pub fn fresh(&mut self, hint: &str) -> String {
        let mut name = hint.to_string();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{hint}_{count}");
        }
        name
    }

    /// Adds a constant; returns its name.
    pub fn constant(&mut self, hint: &str, tensor: &Tensor) -> Result<String> {
        let name = self.fresh(hint);
        self.constants.push(proto_of(&name, tensor)?);
        Ok(name)
    }

    /// Adds codes, scales and zero points of a tensor of this name; returns their names.
    pub fn codes(&mut self, of: &str, codes: &Codes) -> Result<[String; 3]> {
        Ok([
            self.constant(&format!("{of}_quantized"), &codes.codes)?,
            self.constant(&format!("{of}_scale"), &codes.scales()?)?,
            self.constant(&format!("{of}_zero_point"), &codes.zeros()?)?,
        ])
    }

    /// Adds a node with one result of its own; returns the result's name.
    pub fn node(&mut self, op_type: &str, name: &str, inputs: &[&str], result: &str) -> String {
        let result = self.fresh(result);
        self.node_to(op_type, name, inputs, &[&result]);
        result
    }

    /// Adds a node with results of these names.
    pub fn node_to(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        results: &[&str],
    ) -> &mut NodeProto {
        let own = |list: &[&str]| list.iter().map(|name| name.to_string()).collect();
        let node = NodeProto {
            op_type: op_type.into(),
            name: self.fresh(name),
            input: own(inputs),
            output: own(results),
            ..Default::default()
        };
        self.nodes.push(node);
        let last = self.nodes.len() - 1;
        &mut self.nodes[last]
    }

    /// A graph with these nodes in the place of its own, and these constants too.
    pub fn applied(self, mut graph: GraphProto) -> GraphProto {
        graph.node = self.nodes;
        graph.initializer.extend(self.constants);
        graph
    }
}

/// An attribute that is a whole number.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, type_: AttributeType::INT.into(), ..Default::default() }
}

/// Takes away initializers, constants and dequantised tensors that nothing reads any more.
pub fn drop_unread(graph: &mut GraphProto) {
    let read = self::read(graph);
    graph.node.retain(|node| {
        !matches!(node.op_type.as_str(), "Constant" | "DequantizeLinear")
            || node.output.iter().any(|name| read.contains(name))
    });
    let read = self::read(graph);
    graph.initializer.retain(|tensor| read.contains(&tensor.name));
}

/// What nodes, their graphs and the graph's outputs read.
fn read(graph: &GraphProto) -> HashSet<String> {
    let mut read: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for node in &graph.node {
        read.extend(node.input.iter().cloned());
        read.extend(bodies::captures(node));
    }
    read
}
