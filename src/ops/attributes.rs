//! What `parse` sees of an ONNX node: attributes, inputs, version.

use crate::error::{Error, Result};
use crate::ops::Body;
use crate::tensor::{DType, Tensor};
use crate::value::ValueType;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The value of an attribute. Graphs are apart from them: [`NodeView::body`].
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Int(i64),
    Float(f32),
    String(String),
    Tensor(Tensor),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
    Tensors(Vec<Tensor>),
    Type(ValueType),
    /// A kind that no operator here reads, by its name.
    Other(&'static str),
}

impl std::fmt::Display for Attribute {
    /// Kind and value, as an error says them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn list(values: impl ExactSizeIterator<Item = String>) -> String {
            const MOST: usize = 8;
            let rest = if values.len() > MOST { ", …" } else { "" };
            format!("[{}{rest}]", values.take(MOST).collect::<Vec<_>>().join(", "))
        }
        let text = |text: &String| format!("'{}'", text.chars().take(60).collect::<String>().escape_debug());
        match self {
            Attribute::Int(value) => write!(f, "the integer {value}"),
            Attribute::Float(value) => write!(f, "the float {value}"),
            Attribute::String(value) => write!(f, "the text {}", text(value)),
            Attribute::Tensor(value) => write!(f, "a tensor {}{:?}", value.dtype(), value.shape()),
            Attribute::Ints(values) => write!(f, "the integers {}", list(values.iter().map(i64::to_string))),
            Attribute::Floats(values) => write!(f, "the floats {}", list(values.iter().map(f32::to_string))),
            Attribute::Strings(values) => write!(f, "the texts {}", list(values.iter().map(text))),
            Attribute::Tensors(values) => write!(f, "{} tensors", values.len()),
            Attribute::Type(kind) => write!(f, "the type {kind}"),
            Attribute::Other(kind) => write!(f, "{kind}"),
        }
    }
}

/// An input as `parse` may leave it: a name of the model, or a constant that an older version wrote as an
/// attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Absent,
    Named(String),
    Constant(Tensor),
}

/// A node on its way from ONNX into an operator.
#[derive(Debug)]
pub struct NodeView {
    pub name: String,
    pub op_type: String,
    /// The version of the operator's domain that the model imports.
    pub version: i64,
    pub inputs: Vec<Input>,
    pub output_count: usize,
    /// How many values of the graphs around it the node's bodies read: inputs of the node behind its own.
    pub captures: usize,
    bodies: BTreeMap<String, Arc<dyn Body>>,
    attributes: BTreeMap<String, Attribute>,
    /// Attributes that the operator asked for: what is left over was not understood.
    asked: RefCell<BTreeSet<String>>,
}

impl NodeView {
    pub fn new(
        name: impl Into<String>,
        op_type: impl Into<String>,
        version: i64,
        attributes: BTreeMap<String, Attribute>,
        inputs: Vec<Input>,
        output_count: usize,
    ) -> Self {
        Self {
            name: name.into(),
            op_type: op_type.into(),
            version,
            inputs,
            output_count,
            captures: 0,
            bodies: BTreeMap::new(),
            attributes,
            asked: RefCell::default(),
        }
    }

    /// The same node with the graphs that its attributes are, and the number of values that they read of
    /// those around them.
    pub fn with_bodies(self, bodies: BTreeMap<String, Arc<dyn Body>>, captures: usize) -> Self {
        Self { bodies, captures, ..self }
    }

