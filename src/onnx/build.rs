//! GraphProto to [`Graph`]: values, constants, and each node through the `parse` of its operator.

use super::contrib::Known;
use super::external::ExternalFiles;
use super::functions::{self, Opsets, Versioned, node_name};
use super::{Find, attributes, order, sparse, tensor};
use crate::error::{Error, Result};
use crate::graph::{Declared, Dim, Graph, Node, ValueId};
use crate::ops::{Input, NodeView};
use crate::tensor::Tensor;
use onnx_protobuf::{
    FunctionProto, GraphProto, TensorShapeProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto,
};
use std::collections::{HashMap, HashSet};

/// Builds and verifies the graph of a model.
pub fn build(
    proto: GraphProto,
    functions: &[FunctionProto],
    opsets: Opsets,
    files: &mut ExternalFiles,
    find: Find,
) -> Result<Graph> {
    let mut builder =
        Builder { graph: Graph { name: proto.name, ..Default::default() }, ids: HashMap::new() };
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
        let declared = Some(required_type(input, "input")?);
        match constants.remove(&input.name) {
            Some(constant) => drop(builder.add(&input.name, declared, Some(constant))?),
            None => {
                let id = builder.add(&input.name, declared, None)?;
                builder.graph.inputs.push(id);
            }
        }
    }
    for name in order_of_constants {
        if let Some(constant) = constants.remove(&name) {
            builder.add(&name, None, Some(constant))?;
        }
    }
    let mut declared: HashMap<&str, Declared> = HashMap::new();
    for info in &proto.value_info {
        // A type that this version doesn't hold matters only at the node that makes it.
        if let Ok(Some(known)) = value_type(info) {
            declared.insert(&info.name, known);
        }
    }
    for output in &proto.output {
        if let Some(known) = value_type(output).map_err(|error| error.at_tensor(&output.name))? {
            declared.insert(&output.name, known);
        }
    }
    let made = proto.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
    let names: HashSet<String> = made.chain(builder.ids.keys()).cloned().collect();
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
    let nodes = functions::inline(proto.node, functions, opsets, names, &known, find)?;
    for node in order::sort(nodes, |name| builder.ids.contains_key(name))? {
        builder
            .node(&node, &mut declared, files, find)
            .map_err(|error| error.at_node(node_name(&node.node)).at_operator(&node.node.op_type))?;
    }
    for output in &proto.output {
        let id = builder.ids.get(&output.name).copied();
        let id = id.ok_or_else(|| {
            Error::model("is a graph output, but no node, input or initializer makes it")
                .at_tensor(&output.name)
        })?;
        builder.graph.outputs.push(id);
    }
    builder.graph.verify()?;
    Ok(builder.graph)
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
}

impl Builder {
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
        versioned: &Versioned,
        declared: &mut HashMap<&str, Declared>,
        files: &mut ExternalFiles,
        find: Find,
    ) -> Result<()> {
        let proto = &versioned.node;
        let name = node_name(proto);
        let domain = functions::domain(&proto.domain);
        let def = find(domain, &proto.op_type).ok_or_else(|| unknown_operator(domain))?;
        // Files before the third IR version import nothing and mean the first.
        let version = versioned.opsets.get(domain).copied().unwrap_or(1);
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
        let mut view = NodeView::new(name, &proto.op_type, version, attributes, inputs, proto.output.len());
        let op = (def.parse)(&mut view)?;
        if let Some(unread) = view.unread() {
            return Err(Error::unsupported(format!("attribute '{unread}' is not known"))
                .remedy("convert the model to a standard opset or leave the attribute out"));
        }
        let mut inputs = vec![];
        for (index, input) in view.inputs.into_iter().enumerate() {
            inputs.push(match input {
                Input::Absent => None,
                Input::Named(name) => Some(
                    *self
                        .ids
                        .get(&name)
                        .ok_or_else(|| Error::model("is read before anything makes it").at_tensor(&name))?,
                ),
                Input::Constant(tensor) => Some(self.add_constant(format!("{name}/input_{index}"), tensor)?),
            });
        }
        let mut outputs = vec![];
        for output in &proto.output {
            outputs.push(if output.is_empty() {
                None
            } else {
                Some(self.add(output, declared.remove(output.as_str()), None)?)
            });
        }
        self.graph.nodes.push(Node {
            name: name.to_string(),
            op_type: proto.op_type.clone(),
            op,
            inputs,
            outputs,
            fused: vec![],
        });
        Ok(())
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

fn required_type(info: &ValueInfoProto, role: &str) -> Result<Declared> {
    let known = value_type(info).map_err(|error| error.at_tensor(&info.name))?;
    known.ok_or_else(|| {
        Error::model(format!("the graph {role} has no type"))
            .at_tensor(&info.name)
            .remedy("export the model with typed inputs")
    })
}

/// What a model says of a value, if anything. Errors on types that are not dense tensors, and on elements not
/// held.
fn value_type(info: &ValueInfoProto) -> Result<Option<Declared>> {
    let kind = match info.type_.as_ref().and_then(|kind| kind.value.as_ref()) {
        None => return Ok(None),
        Some(type_proto::Value::TensorType(tensor)) if tensor.elem_type == 0 => return Ok(None),
        Some(type_proto::Value::TensorType(tensor)) => {
            return Ok(Some(Declared {
                dtype: tensor::dtype(tensor.elem_type)?,
                dims: tensor.shape.as_ref().map(dims),
            }));
        }
        Some(type_proto::Value::SequenceType(_)) => "a sequence",
        Some(type_proto::Value::MapType(_)) => "a map",
        Some(type_proto::Value::OptionalType(_)) => "an optional",
        Some(type_proto::Value::SparseTensorType(_)) => "a sparse tensor",
        Some(_) => "a type of a newer ONNX",
    };
    Err(Error::unsupported(format!("is {kind}; only tensors are supported"))
        .remedy("export the model with tensors as inputs and outputs"))
}

/// Declared dimensions. Some exporters write −1 for one that they don't know.
fn dims(shape: &TensorShapeProto) -> Vec<Dim> {
    let one = |value: &Option<dimension::Value>| match value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(*size).map_or(Dim::Unknown, Dim::Known),
        Some(dimension::Value::DimParam(symbol)) if !symbol.is_empty() => Dim::Symbol(symbol.clone()),
        _ => Dim::Unknown,
    };
    shape.dim.iter().map(|dim| one(&dim.value)).collect()
}
