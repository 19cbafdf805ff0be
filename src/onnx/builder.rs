//! A graph while it is read: its values by name, and its nodes through the `parse` of their operators.

use super::attributes;
use super::build::{Around, graph};
use super::external::ExternalFiles;
use super::functions::{self, Scope, Versioned, node_name};
use crate::cpu::body::GraphBody;
use crate::error::{Error, Result};
use crate::graph::{Declared, Graph, Node, Value, ValueId};
use crate::ops::{Body, Input, NodeView};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// How deep graphs may lie in each other.
const MAX_DEPTH: usize = 24;

/// A graph in the making.
pub struct Builder {
    pub graph: Graph,
    /// Values by name: what `Graph::find` would search for.
    pub ids: HashMap<String, ValueId>,
    /// How many graphs this one lies in.
    pub depth: usize,
}

impl Builder {
    /// Adds what the graph finds around it: inputs for all values that the node's graphs read, this one or
    /// another, so that each takes the same; constants where it reads them. `made`: the names of its nodes'
    /// outputs, which hide those around it.
    pub fn capture(
        &mut self,
        around: &Around,
        made: &HashSet<&str>,
        names: &mut HashSet<String>,
    ) -> Result<()> {
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

    pub fn add(
        &mut self,
        name: &str,
        declared: Option<Declared>,
        constant: Option<Tensor>,
    ) -> Result<ValueId> {
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

    pub fn node(
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
