//! [External data](https://onnx.ai/onnx/repo-docs/ExternalData.html): tensors in files beside the model,
//! mapped into memory.

use crate::error::{Error, ErrorKind, Result};
use memmap2::Mmap;
use onnx_protobuf::TensorProto;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The location of external data that means the compiled file itself.
pub const HERE: &str = "*";

/// Maps a file for reading. The error names the file.
pub fn map_file(path: &Path) -> Result<Mmap> {
    let failed = |problem: std::io::Error| {
        let remedy = if problem.kind() == std::io::ErrorKind::NotFound {
            "check the path"
        } else {
            "check that the file is readable"
        };
        Error::file(path, format!("can't be read: {problem}")).remedy(remedy).caused_by(problem)
    };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::file(path, "is not a file").remedy("name the file itself"));
    }
    // SAFETY: the map is only read, as bytes, so any content is valid. That nobody shortens or rewrites the
    // file while a model is loaded can't be checked; the documentation of `read` asks for it, as every
    // runtime that maps weights does.
    #[allow(unsafe_code)]
    unsafe { Mmap::map(&file) }.map_err(failed)
}

/// The files that a model's tensors lie in, each mapped once.
pub struct ExternalFiles {
    /// The model's folder; `None` for a model that came as bytes alone.
    folder: Option<PathBuf>,
    maps: HashMap<PathBuf, Arc<Mmap>>,
    /// The compiled file that the model lies in.
    here: Option<Arc<Mmap>>,
}

/// Where a tensor's bytes lie.
pub struct Span {
    pub map: Arc<Mmap>,
    pub start: usize,
    /// The bytes that the model promises, where it says.
    pub length: Option<usize>,
}

impl ExternalFiles {
    pub fn new(folder: Option<&Path>) -> Self {
        Self { folder: folder.map(Path::to_path_buf), maps: HashMap::new(), here: None }
    }
    /// Of a model that holds its data in its own file.
    pub fn inside(map: Arc<Mmap>) -> Self {
        Self { folder: None, maps: HashMap::new(), here: Some(map) }
    }

    /// The span that a tensor with external data names. Its file must lie in the model's folder.
    pub fn span(&mut self, tensor: &TensorProto) -> Result<Span> {
        let entry = |key: &str| {
            tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
        };
        let number = |key: &str| {
            let parse = |text: &str| {
                text.parse::<usize>().map_err(|_| {
                    Error::model(format!("external data has {key} '{text}', which is not a size"))
                })
            };
            entry(key).map(parse).transpose()
        };
        let location = entry("location")
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Error::model("external data without a location"))?;
        let (start, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let map = self.map(location)?;
        Ok(Span { map, start, length })
    }

    fn map(&mut self, location: &str) -> Result<Arc<Mmap>> {
        if let Some(here) = self.here.as_ref().filter(|_| location == HERE) {
            return Ok(here.clone());
        }
        let folder = self.folder.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::File,
                format!("the data lie in the file '{location}', but the model has no folder"),
            )
            .remedy("load the model by its path")
        })?;
        let escapes = || {
            Error::new(
                ErrorKind::File,
                format!("the external data file '{location}' lies outside the model's folder"),
            )
            .remedy("put it beside the model and name it relative to the model")
        };
        let relative = Path::new(location);
        if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(escapes());
        }
        let joined = folder.join(relative);
        let missing = |problem: std::io::Error| {
            Error::new(
                ErrorKind::File,
                format!("the external data file '{}' can't be read: {problem}", joined.display()),
            )
            .remedy("put it beside the model")
        };
        // Links are followed first, so that none leads out.
        let real = joined.canonicalize().map_err(missing)?;
        if !real.starts_with(folder.canonicalize().map_err(missing)?) {
            return Err(escapes());
        }
        if let Some(map) = self.maps.get(&real) {
            return Ok(map.clone());
        }
        let map = Arc::new(map_file(&real)?);
        self.maps.insert(real, map.clone());
        Ok(map)
    }
}
