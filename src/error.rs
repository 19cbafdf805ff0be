//! One error type for the whole crate: what went wrong, where, and what to do about it, on one line.

use std::fmt;

/// What kind of thing went wrong; a caller decides by it, a person reads the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A wrong flag, option or argument.
    Usage,
    /// A file that is missing, unreadable or not what it claims to be.
    File,
    /// A model that contradicts itself or the ONNX specification.
    Model,
    /// Something valid that this version doesn't do.
    Unsupported,
    /// An input tensor that doesn't fit the model.
    Input,
    /// An adapter that doesn't exist, lacks something, or was lost.
    Device,
    /// A size beyond what may be allocated.
    Memory,
    /// A defect of sardonyx itself.
    Internal,
}

/// An error that names the file, the node, the operator and the tensor where they are known, and a remedy.
#[derive(Debug, Clone)]
pub struct Error(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    kind: ErrorKind,
    message: String,
    file: Option<String>,
    node: Option<String>,
    operator: Option<String>,
    tensor: Option<String>,
    /// Which input of the node is at fault, until somebody who knows the graph gives its name.
    input: Option<usize>,
    remedy: Option<String>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind, with what was found.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            message: message.into(),
            file: None,
            node: None,
            operator: None,
            tensor: None,
            input: None,
            remedy: None,
        }))
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }
    pub fn file(path: impl AsRef<std::path::Path>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::File, message).in_file(path)
    }
    pub fn model(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Model, message)
    }
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }
    pub fn device(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Device, message)
    }
    pub fn memory(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Memory, message)
    }
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
            .remedy("this is a defect of sardonyx: please report it with the model")
    }

    /// Names the file, unless one nearer to the cause is named already. The same holds for the setters below.
    pub fn in_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        self.0.file.get_or_insert_with(|| path.as_ref().display().to_string());
        self
    }
    pub fn at_node(mut self, name: impl Into<String>) -> Self {
        self.0.node.get_or_insert_with(|| name.into());
        self
    }
    pub fn at_operator(mut self, name: impl Into<String>) -> Self {
        self.0.operator.get_or_insert_with(|| name.into());
        self
    }
    pub fn at_tensor(mut self, name: impl Into<String>) -> Self {
        self.0.tensor.get_or_insert_with(|| name.into());
        self
    }
    /// Says which input of the node is at fault: an operator knows its inputs by number alone.
    pub(crate) fn of_input(mut self, index: usize) -> Self {
        self.0.input.get_or_insert(index);
        self
    }
    /// The number of the input at fault, where it is known.
    pub(crate) fn input_at_fault(&self) -> Option<usize> {
        self.0.input
    }
    /// What the reader can do about it.
    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        self.0.remedy.get_or_insert_with(|| text.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    /// What was found, without the place and the remedy.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = &*self.0;
        if let Some(file) = &d.file {
            write!(f, "{file}: ")?;
        }
        match (&d.node, &d.operator) {
            (Some(node), Some(op)) => write!(f, "node '{}' ({}): ", line(node), line(op))?,
            (Some(node), None) => write!(f, "node '{}': ", line(node))?,
            (None, Some(op)) => write!(f, "{}: ", line(op))?,
            (None, None) => {}
        }
        if let Some(tensor) = &d.tensor {
            write!(f, "'{}': ", line(tensor))?;
        }
        // Library messages may hold line breaks; an error is one line.
        write!(f, "{}", d.message.split_whitespace().collect::<Vec<_>>().join(" "))?;
        if let Some(remedy) = &d.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// A model's name on one line: control characters are shown, not printed.
pub(crate) fn line(name: &str) -> String {
    name.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_every_part() {
        let error = Error::unsupported("mode 'wild'\n is unknown")
            .at_operator("Resize")
            .at_node("up")
            .at_node("outer")
            .in_file("m.onnx")
            .remedy("use nearest");
        assert_eq!(error.to_string(), "m.onnx: node 'up' (Resize): mode 'wild' is unknown; use nearest");
    }
}
