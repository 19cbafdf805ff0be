//! GraphProto to [`Graph`]: values, constants, functions in place of their calls, nodes in order.

use super::builder::Builder;
use super::contrib::Known;
use super::external::ExternalFiles;
use super::functions::{self, Cost, Opsets, Scope, node_name};
use super::types::{self, Said};
use super::{Find, order, sparse, tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Declared, Graph, Value};
use crate::tensor::Tensor;
use crate::value::ValueType;
use onnx_protobuf::{FunctionProto, GraphProto};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Builds and verifies the graph of a model. With `missing`, what isn't supported is gathered there, an error
/// for each node, and doesn't end the reading.
pub fn build(
    proto: GraphProto,
    functions: &[FunctionProto],
    opsets: Opsets,
    files: &mut ExternalFiles,
    find: Find,
    missing: Option<&RefCell<Vec<Error>>>,
) -> Result<Graph> {
    let (opsets, calls) = (Rc::new(opsets), Rc::from([]));
    let scope = Scope { functions, opsets, calls, cost: &Cost::default(), find, missing };
    graph(proto, &scope, None, files)
}

/// What a node's graphs find around them.
pub struct Around<'a> {
    /// The values that they read, in the order of the node's inputs behind its own.
    pub captures: &'a [Value],
    /// The constants that they read.
    pub constants: &'a [Value],
    pub depth: usize,
}

/// Builds a graph: a model's, or one that lies in another.
pub fn graph(
    proto: GraphProto,
    scope: &Scope,
    around: Option<&Around>,
    files: &mut ExternalFiles,
) -> Result<Graph> {
    let mut builder = Builder {
        graph: Graph { name: proto.name, ..Default::default() },
        ids: HashMap::new(),
        depth: around.map_or(0, |around| around.depth),
    };
    let mut constants: HashMap<String, Tensor> = HashMap::new();
    let mut order_of_constants = vec![];
    // Each proto is freed once its tensor is made: a large model must not lie in memory twice.
    for mut initializer in proto.initializer {
        let tensor = tensor::take(&mut initializer, files)?;
        order_of_constants.push(initializer.name.clone());
        insert_constant(&mut constants, initializer.name, tensor)?;
    }
    for initializer in proto.sparse_initializer {
        let tensor = sparse::read(&initializer, files)?;
        order_of_constants.push(sparse::name(&initializer).to_string());
        insert_constant(&mut constants, sparse::name(&initializer).to_string(), tensor)?;
    }
    for input in &proto.input {
        let said = types::of_value(input).map_err(|error| error.at_tensor(&input.name))?;
        // A body may leave types to the node that gives its inputs.
        if said.is_none() && around.is_none() {
            return Err(Error::model("the graph input has no type")
                .at_tensor(&input.name)
                .remedy("export the model with typed inputs"));
        }
        let (declared, other) = split(said);
        match constants.remove(&input.name) {
            Some(constant) => drop(builder.add(&input.name, declared, Some(constant))?),
            None => {
                let id = builder.add(&input.name, declared, None)?;
                builder.graph.values[id.0 as usize].other = other;
                builder.graph.inputs.push(id);
            }
        }
    }
    for name in order_of_constants {
        if let Some(constant) = constants.remove(&name) {
            builder.add(&name, None, Some(constant))?;
        }
    }
    let made = proto.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
    let mut names: HashSet<String> = made.chain(builder.ids.keys()).cloned().collect();
    if let Some(around) = around {
        let made: HashSet<&str> =
            proto.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        builder.capture(around, &made, &mut names)?;
    }
    let mut declared: HashMap<&str, Declared> = HashMap::new();
    for info in &proto.value_info {
        // A type that this version doesn't hold matters only at the node that makes it.
        if let Ok(Some(Said::Tensor(known))) = types::of_value(info) {
            declared.insert(&info.name, known);
        }
    }
    let mut others: HashMap<&str, ValueType> = HashMap::new();
    for output in &proto.output {
        match types::of_value(output).map_err(|error| error.at_tensor(&output.name))? {
            Some(Said::Tensor(known)) => drop(declared.insert(&output.name, known)),
            Some(Said::Other(kind)) => drop(others.insert(&output.name, kind)),
            None => {}
        }
    }
    let known = |name: &str| {
        let value = builder.ids.get(name).map(|id| builder.graph.value(*id));
        if let Some(constant) = value.and_then(|value| value.constant.as_ref()) {
            return Known {
                rank: Some(constant.rank()),
                dtype: Some(constant.dtype()),
                length: Some(constant.len()),
                last: constant.shape().last().copied(),
                constant: true,
            };
        }
        let declared = value.and_then(|value| value.declared.as_ref()).or_else(|| declared.get(name));
        let rank = declared.and_then(|declared| declared.dims.as_ref()).map(Vec::len);
        Known {
            rank,
            dtype: declared.map(|declared| declared.dtype),
            length: None,
            last: None,
            constant: false,
        }
    };
    let nodes = functions::inline(proto.node, scope, names, &known)?;
    for node in order::sort(nodes, |name| builder.ids.contains_key(name))? {
        let (name, op_type) = (node_name(&node.node).to_string(), node.node.op_type.clone());
        let outputs = scope.missing.map(|_| node.node.output.clone());
        let added = builder
            .node(node, &mut declared, files, scope)
            .map_err(|error| error.at_node(name).at_operator(op_type));
        match (added, scope.missing, outputs) {
            (Err(error), Some(missing), Some(outputs)) if error.kind() == ErrorKind::Unsupported => {
                missing.borrow_mut().push(error);
                // What reads the results is looked at too, and the graph is checked as it would be with them.
                for name in outputs.iter().filter(|name| !name.is_empty()) {
                    let id = builder.add(name, declared.remove(name.as_str()), None)?;
                    builder.graph.inputs.push(id);
                }
            }
            (added, ..) => added?,
        }
    }
    for output in &proto.output {
        let id = builder.ids.get(&output.name).copied();
        let id = id.ok_or_else(|| {
            Error::model("is a graph output, but no node, input or initializer makes it")
                .at_tensor(&output.name)
        })?;
        if let Some(kind) = others.remove(output.name.as_str()) {
            builder.graph.values[id.0 as usize].other = Some(kind);
        }
        builder.graph.outputs.push(id);
    }
    builder.graph.verify()?;
    Ok(builder.graph)
}

/// A type as that of a tensor or of something else.
fn split(said: Option<Said>) -> (Option<Declared>, Option<ValueType>) {
    match said {
        Some(Said::Tensor(declared)) => (Some(declared), None),
        Some(Said::Other(kind)) => (None, Some(kind)),
        None => (None, None),
    }
}

fn insert_constant(constants: &mut HashMap<String, Tensor>, name: String, tensor: Tensor) -> Result<()> {
    match constants.insert(name.clone(), tensor) {
        None => Ok(()),
        Some(_) => Err(Error::model("two initializers have this name").at_tensor(name)),
    }
}
