//! Writing a compiled file.

use super::packed::{is_kept, sources};
use super::{ALIGNMENT, Blob, Entry, FORMAT, FRONT, HERE, Header, Key, MAGIC, PACKINGS, SMALL};
use crate::error::{Error, Result, Setting};
use crate::graph::Graph;
use crate::onnx::{self, ExternalFiles};
use crate::plan::{Plan, encode};
use onnx_protobuf::{Message, ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Weights that are mapped when the file is loaded.
    pub weights: usize,
    /// Weights as kernels read them.
    pub packed: usize,
    /// Bytes of those.
    pub packed_bytes: u64,
}

/// Writes the model file `model` with the constants of a plan packed; without a plan only laid out to be
/// mapped. `graph` is the one that plans of the model are made of: what it holds by a constant's name is what
/// a session that loads the file will find.
///
/// The file is written beside its place and renamed. Errors: a model that is compiled already, what reading
/// and packing give, a disk that is full.
pub(crate) fn write(graph: &Graph, model: &Path, plan: Option<&Plan>, to: &Path) -> Result<Written> {
    if super::is_compiled(model) {
        return Err(Error::usage("is compiled already")
            .in_file(model)
            .remedy("compile the ONNX file that it was made from"));
    }
    if crate::replace::is_special(to) {
        return Err(Error::usage("is a device or a pipe; a compiled model needs a file")
            .in_file(to)
            .remedy_by("give {} a file's name", &[Setting::Output]));
    }
    let beside = crate::replace::beside(to)?;
    let written = write_beside(graph, model, plan, &beside, to);
    let done = written.and_then(|written| {
        std::fs::rename(&beside, to).map(|()| written).map_err(|problem| failed(to, problem))
    });
    if done.is_err() {
        // The first failure is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    done
}

fn failed(to: &Path, problem: std::io::Error) -> Error {
    Error::file(to, format!("can't be written: {problem}"))
        .remedy("check the folder and the space left on the disk")
        .caused_by(problem)
}

fn write_beside(
    graph: &Graph,
    model: &Path,
    plan: Option<&Plan>,
    beside: &Path,
    to: &Path,
) -> Result<Written> {
    let file = File::create(beside).map_err(|problem| failed(to, problem))?;
    let mut out = Out { file: BufWriter::with_capacity(1 << 20, file), at: 0, path: to.to_path_buf() };
    out.put(&[0; FRONT])?;
    let mut proto = onnx::read_proto(model)?;
    let mut files = ExternalFiles::new(Some(onnx::folder_of(model)));
    let mut weights = 0;
    if let Some(read) = proto.graph.as_mut() {
        for tensor in &mut read.initializer {
            weights += lay_out(tensor, &mut files, &mut out).map_err(|error| error.in_file(model))? as usize;
        }
    }
    let (packed, packed_bytes) = pack(graph, plan, &mut out)?;
    let header = Header {
        sardonyx: env!("CARGO_PKG_VERSION").to_string(),
        model: out.blob(&bytes_of(&proto)?)?,
        packed,
    };
    let json = serde_json::to_vec(&header)
        .map_err(|problem| Error::internal(format!("the header could not be made: {problem}")))?;
    let place = out.blob(&json)?;
    let file_bytes = out.at;
    out.front(place)?;
    Ok(Written { file_bytes, weights, packed: header.packed.len(), packed_bytes })
}

fn bytes_of(proto: &ModelProto) -> Result<Vec<u8>> {
    proto
        .write_to_bytes()
        .map_err(|problem| Error::internal(format!("the model could not be encoded: {problem}")))
}

/// Moves a large initializer's elements into the file. Types that ONNX packs below a byte, bool (which is
/// checked when it is read) and strings stay where they are.
fn lay_out(proto: &mut TensorProto, files: &mut ExternalFiles, out: &mut Out) -> Result<bool> {
    let tensor = onnx::tensor_of(proto, files)?;
    let dtype = tensor.dtype();
    if tensor.bytes().len() < SMALL || dtype.packed_bits().is_some() || dtype == crate::DType::Bool {
        return inline(proto, &tensor).map(|()| false);
    }
    let blob = out.blob(tensor.bytes())?;
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: key.into(), value, ..Default::default() };
    *proto = TensorProto {
        name: std::mem::take(&mut proto.name),
        dims: std::mem::take(&mut proto.dims),
        data_type: proto.data_type,
        data_location: DataLocation::EXTERNAL.into(),
        external_data: vec![
            entry("location", HERE.into()),
            entry("offset", blob.start.to_string()),
            entry("length", blob.bytes.to_string()),
        ],
        ..Default::default()
    };
    Ok(true)
}

/// A tensor that lies in a file beside the model comes into it.
fn inline(proto: &mut TensorProto, tensor: &crate::Tensor) -> Result<()> {
    if proto.data_location == DataLocation::EXTERNAL.into() {
        *proto = onnx::proto_of(&proto.name, tensor)?;
    }
    Ok(())
}

/// Packs the plan's constants that files keep.
fn pack(graph: &Graph, plan: Option<&Plan>, out: &mut Out) -> Result<(Vec<Entry>, u64)> {
    let sources = sources(graph);
    let (mut entries, mut total) = (vec![], 0);
    for constant in
        plan.map_or(&[][..], |plan| &plan.constants).iter().filter(|constant| is_kept(constant, &sources))
    {
        let packed = (constant.packing.pack)(&constant.tensor, &constant.packing.args)
            .map_err(|error| error.at_tensor(&constant.label))?;
        let blob = out.blob(&encode(&packed, constant.layout, constant.storage)?)?;
        total += blob.bytes;
        entries.push(Entry { key: Key::new(constant), blob });
    }
    Ok((entries, total))
}

/// The file being written.
struct Out {
    file: BufWriter<File>,
    at: u64,
    path: PathBuf,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|problem| failed(&self.path, problem))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
    /// Appends a blob, aligned.
    fn blob(&mut self, bytes: &[u8]) -> Result<Blob> {
        let gap = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.put(&[0; ALIGNMENT as usize][..gap as usize])?;
        let start = self.at;
        self.put(bytes)?;
        Ok(Blob { start, bytes: bytes.len() as u64 })
    }
    /// Fills in the front, and makes sure that all is on the disk.
    fn front(mut self, header: Blob) -> Result<()> {
        let path = std::mem::take(&mut self.path);
        let mut front = MAGIC.to_vec();
        front.extend([FORMAT.to_le_bytes(), PACKINGS.to_le_bytes()].concat());
        front.extend([header.start.to_le_bytes(), header.bytes.to_le_bytes()].concat());
        let done = self
            .file
            .flush()
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(&front));
        done.and_then(|()| self.file.flush()).map_err(|problem| failed(&path, problem))
    }
}
