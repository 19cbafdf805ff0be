//! [AttributeProto](https://onnx.ai/onnx/repo-docs/IR.html#attributes) to [`Attribute`].

use super::external::ExternalFiles;
use super::{sparse, tensor, types};
use crate::error::{Error, Result};
use crate::ops::Attribute;
use onnx_protobuf::{AttributeProto, TensorProto};
use std::collections::BTreeMap;

/// A node's attributes by name. The types of newer versions are kept as kinds that no operator reads.
pub fn read(protos: &[AttributeProto], files: &mut ExternalFiles) -> Result<BTreeMap<String, Attribute>> {
    let mut all = BTreeMap::new();
    for proto in protos {
        let attribute = attribute(proto, files)?;
        if all.insert(proto.name.clone(), attribute).is_some() {
            return Err(Error::model(format!("attribute '{}' is given twice", proto.name)));
        }
    }
    Ok(all)
}

fn attribute(proto: &AttributeProto, files: &mut ExternalFiles) -> Result<Attribute> {
    let missing = || Error::model(format!("attribute '{}' has no value of its type", proto.name));
    let mut tensor = |proto: &TensorProto| tensor::read(proto, files);
    Ok(match kind(proto) {
        1 => Attribute::Float(proto.f),
        2 => Attribute::Int(proto.i),
        3 => text(&proto.s).map_or(NOT_TEXT, Attribute::String),
        4 => Attribute::Tensor(tensor(proto.t.as_ref().ok_or_else(missing)?)?),
        6 => Attribute::Floats(proto.floats.clone()),
        7 => Attribute::Ints(proto.ints.clone()),
        8 => proto
            .strings
            .iter()
            .map(|bytes| text(bytes))
            .collect::<Option<_>>()
            .map_or(NOT_TEXT, Attribute::Strings),
        9 => Attribute::Tensors(proto.tensors.iter().map(tensor).collect::<Result<_>>()?),
        11 => Attribute::Tensor(sparse::read(proto.sparse_tensor.as_ref().ok_or_else(missing)?, files)?),
        5 => Attribute::Other("a graph"),
        10 => Attribute::Other("graphs"),
        12 => Attribute::Other("sparse tensors"),
        13 => {
            let kind = types::read(proto.tp.as_ref().ok_or_else(missing)?);
            kind.map(|kind| kind.map_or(Attribute::Other("an unknown type"), Attribute::Type))?
        }
        14 => Attribute::Other("types"),
        _ => {
            return Err(Error::unsupported(format!(
                "attribute '{}' has the unknown type {}",
                proto.name,
                proto.type_.value()
            )));
        }
    })
}

const NOT_TEXT: Attribute = Attribute::Other("bytes that are not UTF-8");

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_string)
}

/// AttributeProto.AttributeType; the first ONNX files left it out, and the field that is set tells.
fn kind(proto: &AttributeProto) -> i32 {
    match proto.type_.value() {
        0 if proto.t.is_some() => 4,
        0 if proto.g.is_some() => 5,
        0 if !proto.ints.is_empty() => 7,
        0 if !proto.floats.is_empty() => 6,
        0 if !proto.strings.is_empty() => 8,
        0 if !proto.s.is_empty() => 3,
        0 if proto.f != 0.0 => 1,
        0 => 2,
        given => given,
    }
}
