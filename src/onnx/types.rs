//! [TypeProto](https://onnx.ai/onnx/repo-docs/IR.html#types) to types of values.

use super::tensor;
use crate::error::{Error, Result};
use crate::graph::{Declared, Dim};
use crate::value::ValueType;
use onnx_protobuf::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};

/// How deep types may lie in each other.
const MAX_DEPTH: usize = 16;

/// What a model says of a value.
pub enum Said {
    Tensor(Declared),
    /// Of a sequence, an optional or a map.
    Other(ValueType),
}

/// A value's type, if the model says any.
///
/// Errors: sparse tensors, and elements that aren't held.
pub fn of_value(info: &ValueInfoProto) -> Result<Option<Said>> {
    let Some(kind) = info.type_.as_ref() else { return Ok(None) };
    match kind.value.as_ref() {
        Some(type_proto::Value::TensorType(tensor)) if tensor.elem_type != 0 => {
            let dims = tensor.shape.as_ref().map(dims);
            Ok(Some(Said::Tensor(Declared { dtype: tensor::dtype(tensor.elem_type)?, dims })))
        }
        _ => Ok(read(kind)?.map(Said::Other)),
    }
}

/// A type; `None` where it is left open.
pub fn read(kind: &TypeProto) -> Result<Option<ValueType>> {
    nested(kind, 0)
}

fn nested(kind: &TypeProto, depth: usize) -> Result<Option<ValueType>> {
    if depth > MAX_DEPTH {
        return Err(Error::unsupported(format!("is a type of types more than {MAX_DEPTH} deep")));
    }
    let inner = |kind: Option<&TypeProto>| match kind {
        Some(kind) => nested(kind, depth + 1),
        None => Ok(None),
    };
    Ok(match kind.value.as_ref() {
        None => None,
        Some(type_proto::Value::TensorType(tensor)) if tensor.elem_type == 0 => None,
        Some(type_proto::Value::TensorType(tensor)) => {
            Some(ValueType::Tensor(tensor::dtype(tensor.elem_type)?))
        }
        Some(type_proto::Value::SequenceType(of)) => inner(of.elem_type.as_ref())?.map(ValueType::sequence),
        Some(type_proto::Value::OptionalType(of)) => inner(of.elem_type.as_ref())?.map(ValueType::optional),
        Some(type_proto::Value::MapType(map)) => {
            let key = tensor::dtype(map.key_type)?;
            match inner(map.value_type.as_ref())? {
                Some(ValueType::Tensor(value)) => Some(ValueType::Map(key, value)),
                Some(other) => {
                    return Err(Error::unsupported(format!(
                        "is a map to {other}; numbers and strings are known"
                    ))
                    .remedy("export the model with tensors as inputs and outputs"));
                }
                None => None,
            }
        }
        Some(type_proto::Value::SparseTensorType(_)) => {
            return Err(Error::unsupported("is a sparse tensor; only initializers may be")
                .remedy("export the model with dense tensors as inputs and outputs"));
        }
        Some(_) => {
            return Err(Error::unsupported("is a type of a newer ONNX")
                .remedy("export the model with tensors as inputs and outputs"));
        }
    })
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
