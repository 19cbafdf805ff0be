//! What a graph's values may be beside tensors: sequences, optionals and maps
//! ([ONNX's types](https://onnx.ai/onnx/repo-docs/IR.html#types)).

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use std::fmt;

/// The type of a value: of tensors the element type alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueType {
    /// A tensor of any shape.
    Tensor(DType),
    /// Any number of values of one type, in order.
    Sequence(Box<ValueType>),
    /// A value or none.
    Optional(Box<ValueType>),
    /// Keys, which are integers or strings, and a value for each: tensors of one element each.
    Map(DType, DType),
}

impl ValueType {
    /// The type of sequences of this.
    pub fn sequence(self) -> Self {
        Self::Sequence(Box::new(self))
    }
    /// The type of optionals of this.
    pub fn optional(self) -> Self {
        Self::Optional(Box::new(self))
    }
}

impl fmt::Display for ValueType {
    /// As in `sequence(float32 tensor)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(dtype) => write!(f, "{dtype} tensor"),
            Self::Sequence(of) => write!(f, "sequence({of})"),
            Self::Optional(of) => write!(f, "optional({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
        }
    }
}

/// A value of a graph. Cloning shares the elements.
///
/// ```
/// use sardonyx::{DType, Tensor, Value, ValueType};
///
/// # fn main() -> sardonyx::Result<()> {
/// let parts = vec![Tensor::int64s([1, 2]).into(), Tensor::int64s([3]).into()];
/// let list = Value::sequence(ValueType::Tensor(DType::I64), parts)?;
/// assert_eq!(list.kind().to_string(), "sequence(int64 tensor)");
/// assert_eq!(list.items()?[1].tensor()?.shape(), [1]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// The common case.
    Tensor(Tensor),
    /// Values of one type, in order.
    Sequence {
        /// The type of each item, which an empty sequence has too.
        of: ValueType,
        /// The values.
        items: Vec<Value>,
    },
    /// A value that may be missing.
    Optional {
        /// The type of the value, which one that is missing has too.
        of: ValueType,
        /// The value, if it is there.
        value: Option<Box<Value>>,
    },
    /// Keys and a value for each.
    Map {
        /// Integers or strings, one axis.
        keys: Tensor,
        /// As many elements as there are keys, one axis.
        values: Tensor,
    },
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl Value {
    /// A sequence. Errors where an item is of another type than `of`.
    pub fn sequence(of: ValueType, items: Vec<Value>) -> Result<Self> {
        match items.iter().map(Value::kind).find(|kind| *kind != of) {
            Some(other) => Err(Error::input(format!("a sequence of {of}s can't hold a {other}"))
                .remedy("make all items of one type")),
            None => Ok(Self::Sequence { of, items }),
        }
    }
    /// An optional that has a value.
    pub fn some(value: Value) -> Self {
        Self::Optional { of: value.kind(), value: Some(Box::new(value)) }
    }
    /// A map. Errors where keys and values aren't lists of one length, or keys no integers or strings.
    pub fn map(keys: Tensor, values: Tensor) -> Result<Self> {
        if keys.rank() != 1 || keys.shape() != values.shape() {
            return Err(Error::input(format!(
                "a map has keys {:?} and values {:?}, not two lists of one length",
                keys.shape(),
                values.shape()
            )));
        }
        if !keys.dtype().is_integer() && keys.dtype() != DType::String {
            return Err(Error::input(format!("a map's keys are integers or strings, not {}", keys.dtype())));
        }
        Ok(Self::Map { keys, values })
    }

    /// The type.
    pub fn kind(&self) -> ValueType {
        match self {
            Self::Tensor(tensor) => ValueType::Tensor(tensor.dtype()),
            Self::Sequence { of, .. } => of.clone().sequence(),
            Self::Optional { of, .. } => of.clone().optional(),
            Self::Map { keys, values } => ValueType::Map(keys.dtype(), values.dtype()),
        }
    }
    fn found(&self, wanted: &str) -> Error {
        Error::input(format!("found {} where {wanted} was expected", self.kind()))
    }
    /// The tensor. Errors where it is something else.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            other => Err(other.found("a tensor")),
        }
    }
    /// The same, by value.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            other => Err(other.found("a tensor")),
        }
    }
    /// The items of a sequence. Errors where it is something else.
    pub fn items(&self) -> Result<&[Value]> {
        match self {
            Self::Sequence { items, .. } => Ok(items),
            other => Err(other.found("a sequence")),
        }
    }
    /// What an optional holds; any other value is there as it is.
    pub fn optional(&self) -> Option<&Value> {
        match self {
            Self::Optional { value, .. } => value.as_deref(),
            other => Some(other),
        }
    }
    /// The same value with each tensor in it changed.
    pub(crate) fn map_tensors(&self, change: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(match self {
            Self::Tensor(tensor) => Self::Tensor(change(tensor)?),
            Self::Sequence { of, items } => {
                let items: Vec<_> =
                    items.iter().map(|item| item.map_tensors(change)).collect::<Result<_>>()?;
                Self::Sequence { of: items.first().map_or_else(|| of.clone(), Value::kind), items }
            }
            Self::Optional { of, value } => match value {
                Some(value) => Self::some(value.map_tensors(change)?),
                None => Self::Optional { of: of.clone(), value: None },
            },
            Self::Map { keys, values } => Self::Map { keys: keys.clone(), values: change(values)? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_of_one_type() {
        let of = ValueType::Tensor(DType::F32);
        let item = || Value::from(Tensor::scalar(1f32));
        let list = Value::sequence(of.clone(), vec![item(), item()]).unwrap();
        assert_eq!(list.kind().to_string(), "sequence(float32 tensor)");
        let error = Value::sequence(of, vec![item(), Tensor::scalar(1i64).into()]).unwrap_err();
        assert!(error.to_string().contains("can't hold a int64 tensor"), "{error}");
        assert!(list.tensor().unwrap_err().to_string().contains("found sequence(float32 tensor)"));
    }

    #[test]
    fn a_map_has_a_value_for_each_key() {
        let keys = Tensor::strings([2], vec!["a".into(), "b".into()]).unwrap();
        let map = |count| Value::map(keys.clone(), Tensor::new([count], vec![0.5f32; count]).unwrap());
        assert_eq!(map(2).unwrap().kind().to_string(), "map(string, float32)");
        assert!(map(3).is_err());
        assert!(Value::map(Tensor::new([1], vec![1f32]).unwrap(), Tensor::int64s([1])).is_err());
    }
}
