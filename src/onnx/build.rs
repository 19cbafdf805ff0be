//! GraphProto to [`Graph`]: values, constants, and each node through the `parse` of its operator.

use super::contrib::Known;
use super::external::ExternalFiles;
use super::functions::{self, Cost, Opsets, Scope, Versioned, node_name};
use super::types::{self, Said};
use super::{Find, attributes, order, sparse, tensor};
use crate::cpu::body::GraphBody;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Declared, Graph, Node, Value, ValueId};
use crate::ops::{Body, Input, NodeView};
use crate::tensor::Tensor;
use crate::value::ValueType;
use onnx_protobuf::{FunctionProto, GraphProto};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// How deep graphs may lie in each other.
const MAX_DEPTH: usize = 24;

/// Builds and verifies the graph of a model.
pub fn build(
    proto: GraphProto,
    functions: &[FunctionProto],
    opsets: Opsets,
    files: &mut ExternalFiles,
    find: Find,
) -> Result<Graph> {
    let (opsets, calls) = (Rc::new(opsets), Rc::from([]));
    let scope = Scope { functions, opsets, calls, cost: &Cost::default(), find, missing: None };
    graph(proto, &scope, None, files)
}

/// Everything in a model that isn't supported, node by node.
///
/// Errors: what is wrong with the model beside.
pub fn missing(
    proto: GraphProto,
    functions: &[FunctionProto],
    opsets: Opsets,
    files: &mut ExternalFiles,
    find: Find,
) -> Result<Vec<Error>> {
    let (opsets, calls, found) = (Rc::new(opsets), Rc::from([]), RefCell::default());
    let scope = Scope { functions, opsets, calls, cost: &Cost::default(), find, missing: Some(&found) };
    graph(proto, &scope, None, files)?;
    Ok(found.into_inner())
}

/// What a node's graphs find around them.
struct Around<'a> {
    /// The values that they read, in the order of the node's inputs behind its own.
    captures: &'a [Value],
    /// The constants that they read.
    constants: &'a [Value],
    depth: usize,
}

/// Builds a graph: a model's, or one that lies in another.
fn graph(
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
            };
        }
        let declared = value.and_then(|value| value.declared.as_ref()).or_else(|| declared.get(name));
        let rank = declared.and_then(|declared| declared.dims.as_ref()).map(Vec::len);
        Known { rank, dtype: declared.map(|declared| declared.dtype), length: None }
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

struct Builder {
    graph: Graph,
    /// Values by name: what `Graph::find` would search for.
    ids: HashMap<String, ValueId>,
    /// How many graphs this one lies in.
    depth: usize,
}

