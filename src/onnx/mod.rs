//! Reading ONNX: a file's bytes to a verified graph, and tensor files (`.npy`, `.npz`, `.pb`).
//!
//! bytes → `wire` (well-formed?) → protobuf's messages → `functions` (inlined) → `order` (sorted) → `build`
//! (each node through its operator). Nothing here panics on a file, and sizes are checked before anything is
//! allocated for them.

mod attributes;
mod bodies;
mod build;
mod builder;
#[doc(hidden)]
pub mod contrib;
mod cut;
mod external;
mod files;
mod functions;
mod npy;
mod order;
#[doc(hidden)]
pub mod quantize;
mod sparse;
mod tensor;
mod types;
mod values;
mod wire;

#[doc(hidden)]
pub use cut::{Cut, cut};
pub(crate) use external::{ExternalFiles, HERE, map_file};
pub use files::{file_name, read_npz, read_pb, read_tensor, write_npy, write_npz, write_pb};
pub use values::{read_value, write_value};

use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::ops::{self, OpDef};
use crate::tensor::Tensor;
use onnx_protobuf::{Message, ModelProto, TensorProto};
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

/// How an operator is found: [`ops::find`], or a test's own.
type Find = fn(&str, &str) -> Option<&'static OpDef>;

/// A model as read: nothing rewritten yet but older forms of operators.
#[derive(Debug, Clone)]
pub struct Model {
    /// The nodes and values.
    pub graph: Graph,
    /// What the file says of itself.
    pub info: ModelInfo,
}

/// What a model says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelInfo {
    /// [The version of the format](https://onnx.ai/onnx/repo-docs/Versioning.html).
    pub ir_version: i64,
    /// The exporter's name and version, as far as given.
    pub producer: String,
    /// Imported operator sets: domain (empty for ai.onnx) and version.
    pub opsets: Vec<(String, i64)>,
    /// The exporter's free entries.
    pub metadata: Vec<(String, String)>,
}

/// The newest version of ONNX's operators, and of its file format, whose test cases are passed.
const NEWEST_OPSET: i64 = 28;
const NEWEST_IR: i64 = 14;

impl ModelInfo {
    /// What of the file is newer than what is known here. It is read as the newest that is known.
    pub fn newer(&self) -> Vec<String> {
        let opset = self.opsets.iter().find(|(domain, version)| domain.is_empty() && *version > NEWEST_OPSET);
        let opset = opset.map(|(_, version)| {
            format!("the model is of opset {version}, read as opset {NEWEST_OPSET}, the newest known here")
        });
        let ir = (self.ir_version > NEWEST_IR).then(|| {
            format!(
                "the model is of IR version {}, read as version {NEWEST_IR}, the newest known here",
                self.ir_version
            )
        });
        opset.into_iter().chain(ir).collect()
    }
}

/// Reads a model. External data are looked for in the model's folder and stay mapped as long as the graph
/// lives: those files must not be changed meanwhile.
///
/// Errors name the file and, where it lies in one, the node, the operator and the tensor.
pub fn read(path: &Path) -> Result<Model> {
    let bytes = external::map_file(path)?;
    read_bytes(&bytes, Some(folder_of(path)), &path.display().to_string())
}

/// Everything in a model file that can't be run, an error for each node: an operator that isn't known, or a
/// form or an attribute of one.
///
/// Errors: what keeps the file from being read beside.
pub fn missing(path: &Path) -> Result<Vec<Error>> {
    let found = read_proto(path).and_then(|proto| {
        let graph = proto.graph.into_option().ok_or_else(|| not_onnx("holds no graph"))?;
        let opsets = functions::opsets(&proto.opset_import);
        let mut files = external::ExternalFiles::new(Some(folder_of(path)));
        let missing = RefCell::default();
        build::build(graph, &proto.functions, opsets, &mut files, ops::find, Some(&missing))?;
        Ok(missing.into_inner())
    });
    found.map_err(|error| error.in_file(path))
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a model that lies in a mapped file, as do its external data named [`HERE`].
pub(crate) fn read_inside(bytes: &[u8], map: Arc<memmap2::Mmap>) -> Result<Model> {
    read_from(bytes, external::ExternalFiles::inside(map), ops::find)
}

/// A model file's message.
pub(crate) fn read_proto(path: &Path) -> Result<ModelProto> {
    decode(&map_file(path)?, wire::Kind::Model).map_err(|error| error.in_file(path))
}

/// A tensor's message as a tensor, and the other way round.
pub(crate) fn tensor_of(proto: &TensorProto, files: &mut ExternalFiles) -> Result<Tensor> {
    tensor::read(proto, files)
}
pub(crate) fn proto_of(name: &str, tensor: &Tensor) -> Result<TensorProto> {
    tensor::write(name, tensor)
}

/// Reads a model from memory. `folder` is where its external data lie, if it has any; `name` stands for the
/// file in errors.
pub fn read_bytes(bytes: &[u8], folder: Option<&Path>, name: &str) -> Result<Model> {
    read_with(bytes, folder, ops::find).map_err(|error| error.in_file(name))
}

fn read_with(bytes: &[u8], folder: Option<&Path>, find: Find) -> Result<Model> {
    read_from(bytes, external::ExternalFiles::new(folder), find)
}

fn read_from(bytes: &[u8], mut files: ExternalFiles, find: Find) -> Result<Model> {
    let proto = decode::<ModelProto>(bytes, wire::Kind::Model)?;
    let graph = proto.graph.into_option().ok_or_else(|| not_onnx("holds no graph"))?;
    let opsets = functions::opsets(&proto.opset_import);
    let entry = |entry: onnx_protobuf::StringStringEntryProto| (entry.key, entry.value);
    let info = ModelInfo {
        ir_version: proto.ir_version,
        producer: format!("{} {}", proto.producer_name, proto.producer_version).trim().to_string(),
        opsets: opsets.iter().map(|(domain, &version)| (domain.clone(), version)).collect(),
        metadata: proto.metadata_props.into_iter().map(entry).collect(),
    };
    Ok(Model { graph: build::build(graph, &proto.functions, opsets, &mut files, find, None)?, info })
}

/// Decodes a protobuf message after the walk that makes decoding safe.
fn decode<M: Message>(bytes: &[u8], kind: wire::Kind) -> Result<M> {
    if bytes.is_empty() {
        return Err(not_onnx("is empty"));
    }
    wire::check(bytes, kind)?;
    M::parse_from_bytes(bytes).map_err(|problem| not_onnx(&format!("can't be decoded: {problem}")))
}

fn not_onnx(what: &str) -> Error {
    Error::new(ErrorKind::File, what).remedy("the file is damaged or not ONNX: export or download it again")
}

#[cfg(test)]
mod tests;
