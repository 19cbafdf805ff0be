//! A node's inputs, whether their types and shapes or their elements are meant, and why what they make may
//! not be known.

use super::Fact;
use crate::error::{Error, Result};

/// Why `infer` has no answer.
#[derive(Debug)]
pub enum Infer {
    /// The shape depends on the elements of this input.
    NeedsValue(usize),
    /// Only a run can know what comes out, for this reason.
    DependsOnData(String),
    Error(Error),
}
impl From<Error> for Infer {
    fn from(error: Error) -> Self {
        Infer::Error(error)
    }
}

/// A node's inputs in order, optional ones possibly absent.
pub struct Operands<'a, T> {
    items: &'a [Option<&'a T>],
}
impl<T> Clone for Operands<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Operands<'_, T> {}

impl<'a, T> Operands<'a, T> {
    pub fn new(items: &'a [Option<&'a T>]) -> Self {
        Self { items }
    }
    /// An input that must be there.
    pub fn required(&self, index: usize) -> Result<&'a T> {
        self.optional(index).ok_or_else(|| Error::model(format!("input {index} is missing")))
    }
    /// An input that may be left out.
    pub fn optional(&self, index: usize) -> Option<&'a T> {
        self.items.get(index).copied().flatten()
    }
    pub fn len(&self) -> usize {
        self.items.len()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The inputs that are there, of an operator that takes any number.
    pub fn present(&self) -> impl Iterator<Item = &'a T> {
        self.items.iter().copied().flatten()
    }
    /// The inputs without the first `count`.
    pub fn skip(&self, count: usize) -> Operands<'a, T> {
        Operands { items: self.items.get(count..).unwrap_or_default() }
    }
}

impl<'a> Operands<'a, Fact> {
    /// Errors where the first `count` inputs are of several types, though ONNX gives them one: a kernel would
    /// read one as another.
    pub fn one_type(&self, count: usize) -> Result<()> {
        let mut types = self.items.iter().take(count).flatten().map(|fact| fact.dtype);
        let Some(first) = types.next() else { return Ok(()) };
        match types.find(|&other| other != first) {
            Some(other) => Err(Error::model(format!("its inputs are of several types: {first} and {other}"))
                .remedy("convert the model anew, in one precision")),
            None => Ok(()),
        }
    }
    /// The int64 (or int32) elements of an input that a shape depends on.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>, Infer> {
        match &self.required(index)?.value {
            Some(value) => Ok(value.to_i64s()?),
            None => Err(Infer::NeedsValue(index)),
        }
    }
    /// The same for an optional input.
    pub fn optional_ints(&self, index: usize) -> Result<Option<Vec<i64>>, Infer> {
        self.optional(index).map(|_| self.ints(index)).transpose()
    }
}