impl Builder {
    /// Adds what the graph finds around it: inputs for all values that the node's graphs read, this one or
    /// another, so that each takes the same; constants where it reads them. `made`: the names of its nodes'
    /// outputs, which hide those around it.
    fn capture(&mut self, around: &Around, made: &HashSet<&str>, names: &mut HashSet<String>) -> Result<()> {
        for value in around.captures {
            let own = made.contains(value.name.as_str()) || self.ids.contains_key(&value.name);
            let mut name = value.name.clone();
            if own {
                // Read by another graph of the node alone.
                let mut count = 1;
                while names.contains(&name) || self.ids.contains_key(&name) {
                    count += 1;
                    name = format!("{}.{count}", value.name);
                }
            }
            let id = self.add(&name, value.declared.clone(), None)?;
            self.graph.values[id.0 as usize].other = value.other.clone();
            self.graph.inputs.push(id);
            names.insert(name);
        }
        for value in around.constants {
            let read = names.contains(&value.name);
            if read && !made.contains(value.name.as_str()) && !self.ids.contains_key(&value.name) {
                self.add(&value.name, None, value.constant.clone())?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, declared: Option<Declared>, constant: Option<Tensor>) -> Result<ValueId> {
        if name.is_empty() {
            return Err(Error::model("an input, initializer or output has no name"));
        }
        let id = self.graph.add_value(name, declared, constant);
        match self.ids.insert(name.to_string(), id) {
            None => Ok(id),
            Some(_) => Err(Error::model("two values have this name").at_tensor(name)),
        }
    }

    /// A constant that a node's older form held as an attribute.
    fn add_constant(&mut self, hint: String, tensor: Tensor) -> Result<ValueId> {
        let mut name = hint.clone();
        let mut count = 1;
        while self.ids.contains_key(&name) {
            count += 1;
            name = format!("{hint}.{count}");
        }
        self.add(&name, None, Some(tensor))
    }

    fn node(
        &mut self,
        versioned: Versioned,
        declared: &mut HashMap<&str, Declared>,
        files: &mut ExternalFiles,
        scope: &Scope,
    ) -> Result<()> {
        let Versioned { node: mut proto, opsets, captures, calls } = versioned;
        let name = node_name(&proto).to_string();
        let (captures, constants): (Vec<Value>, Vec<Value>) = captures
            .iter()
            .map(|name| self.find(name).map(|id| self.graph.value(id).clone()))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .partition(|value| value.constant.is_none());
        let mut bodies: BTreeMap<String, Arc<dyn Body>> = BTreeMap::new();
        let around = Around { captures: &captures, constants: &constants, depth: self.depth + 1 };
        for attribute in &mut proto.attribute {
            if let Some(held) = attribute.g.take() {
                if around.depth > MAX_DEPTH {
                    return Err(Error::unsupported(format!(
                        "graphs lie in each other more than {MAX_DEPTH} deep"
                    )));
                }
                let inner = Scope { opsets: opsets.clone(), calls: calls.clone(), ..*scope };
                let held = graph(held, &inner, Some(&around), files)?;
                bodies.insert(attribute.name.clone(), Arc::new(GraphBody::new(held)));
            }
        }
        let domain = functions::domain(&proto.domain);
        let def = (scope.find)(domain, &proto.op_type).ok_or_else(|| unknown_operator(domain))?;
        // Files before the third IR version import nothing and mean the first.
        let version = opsets.get(domain).copied().unwrap_or(1);
        if version < def.since {
            return Err(Error::model(format!(
                "the operator came with version {} of its domain, but the model imports version {version}",
                def.since
            ))
            .remedy("convert the model to a newer opset"));
        }
        let attributes = attributes::read(&proto.attribute, files)?;
        let inputs = proto
            .input
            .iter()
            .map(|name| if name.is_empty() { Input::Absent } else { Input::Named(name.clone()) })
            .collect();
        let view = NodeView::new(&name, &proto.op_type, version, attributes, inputs, proto.output.len());
        let mut view = view.with_bodies(bodies, captures.len());
        let op = (def.parse)(&mut view)?;
        if let Some(unread) = view.unread() {
            return Err(Error::unsupported(format!("attribute '{unread}' is not known"))
                .remedy("convert the model to a standard opset or leave the attribute out"));
        }
        let mut inputs = vec![];
        for (index, input) in view.inputs.into_iter().enumerate() {
            inputs.push(match input {
                Input::Absent => None,
                Input::Named(name) => Some(self.find(&name)?),
                Input::Constant(tensor) => Some(self.add_constant(format!("{name}/input_{index}"), tensor)?),
            });
        }
        for value in &captures {
            inputs.push(Some(self.find(&value.name)?));
        }
        let mut outputs = vec![];
        for output in &proto.output {
            outputs.push(if output.is_empty() {
                None
            } else {
                Some(self.add(output, declared.remove(output.as_str()), None)?)
            });
        }
        self.graph.nodes.push(Node { name, op_type: proto.op_type, op, inputs, outputs, fused: vec![] });
        Ok(())
    }

    /// A value by its name. Errors where nothing makes it.
    fn find(&self, name: &str) -> Result<ValueId> {
        let found = self.ids.get(name).copied();
        found.ok_or_else(|| Error::model("is read before anything makes it").at_tensor(name))
    }
}

fn unknown_operator(domain: &str) -> Error {
    let place = if domain.is_empty() { "ai.onnx".to_string() } else { format!("'{domain}'") };
    let error = Error::unsupported(format!("this operator of the domain {place} is not supported"));
    match domain {
        "com.microsoft" => error.remedy(
            "export the model without onnxruntime's own optimisations, which leave its private operators behind; docs/operators.md lists which are known",
        ),
        _ => error.remedy("docs/operators.md lists what is; export the model so that it uses those"),
    }
}
