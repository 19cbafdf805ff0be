//! `run` of a model whose inputs or outputs are sequences, optionals or maps.

use super::emit::say;
use super::inputs::InputOptions;
use super::outputs::{self, Output};
use sardonyx::error::{Error, Result};
use sardonyx::session::Session;
use sardonyx::{Tensor, Value, ValueType, onnx};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is said of an output: of a tensor as always, of anything else its type and what it holds.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Shown<'a> {
    Tensor(Output<'a>),
    Other {
        name: &'a str,
        /// As in `sequence(float32 tensor)`.
        kind: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<PathBuf>,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Parts<'a>>,
    },
}

/// What a value holds: a sequence is a list, an optional without a value null.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Parts<'a> {
    Tensor {
        dtype: &'static str,
        shape: &'a [usize],
        values: outputs::Elements<'a>,
    },
    Sequence(Vec<Parts<'a>>),
    Optional(Option<Box<Parts<'a>>>),
    Map {
        keys: outputs::Elements<'a>,
        values: outputs::Elements<'a>,
    },
    /// Of a kind that this command doesn't know yet.
    Unknown(()),
}

impl<'a> Parts<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Tensor(tensor) => Parts::Tensor {
                dtype: tensor.dtype().name(),
                shape: tensor.shape(),
                values: outputs::Elements(tensor),
            },
            Value::Sequence { items, .. } => Parts::Sequence(items.iter().map(Parts::of).collect()),
            Value::Optional { value, .. } => {
                Parts::Optional(value.as_deref().map(|value| Box::new(Parts::of(value))))
            }
            Value::Map { keys, values } => {
                Parts::Map { keys: outputs::Elements(keys), values: outputs::Elements(values) }
            }
            _ => Parts::Unknown(()),
        }
    }
}

/// Runs the model on inputs from files: nothing stands for those that aren't given.
pub fn run(session: &Session, inputs: &InputOptions) -> Result<Vec<(String, Value)>> {
    let ports = session.inputs();
    let given = inputs.files(&ports)?;
    let mut values: Vec<(&str, Value)> = vec![];
    for port in &ports {
        let Some(path) = given.iter().find(|(name, _)| *name == port.name).map(|(_, path)| path) else {
            return Err(Error::input(
                "this input is missing, and no noise stands for values that are no tensors",
            )
            .at_tensor(&port.name)
            .remedy(format!("give its {} with -i NAME=FILE or --inputs DIR", port.kind)));
        };
        let value = match &port.kind {
            ValueType::Tensor(_) => onnx::read_tensor(path)?.into(),
            kind => onnx::read_value(path, kind)?,
        };
        values.push((&port.name, value));
    }
    if session.gpu().is_some() {
        say("the whole model runs on the CPU: its inputs or outputs are no tensors");
    }
    session.run_values(&values)
}

/// Writes each output to a folder: NAME.npy, or NAME.pb for what numpy lacks.
pub fn write(folder: &Path, outputs: &[(String, Value)]) -> Result<Vec<PathBuf>> {
    let one = |(name, value): &(String, Value)| match value {
        Value::Tensor(tensor) => {
            let mut paths = outputs::write(folder, &[(name.clone(), tensor.clone())])?;
            paths.pop().ok_or_else(|| Error::internal("an output was not written"))
        }
        other => {
            std::fs::create_dir_all(folder)
                .map_err(|problem| Error::file(folder, format!("can't be made: {problem}")))?;
            let path = folder.join(format!("{}.pb", onnx::file_name(name)));
            onnx::write_value(&path, name, other).map(|()| path)
        }
    };
    outputs.iter().map(one).collect()
}

/// The outputs for a JSON document.
pub fn describe<'a>(outputs: &'a [(String, Value)], files: Option<Vec<PathBuf>>) -> Vec<Shown<'a>> {
    let mut files = files.map(Vec::into_iter);
    let shown = |(name, value): &'a (String, Value)| {
        let file = files.as_mut().and_then(Iterator::next);
        match value {
            Value::Tensor(tensor) => Shown::Tensor(outputs::output(name, tensor, file)),
            other => Shown::Other {
                name,
                kind: other.kind().to_string(),
                value: file.is_none().then(|| Parts::of(other)),
                file,
            },
        }
    };
    outputs.iter().map(shown).collect()
}

/// The outputs as text.
pub fn text(outputs: &[(String, Value)], shown: &[Shown]) -> String {
    let one = |((name, value), shown): (&(String, Value), &Shown)| match shown {
        Shown::Tensor(output) => outputs::text(std::slice::from_ref(output)),
        Shown::Other { kind, file: Some(file), .. } => format!("{name}  {kind}  {}\n", file.display()),
        Shown::Other { kind, .. } => format!("{name}  {kind}\n{}", lines(value, 1)),
    };
    outputs.iter().zip(shown).map(one).collect()
}

/// What a value holds, a line for each tensor in it, indented by how deep it lies.
fn lines(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let tensor = |tensor: &Tensor| {
        let text = outputs::Elements(tensor).text();
        let text: Vec<&str> = text.lines().map(str::trim).collect();
        format!("{}{:?}  {}", tensor.dtype(), tensor.shape(), text.join("  "))
    };
    match value {
        Value::Tensor(one) => format!("{indent}{}\n", tensor(one)),
        Value::Sequence { items, .. } => items.iter().map(|item| lines(item, depth + 1)).collect(),
        Value::Optional { value: Some(value), .. } => lines(value, depth + 1),
        Value::Map { keys, values } => {
            format!("{indent}keys    {}\n{indent}values  {}\n", tensor(keys), tensor(values))
        }
        _ => format!("{indent}nothing\n"),
    }
}
