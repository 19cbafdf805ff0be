//! One error type for the whole crate: what went wrong, where, and what to do about it, on one line.
//!
//! ```
//! use sardonyx::{ErrorKind, Session};
//! use std::error::Error;
//!
//! let error = Session::builder().load("no/such.onnx").err().unwrap();
//! match error.kind() {
//!     ErrorKind::File => println!("{error}"), // no/such.onnx: can't be read: …
//!     other => println!("something else: {other:?}"),
//! }
//! assert!(error.source().is_some_and(|cause| cause.is::<std::io::Error>()));
//! ```

mod kind;
mod setting;

pub use kind::ErrorKind;
pub use setting::Setting;

use std::fmt;
use std::sync::Arc;

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
    remedy: Option<Remedy>,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What to do: a text in which each `{}` stands for a setting, in order, as far as there are settings.
#[derive(Debug, Clone)]
struct Remedy {
    text: String,
    settings: Vec<Setting>,
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
            cause: None,
        }))
    }
    /// A wrong argument or option.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }
    /// A file that is missing, unreadable or not what it claims to be.
    pub fn file(path: impl AsRef<std::path::Path>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::File, message).in_file(path)
    }
    /// A model that contradicts itself or the ONNX specification.
    pub fn model(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Model, message)
    }
    /// Something valid that this version doesn't do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }
    /// An input that doesn't fit the model.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }
    /// An adapter that doesn't exist, lacks something, or was lost.
    pub fn device(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Device, message)
    }
    /// A size beyond what may be allocated.
    pub fn memory(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Memory, message)
    }
    /// A defect of sardonyx itself, with the remedy to report it.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
            .remedy("this is a defect of sardonyx: please report it with the model")
    }

    /// Names the file, unless one nearer to the cause is named already. The same holds for the setters below.
    pub fn in_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        self.0.file.get_or_insert_with(|| path.as_ref().display().to_string());
        self
    }
    /// Names the node.
    pub fn at_node(mut self, name: impl Into<String>) -> Self {
        self.0.node.get_or_insert_with(|| name.into());
        self
    }
    /// Names the operator.
    pub fn at_operator(mut self, name: impl Into<String>) -> Self {
        self.0.operator.get_or_insert_with(|| name.into());
        self
    }
    /// Names the tensor.
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
    pub fn remedy(self, text: impl Into<String>) -> Self {
        self.remedy_by(text, &[])
    }
    /// The same where settings are to be changed: each `{}` of the text stands for one of them, in order.
    pub fn remedy_by(mut self, text: impl Into<String>, settings: &[Setting]) -> Self {
        self.0.remedy.get_or_insert_with(|| Remedy { text: text.into(), settings: settings.to_vec() });
        self
    }
    /// Keeps the error of another library that this one comes from: its
    /// [`source`](std::error::Error::source).
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.cause.get_or_insert_with(|| Arc::new(cause));
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    /// What was found, without the place and the remedy.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The file, where one is known.
    pub fn path(&self) -> Option<&str> {
        self.0.file.as_deref()
    }
    /// The node, where one is known.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }
    /// The operator, where one is known.
    pub fn operator(&self) -> Option<&str> {
        self.0.operator.as_deref()
    }
    /// The tensor, where one is known.
    pub fn tensor(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }
    /// The settings that the remedy is about.
    pub fn settings(&self) -> &[Setting] {
        self.0.remedy.as_ref().map_or(&[], |remedy| &remedy.settings)
    }
    /// The line that [`Display`](fmt::Display) writes, with each setting of the remedy said as `spelling`
    /// says it: for a program that has names of its own for them.
    pub fn text_with(&self, spelling: impl Fn(Setting) -> String) -> String {
        let advice = self.advice_with(spelling).map(|advice| format!("; {advice}"));
        format!("{}{}", Found(&self.0), advice.unwrap_or_default())
    }
    /// The remedy alone, said so.
    pub fn advice_with(&self, spelling: impl Fn(Setting) -> String) -> Option<String> {
        let remedy = self.0.remedy.as_ref()?;
        let fill = |text: String, &setting: &Setting| text.replacen("{}", &spelling(setting), 1);
        Some(remedy.settings.iter().fold(remedy.text.clone(), fill))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text_with(|setting| setting.to_string()))
    }
}

/// What was found, and where: the line without its remedy.
struct Found<'a>(&'a Details);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.0;
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
        write!(f, "{}", d.message.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// A model's name on one line: control characters are shown, not printed.
pub(crate) fn line(name: &str) -> String {
    name.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.0.cause.as_deref()?;
        Some(cause)
    }
}

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
    #[test]
    fn a_program_says_settings_its_own_way() {
        let error = Error::memory("too large").remedy_by("use {} or {}", &[Setting::Float16, Setting::Cpu]);
        assert_eq!(error.to_string(), "too large; use float16 storage or the CPU");
        let flags = error.text_with(|setting| format!("--{setting:?}").to_lowercase());
        assert_eq!(flags, "too large; use --float16 or --cpu");
        assert_eq!(error.settings(), [Setting::Float16, Setting::Cpu]);
    }

    #[test]
    fn a_cause_is_kept() {
        use std::error::Error as _;
        let error = Error::file("m", "gone").caused_by(std::io::Error::from(std::io::ErrorKind::NotFound));
        assert!(error.source().is_some_and(|cause| cause.is::<std::io::Error>()));
        assert!(Error::model("wrong").source().is_none());
    }
}
