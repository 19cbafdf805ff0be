//! `.pb` files of values: a TensorProto, a
//! [SequenceProto](https://github.com/onnx/onnx/blob/main/onnx/onnx-data.proto), an OptionalProto or a
//! MapProto. Nothing in a file says which it is: the type that the model gives the value does.

use super::external::{ExternalFiles, map_file};
use super::{decode, folder_of, tensor, wire};
use crate::error::{Error, Result};
use crate::replace::write_whole;
use crate::tensor::{DType, Tensor};
use crate::value::{Value, ValueType};
use onnx_protobuf::{Message, TensorProto};
use protobuf::{CodedInputStream, CodedOutputStream, rt::WireType};
use std::path::Path;

/// How deep values may lie in each other.
const MAX_DEPTH: usize = 16;

/// Reads a value of this type from a `.pb` file. Errors name the file.
pub fn read_value(path: &Path, kind: &ValueType) -> Result<Value> {
    let bytes = map_file(path)?;
    let mut reader = Reader { files: ExternalFiles::new(Some(folder_of(path))) };
    reader.value(&bytes, kind, 0).map_err(|error| error.in_file(path))
}

struct Reader {
    files: ExternalFiles,
}

/// A message's fields, by number: those of length-delimited types whole, others as their number.
enum Field<'a> {
    Bytes(u32, &'a [u8]),
    Number(u32, u64),
}

/// The fields of a message that is well-formed.
fn fields(bytes: &[u8]) -> Result<Vec<Field<'_>>> {
    let broken = |problem: protobuf::Error| {
        Error::new(crate::error::ErrorKind::File, format!("can't be decoded: {problem}"))
            .remedy("the file is damaged, or of another type than the model's value: export it again")
    };
    let mut stream = CodedInputStream::from_bytes(bytes);
    let mut all = vec![];
    while !stream.eof().map_err(broken)? {
        let tag = stream.read_raw_varint32().map_err(broken)?;
        let number = tag >> 3;
        match WireType::new(tag & 7) {
            Some(WireType::LengthDelimited) => {
                let length = u64::from(stream.read_raw_varint32().map_err(broken)?);
                let start = stream.pos() as usize;
                stream.skip_raw_bytes(length as u32).map_err(broken)?;
                let end = start.saturating_add(length as usize);
                let part = bytes.get(start..end).ok_or_else(|| {
                    Error::new(crate::error::ErrorKind::File, "ends in the middle of a message")
                })?;
                all.push(Field::Bytes(number, part));
            }
            Some(WireType::Varint) => {
                all.push(Field::Number(number, stream.read_raw_varint64().map_err(broken)?));
            }
            Some(kind) => stream.skip_field(kind).map_err(broken)?,
            None => {
                return Err(Error::new(crate::error::ErrorKind::File, "holds a field of an unknown kind")
                    .remedy("the file is damaged: export it again"));
            }
        }
    }
    Ok(all)
}