    /// A graph that the node holds. Errors where it has none of this name.
    pub fn body(&self, name: &str) -> Result<Arc<dyn Body>> {
        self.asked.borrow_mut().insert(name.to_string());
        self.bodies.get(name).cloned().ok_or_else(|| self.wrong(name, "a graph"))
    }
    /// An attribute that is a type.
    pub fn value_type(&self, name: &str) -> Result<Option<ValueType>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Type(kind)) => Ok(Some(kind.clone())),
            Some(_) => Err(self.wrong(name, "a type")),
        }
    }
    /// An attribute as it is, if the node has it.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.asked.borrow_mut().insert(name.to_string());
        self.attributes.get(name)
    }
    fn wrong(&self, name: &str, wanted: &str) -> Error {
        let found = self.attributes.get(name).map_or("missing".to_string(), Attribute::to_string);
        Error::model(format!("attribute '{name}' is {found}, not {wanted}"))
    }
    pub fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(name, "an integer")),
        }
    }
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.optional_int(name)?.unwrap_or(default))
    }
    /// An integer attribute that ONNX uses as a truth value.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name, default as i64)? != 0)
    }
    pub fn optional_float(&self, name: &str) -> Result<Option<f32>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Float(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(name, "a float")),
        }
    }
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }
    pub fn string(&self, name: &str, default: &str) -> Result<String> {
        match self.get(name) {
            None => Ok(default.to_string()),
            Some(Attribute::String(value)) => Ok(value.clone()),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }
    /// A string attribute that must be one of a few.
    pub fn choice(&self, name: &str, default: &str, allowed: &[&str]) -> Result<String> {
        let value = self.string(name, default)?;
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(Error::unsupported(format!("attribute '{name}' is '{value}'"))
            .remedy(format!("supported: {}", allowed.join(", "))))
    }
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values.clone())),
            // An empty list has no kind of its own in protobuf.
            Some(Attribute::Floats(values)) if values.is_empty() => Ok(Some(vec![])),
            Some(_) => Err(self.wrong(name, "a list of integers")),
        }
    }
    /// A list of sizes: none may be negative.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(list) = self.ints(name)? else { return Ok(None) };
        let sizes =
            list.iter().map(|&value| usize::try_from(value).ok().filter(|&size| size <= i32::MAX as usize));
        sizes.collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| {
            Error::model(format!("attribute '{name}' is {list:?}: sizes can't be negative or beyond int32"))
        })
    }
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f32>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Floats(values)) => Ok(Some(values.clone())),
            Some(Attribute::Ints(values)) if values.is_empty() => Ok(Some(vec![])),
            Some(_) => Err(self.wrong(name, "a list of floats")),
        }
    }
    /// An element type by its number; `None` where the attribute is left out or 0, which says that it follows
    /// from the inputs.
    pub fn dtype(&self, name: &str) -> Result<Option<DType>> {
        let number = self.int(name, 0)?;
        if number == 0 {
            return Ok(None);
        }
        let found = i32::try_from(number).ok().and_then(DType::from_onnx);
        found.map(Some).ok_or_else(|| {
            Error::unsupported(format!("attribute '{name}' is the element type {number}"))
                .remedy("docs/operators.md lists what is supported")
        })
    }
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Tensor(value)) => Ok(Some(value.clone())),
            Some(_) => Err(self.wrong(name, "a tensor")),
        }
    }
    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Strings(values)) => Ok(Some(values.clone())),
            Some(Attribute::Ints(values)) if values.is_empty() => Ok(Some(vec![])),
            Some(Attribute::Floats(values)) if values.is_empty() => Ok(Some(vec![])),
            Some(_) => Err(self.wrong(name, "a list of texts")),
        }
    }
    /// Attributes that older versions carried and that change nothing.
    pub fn ignore(&self, names: &[&str]) {
        self.asked.borrow_mut().extend(names.iter().map(|name| name.to_string()));
    }

    /// Whether an input is there.
    pub fn has_input(&self, index: usize) -> bool {
        !matches!(self.inputs.get(index), None | Some(Input::Absent))
    }
    /// Makes an input a constant: what older versions wrote as an attribute.
    pub fn set_constant(&mut self, index: usize, tensor: Tensor) {
        while self.inputs.len() <= index {
            self.inputs.push(Input::Absent);
        }
        self.inputs[index] = Input::Constant(tensor);
    }
    /// An old attribute of integers becomes the input it is in newer versions.
    pub fn ints_to_input(&mut self, name: &str, index: usize) -> Result<()> {
        if let Some(list) = self.ints(name)? {
            self.set_constant(index, Tensor::int64s(list));
        }
        Ok(())
    }
    /// Errors unless the node has this many inputs, optional ones counted.
    pub fn expect_inputs(&self, range: std::ops::RangeInclusive<usize>) -> Result<()> {
        let count = self.inputs.iter().rposition(|input| *input != Input::Absent).map_or(0, |last| last + 1);
        if range.contains(&count) {
            Ok(())
        } else {
            Err(Error::model(format!("has {count} inputs; {} to {} are allowed", range.start(), range.end())))
        }
    }
    /// The first attribute that the operator never asked for.
    pub fn unread(&self) -> Option<&str> {
        let asked = self.asked.borrow();
        self.attributes.keys().find(|name| !asked.contains(*name)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_of_another_kind_is_named_in_words() {
        let list = [
            ("text", Attribute::String("a\u{1b}b".into()), "the text 'a\\u{1b}b'"),
            ("float", Attribute::Float(0.5), "the float 0.5"),
            ("list", Attribute::Ints((0..20).collect()), "the integers [0, 1, 2, 3, 4, 5, 6, 7, …]"),
            ("texts", Attribute::Strings(vec!["a".into(), "b".into()]), "the texts ['a', 'b']"),
            ("tensor", Attribute::Tensor(Tensor::int64s([1, 2])), "a tensor int64[2]"),
            ("graph", Attribute::Other("a graph"), "a graph"),
        ];
        let attributes = list.iter().map(|(name, value, _)| (name.to_string(), value.clone())).collect();
        let node = NodeView::new("node", "Odd", 24, attributes, vec![], 1);
        for (name, _, words) in &list {
            assert_eq!(
                node.optional_int(name).unwrap_err().message(),
                format!("attribute '{name}' is {words}, not an integer")
            );
        }
    }
}
