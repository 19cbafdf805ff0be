//! Compiled models: an ONNX model with its weights laid out to be mapped, beside the same weights as a
//! device's kernels read them.
//!
//! Nothing is decoded or packed when such a file is loaded: weights are mapped, packed ones go from the map
//! to the device. The format ([docs/compiled.md](../../docs/compiled.md)) is a container: eight bytes
//! `sardonyx`, a version, the place of a JSON header, and blobs at multiples of 64 bytes. What fits no longer
//! (another version of the packings, another form of device) is packed anew from the weights.

mod packed;
mod read;
mod write;

pub use packed::Packed;
pub use read::{Compiled, is_compiled, open};
pub use write::Written;
pub(crate) use write::write;

use crate::base::{ElementFormat, Layout};
use crate::onnx::HERE;
use crate::plan::Constant;
use serde::{Deserialize, Serialize};

/// The first bytes of a file.
const MAGIC: &[u8; 8] = b"sardonyx";

/// The version of the container.
const FORMAT: u32 = 1;

/// The version of what the packings make: to be raised with every change of one ([`packed`] has the test that
/// says so).
const PACKINGS: u32 = 3;

/// Bytes before the blobs: magic, format, packings, the header's start and length.
const FRONT: usize = 32;

/// Blobs begin at multiples of this: more than any element needs.
const ALIGNMENT: u64 = 64;

/// Weights of fewer bytes stay in the model's own messages, and aren't kept packed.
const SMALL: usize = 1024;

/// A part of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Blob {
    start: u64,
    bytes: u64,
}

/// The JSON header.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// The version of sardonyx that wrote the file: another one packs anew.
    sardonyx: String,
    /// The ModelProto; its large initializers are external data of the file itself.
    model: Blob,
    packed: Vec<Entry>,
}

/// A constant as a kernel reads it.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    blob: Blob,
}

/// What a packed constant depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    /// The value whose constant it is.
    name: String,
    shape: Vec<usize>,
    packing: String,
    args: Vec<usize>,
    packed_shape: Vec<usize>,
    layout: Layout,
    storage: ElementFormat,
}

impl Key {
    fn new(constant: &Constant) -> Self {
        Self {
            name: constant.label.clone(),
            shape: constant.tensor.shape().to_vec(),
            packing: constant.packing.name.to_string(),
            args: constant.packing.args.clone(),
            packed_shape: constant.packing.shape.clone(),
            layout: constant.layout,
            storage: constant.storage,
        }
    }
    /// Bytes that `encode` makes of the packed tensor: padded as a
    /// [`PlannedBuffer`](crate::plan::PlannedBuffer) is.
    fn bytes(&self) -> u64 {
        let bytes = self.layout.elements(&self.packed_shape).saturating_mul(self.storage.element_bytes());
        crate::plan::padded(bytes) as u64
    }
}
