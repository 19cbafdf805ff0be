//! Opening a compiled file.

use super::{FORMAT, FRONT, Header, MAGIC, PACKINGS, Packed};
use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{self, Model};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A compiled file, opened.
pub struct Compiled {
    pub model: Model,
    pub packed: Packed,
}

/// Whether a file begins as compiled ones do. What can't be read doesn't.
pub fn is_compiled(path: &Path) -> bool {
    let mut first = [0; 8];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *MAGIC
}

/// Opens a compiled file; it stays mapped as long as the session lives and must not be changed meanwhile.
///
/// Errors name the file: a newer format, a header that isn't one, a model that lies outside the file or is
/// none.
pub fn open(path: &Path) -> Result<Compiled> {
    open_map(path).map_err(|error| error.in_file(path))
}

fn open_map(path: &Path) -> Result<Compiled> {
    let damaged = |what: String| {
        Error::new(ErrorKind::File, what).remedy("the compiled file is damaged: compile the model again")
    };
    let map = Arc::new(onnx::map_file(path)?);
    let front = map
        .get(..FRONT)
        .filter(|front| front.starts_with(MAGIC))
        .ok_or_else(|| damaged("is not a compiled model".into()))?;
    let u32_at = |at: usize| {
        front.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let u64_at = |at: usize| {
        front.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    if u32_at(8) != FORMAT {
        let message = format!("is a compiled model of format {}; this version reads {FORMAT}", u32_at(8));
        return Err(Error::new(ErrorKind::File, message).remedy("compile the model again"));
    }
    let part = |start: u64, bytes: u64| {
        let range = usize::try_from(start)
            .ok()
            .zip(usize::try_from(bytes).ok())
            .and_then(|(start, bytes)| Some(start..start.checked_add(bytes)?));
        range.and_then(|range| map.get(range)).ok_or_else(|| {
            damaged(format!("a part of {bytes} bytes at {start} lies outside the file of {}", map.len()))
        })
    };
    let header: Header = serde_json::from_slice(part(u64_at(16), u64_at(24))?)
        .map_err(|problem| damaged(format!("the header can't be read: {problem}")).caused_by(problem))?;
    let model = onnx::read_inside(part(header.model.start, header.model.bytes)?, map.clone())?;
    let outdated = u32_at(12) != PACKINGS || header.sardonyx != env!("CARGO_PKG_VERSION");
    let packed = Packed::new(map.clone(), header, outdated);
    Ok(Compiled { model, packed })
}
