//! A walk over [protobuf's wire format](https://protobuf.dev/programming-guides/encoding/) before anything is
//! decoded.
//!
//! The decoder recurses without a bound over unknown groups and trusts counts; this walk refuses groups,
//! lengths that run past the end, nesting beyond a limit and more messages than any model has. It keeps its
//! own stack and allocates nothing else.

use crate::error::{Error, Result};

/// How deep messages may lie in each other: an If body within another takes three levels. The decoder's own
/// limit is 100.
const MAX_DEPTH: usize = 90;
/// How many messages a file may hold. Even an empty one costs the decoder some hundred bytes.
const MAX_MESSAGES: usize = 1 << 22;

/// The ONNX messages that hold other messages; [`Kind::Leaf`] is any that doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    /// TypeProto.Sequence and TypeProto.Optional.
    ElementType,
    MapType,
    Shape,
    Function,
    Training,
    Annotation,
    Leaf,
}

impl Kind {
    /// The message in a field of this one, by the numbers of
    /// [onnx.proto](https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
    fn field(self, number: u64) -> Option<Kind> {
        Some(match (self, number) {
            (Kind::Model, 7) | (Kind::Attribute, 6 | 11) | (Kind::Training, 1 | 2) => Kind::Graph,
            (Kind::Model, 20) => Kind::Training,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
            (Kind::Node, 5) | (Kind::Function, 11) => Kind::Attribute,
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::SparseTensor, 1 | 2) => Kind::Tensor,
            (Kind::Graph, 15) | (Kind::Attribute, 22 | 23) => Kind::SparseTensor,
            (Kind::Graph, 11..=13) | (Kind::Function, 12) => Kind::ValueInfo,
            (Kind::Graph, 14) => Kind::Annotation,
            (Kind::Attribute, 14 | 15)
            | (Kind::ValueInfo, 2)
            | (Kind::ElementType, 1)
            | (Kind::MapType, 2) => Kind::Type,
            (Kind::Type, 1 | 8) => Kind::TensorType,
            (Kind::Type, 4 | 9) => Kind::ElementType,
            (Kind::Type, 5) => Kind::MapType,
            (Kind::TensorType, 2) => Kind::Shape,
            (Kind::Model, 8 | 14)
            | (Kind::Graph, 16)
            | (Kind::Node, 9)
            | (Kind::Tensor, 3 | 13 | 16)
            | (Kind::ValueInfo, 4) => Kind::Leaf,
            (Kind::Shape, 1) | (Kind::Function, 9 | 14) | (Kind::Training, 3 | 4) | (Kind::Annotation, 2) => {
                Kind::Leaf
            }
            _ => return None,
        })
    }
}

/// Checks that bytes are well-formed as a message of this kind, without decoding them.
pub fn check(bytes: &[u8], kind: Kind) -> Result<()> {
    let mut at = 0;
    let mut messages = 0;
    // The message that the position is in comes last, with where it ends.
    let mut open = vec![(kind, bytes.len())];
    while let Some(&(kind, end)) = open.last() {
        if at == end {
            open.pop();
            continue;
        }
        let tag = varint(bytes, &mut at, end)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        match wire_type {
            0 => drop(varint(bytes, &mut at, end)?),
            1 => skip(&mut at, 8, end)?,
            5 => skip(&mut at, 4, end)?,
            2 => {
                let length = varint(bytes, &mut at, end)?;
                let start = at;
                skip(&mut at, length, end)?;
                if let Some(inner) = kind.field(number) {
                    messages += 1;
                    if messages > MAX_MESSAGES {
                        return Err(Error::memory(format!("holds more than {MAX_MESSAGES} messages"))
                            .remedy("no model needs as many"));
                    }
                    if open.len() >= MAX_DEPTH {
                        return Err(Error::model(format!("is nested deeper than {MAX_DEPTH} levels"))
                            .remedy("flatten its subgraphs or types"));
                    }
                    open.push((inner, at));
                    at = start;
                }
            }
            3 | 4 => {
                return Err(malformed(format!("holds a protobuf group at byte {at}, which ONNX never uses")));
            }
            _ => return Err(malformed(format!("has no valid protobuf field at byte {at}"))),
        }
    }
    Ok(())
}

fn malformed(what: String) -> Error {
    Error::new(crate::error::ErrorKind::File, what)
        .remedy("the file is damaged or not ONNX: export or download it again")
}

fn truncated(at: usize) -> Error {
    malformed(format!("ends or breaks off within a field at byte {at}"))
}

fn skip(at: &mut usize, length: u64, end: usize) -> Result<()> {
    let to = usize::try_from(length).ok().and_then(|length| at.checked_add(length)).filter(|&to| to <= end);
    *at = to.ok_or_else(|| truncated(*at))?;
    Ok(())
}

fn varint(bytes: &[u8], at: &mut usize, end: usize) -> Result<u64> {
    let start = *at;
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte =
            bytes.get(..end).and_then(|part| part.get(*at)).copied().ok_or_else(|| truncated(start))?;
        *at += 1;
        // The tenth byte holds the topmost bit alone.
        value |= u64::from(byte & 127).checked_shl(shift).unwrap_or(0);
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(malformed(format!("has a number of more than 64 bits at byte {start}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `depth` sequence types, one in the other, within a graph input.
    fn nested(depth: usize) -> Vec<u8> {
        let wrap = |tag: u8, inner: &[u8]| {
            let mut out = vec![tag << 3 | 2];
            let mut length = inner.len();
            while length > 127 {
                out.push(length as u8 | 128);
                length >>= 7;
            }
            out.push(length as u8);
            out.extend_from_slice(inner);
            out
        };
        let body = (0..depth).fold(vec![], |inner, _| wrap(4, &wrap(1, &inner)));
        wrap(7, &wrap(11, &wrap(2, &body)))
    }

    #[test]
    fn nesting_is_bounded() {
        check(&nested(40), Kind::Model).unwrap();
        assert!(check(&nested(60), Kind::Model).unwrap_err().message().contains("nested deeper"));
    }

    #[test]
    fn groups_and_broken_lengths_are_refused() {
        // Field 99 opens a group; unknown to ONNX, the decoder would recurse into it.
        assert!(check(&[0x9b, 0x06, 0x9c, 0x06], Kind::Model).unwrap_err().message().contains("group"));
        assert!(check(&[0x3a, 5, 1], Kind::Model).is_err());
        assert!(
            check(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], Kind::Model).is_err()
        );
        assert!(check(&[0x08, 0xff], Kind::Model).is_err());
        // A field of an inner message must not run past that message into its parent.
        assert!(check(&[0x3a, 2, 0x12, 4, 0x12, 0, 0x12, 0], Kind::Model).is_err());
        check(&[0x3a, 2, 0x12, 0, 0x08, 7], Kind::Model).unwrap();
    }
}