/// Errors where a message says that what it holds is of another kind.
fn check_items(fields: &[Field<'_>], of: &ValueType) -> Result<()> {
    let said = fields.iter().find_map(|field| match field {
        Field::Number(2, number) => Some(*number),
        _ => None,
    });
    // A tensor's file has its elements in a field that these messages don't have.
    let other = fields.iter().any(|field| match field {
        Field::Bytes(number, _) => *number > 7,
        Field::Number(number, _) => *number != 2,
    });
    match said.filter(|_| !other).map_or_else(|| other.then_some(u64::MAX), Some) {
        // An optional without a value, or an empty sequence, need not say.
        None | Some(0) => Ok(()),
        Some(number) if number == item_field(of).1 as u64 => Ok(()),
        Some(_) => Err(Error::input(format!("does not hold {of}s"))
            .remedy("the file is of another type than the model's value: export it again")),
    }
}

impl Reader {
    fn tensor(&mut self, bytes: &[u8]) -> Result<Tensor> {
        let proto: TensorProto = decode(bytes, wire::Kind::Tensor)?;
        tensor::read(&proto, &mut self.files)
    }

    fn value(&mut self, bytes: &[u8], kind: &ValueType, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(Error::unsupported(format!("holds values more than {MAX_DEPTH} deep in each other")));
        }
        match kind {
            ValueType::Tensor(dtype) => {
                let tensor = self.tensor(bytes)?;
                if tensor.dtype() != *dtype {
                    return Err(Error::input(format!(
                        "holds a {} tensor where the model has {dtype}",
                        tensor.dtype()
                    )));
                }
                Ok(tensor.into())
            }
            ValueType::Sequence(of) => {
                let fields = fields(bytes)?;
                check_items(&fields, of)?;
                let items = fields.into_iter().filter_map(|field| match field {
                    Field::Bytes(3..=7, item) => Some(item),
                    _ => None,
                });
                let items = items.map(|item| self.value(item, of, depth + 1)).collect::<Result<_>>()?;
                Value::sequence((**of).clone(), items)
            }
            ValueType::Optional(of) => {
                let fields = fields(bytes)?;
                check_items(&fields, of)?;
                let value = fields.into_iter().find_map(|field| match field {
                    Field::Bytes(3..=7, value) => Some(value),
                    _ => None,
                });
                let value = value.map(|value| self.value(value, of, depth + 1)).transpose()?;
                Ok(Value::Optional { of: (**of).clone(), value: value.map(Box::new) })
            }
            ValueType::Map(key, _) => self.map(bytes, *key),
        }
    }

    fn map(&mut self, bytes: &[u8], key: DType) -> Result<Value> {
        let (mut numbers, mut strings, mut values) = (vec![], vec![], None);
        for field in fields(bytes)? {
            match field {
                Field::Number(3, number) => numbers.push(number as i64),
                Field::Bytes(3, packed) => {
                    let mut stream = CodedInputStream::from_bytes(packed);
                    while let Ok(false) = stream.eof() {
                        let number = stream.read_raw_varint64();
                        numbers
                            .push(number.map_err(|_| Error::input("holds keys that are no numbers"))? as i64);
                    }
                }
                Field::Bytes(4, text) => strings.push(String::from_utf8_lossy(text).into_owned()),
                Field::Bytes(5, list) => values = Some(list),
                _ => {}
            }
        }
        let keys = if key == DType::String {
            Tensor::strings([strings.len()], strings)?
        } else {
            crate::tensor::cast(&Tensor::int64s(numbers), key, true)?
        };
        // A sequence of one tensor, or of one for each key.
        let parts = fields(values.unwrap_or_default())?.into_iter().filter_map(|field| match field {
            Field::Bytes(3, part) => Some(part),
            _ => None,
        });
        let parts: Vec<Tensor> = parts.map(|part| self.tensor(part)).collect::<Result<_>>()?;
        let all = Tensor::chain(&parts.iter().collect::<Vec<_>>())?;
        Value::map(keys, all.reshape([all.len()])?)
    }
}

/// Writes a value to a `.pb` file under a name.
pub fn write_value(path: &Path, name: &str, value: &Value) -> Result<()> {
    let bytes = encoded(name, value, 0).map_err(|error| error.in_file(path))?;
    write_whole(path, &bytes)
}

/// The number of the field that holds items of a type, and that type's number in `elem_type`.
fn item_field(kind: &ValueType) -> (u32, i32) {
    match kind {
        ValueType::Tensor(_) => (3, 1),
        ValueType::Sequence(_) => (5, 3),
        ValueType::Map(..) => (6, 4),
        ValueType::Optional(_) => (7, 5),
    }
}

fn encoded(name: &str, value: &Value, depth: usize) -> Result<Vec<u8>> {
    if depth > MAX_DEPTH {
        return Err(Error::unsupported(format!(
            "values more than {MAX_DEPTH} deep in each other can't be written"
        )));
    }
    let failed =
        |problem: protobuf::Error| Error::internal(format!("a value could not be encoded: {problem}"));
    let mut bytes = vec![];
    let mut out = CodedOutputStream::vec(&mut bytes);
    if let Value::Tensor(tensor) = value {
        return tensor::write(name, tensor)?.write_to_bytes().map_err(failed);
    }
    out.write_string(1, name).map_err(failed)?;
    match value {
        Value::Tensor(_) => {}
        Value::Sequence { of, items } => {
            let (field, number) = item_field(of);
            out.write_int32(2, number).map_err(failed)?;
            for item in items {
                out.write_bytes(field, &encoded("", item, depth + 1)?).map_err(failed)?;
            }
        }
        Value::Optional { of, value } => {
            let (field, number) = item_field(of);
            out.write_int32(2, number).map_err(failed)?;
            if let Some(value) = value {
                out.write_bytes(field, &encoded("", value, depth + 1)?).map_err(failed)?;
            }
        }
        Value::Map { keys, values } => {
            out.write_int32(2, keys.dtype().onnx()).map_err(failed)?;
            match keys.as_strings() {
                Ok(strings) => {
                    for text in strings {
                        out.write_bytes(4, text.as_bytes()).map_err(failed)?;
                    }
                }
                Err(_) => {
                    for number in keys.to_i64s()? {
                        out.write_int64(3, number).map_err(failed)?;
                    }
                }
            }
            let list = Value::sequence(ValueType::Tensor(values.dtype()), vec![values.clone().into()])?;
            out.write_bytes(5, &encoded("", &list, depth + 1)?).map_err(failed)?;
        }
    }
    out.flush().map_err(failed)?;
    drop(out);
    Ok(bytes)
}
