//! The files that make a model of text.

use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A model's file, and the folders in which the rest of it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// The ONNX file.
    pub model: PathBuf,
    /// Where its tokenizer and configuration are looked for, in this order.
    folders: Vec<PathBuf>,
}

/// An encoder and the decoder of its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    /// The encoder, and the folders in which the rest lies.
    pub files: ModelFiles,
    /// The decoder, for the first run at least.
    pub decoder: PathBuf,
    /// The decoder for the runs behind the first, where it is one of its own.
    pub next: Option<PathBuf>,
}

const ENCODER: &str = "encoder_model.onnx";

/// Larger files of configuration or templates than this aren't read; a tokenizer may be larger.
const MOST_BYTES: u64 = 64 << 20;

impl ModelFiles {
    /// The files of a model that is named by its file or its folder. In a folder it is what
    /// `genai_config.json` names, else `model.onnx`, also in a folder `onnx` in it, else the only ONNX file.
    ///
    /// Errors: nothing there, or several ONNX files of which none is named so.
    pub fn find(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let there = std::fs::metadata(path).map_err(|problem| {
            Error::file(path, format!("can't be read: {problem}")).remedy("check the path").caused_by(problem)
        })?;
        if !there.is_dir() {
            let folder = path.parent().unwrap_or(Path::new(""));
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let mut folders = vec![folder.to_path_buf()];
            // As transformers.js has its models: onnx/model_q4.onnx, and the rest a folder above.
            if folder.file_name().is_some_and(|name| name == "onnx") {
                folders.extend(folder.parent().map(Path::to_path_buf));
            }
            return Ok(Self { model: path.to_path_buf(), folders });
        }
        let inner = path.join("onnx");
        let mut folders = vec![path.to_path_buf()];
        let named = json(&path.join("genai_config.json"))?;
        let named = named.as_ref().and_then(|genai| genai.pointer("/model/decoder/filename")?.as_str());
        let candidates = named.map(|name| path.join(name)).into_iter();
        let candidates = candidates.chain([path.join("model.onnx"), inner.join("model.onnx")]);
        for model in candidates {
            if model.is_file() {
                if model.starts_with(&inner) {
                    folders.insert(0, inner);
                }
                return Ok(Self { model, folders });
            }
        }
        let mut found = onnx_files(path)?;
        match found.len() {
            1 => Ok(Self { model: found.swap_remove(0), folders }),
            0 => {
                Err(Error::file(path, "holds no ONNX file").remedy("name the folder of a model, or its file"))
            }
            _ => {
                let names = found.iter().filter_map(|path| path.file_name()?.to_str()).collect::<Vec<_>>();
                Err(Error::file(path, format!("holds several ONNX files: {}", names.join(", ")))
                    .remedy("name one of them"))
            }
        }
    }

    /// The files of an encoder and the decoder of its states, in a folder or in a folder `onnx` in it, as
    /// optimum names them; `None` where there is no `encoder_model.onnx`. Any of the files may be named in
    /// place of the folder.
    ///
    /// Errors: an encoder without a decoder.
    pub fn find_pair(path: impl AsRef<Path>) -> Result<Option<PairFiles>> {
        let path = path.as_ref();
        let named = path.file_name().and_then(|name| name.to_str());
        let one = named.is_some_and(|name| name.starts_with("encoder_model") || name.starts_with("decoder_"));
        let whole = match path.parent() {
            Some(parent) if one && path.is_file() => parent,
            _ => path,
        };
        let whole = if whole.as_os_str().is_empty() { Path::new(".") } else { whole };
        let folder = [whole.to_path_buf(), whole.join("onnx")];
        let Some(folder) = folder.into_iter().find(|folder| folder.join(ENCODER).is_file()) else {
            return Ok(None);
        };
        let files = Self::find(folder.join(ENCODER))?;
        let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let [merged, first, next] =
            ["decoder_model_merged.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"].map(there);
        match (merged, first) {
            (Some(decoder), _) => Ok(Some(PairFiles { files, decoder, next: None })),
            (None, Some(decoder)) => Ok(Some(PairFiles { files, decoder, next })),
            (None, None) => Err(Error::file(&folder, format!("holds {ENCODER}, but no decoder")).remedy(
                "put decoder_model_merged.onnx beside it, or decoder_model.onnx and decoder_with_past_model.onnx",
            )),
        }
    }

    /// A file beside the model, if it is there.
    pub fn beside(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// A JSON file beside the model, with its path.
    pub(crate) fn json(&self, name: &str) -> Result<Option<(PathBuf, Value)>> {
        let Some(path) = self.beside(name) else { return Ok(None) };
        Ok(json(&path)?.map(|value| (path, value)))
    }
}

fn onnx_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable =
        |problem: std::io::Error| Error::file(folder, format!("can't be read: {problem}")).caused_by(problem);
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A text file of UTF-8, of a size that can be one of configuration.
pub(crate) fn text(path: &Path) -> Result<String> {
    let unreadable =
        |problem: std::io::Error| Error::file(path, format!("can't be read: {problem}")).caused_by(problem);
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MOST_BYTES {
        return Err(Error::file(path, format!("has {size} bytes; at most {MOST_BYTES} are read")));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|problem| {
        let at = problem.utf8_error().valid_up_to();
        Error::file(path, format!("is not UTF-8: byte {at} can't be decoded"))
            .remedy("convert the file to UTF-8")
    })
}

fn json(path: &Path) -> Result<Option<Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    let value = serde_json::from_str(&text(path)?).map_err(|problem| {
        Error::file(path, format!("is not JSON: {problem}")).remedy("download it again").caused_by(problem)
    })?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sardonyx-files-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("onnx")).unwrap();
        path
    }

    #[test]
    fn a_folder_names_its_model() {
        let at = folder("names");
        assert!(ModelFiles::find(&at).unwrap_err().to_string().contains("holds no ONNX file"));
        std::fs::write(at.join("a.onnx"), "").unwrap();
        assert_eq!(ModelFiles::find(&at).unwrap().model, at.join("a.onnx"));
        std::fs::write(at.join("b.onnx"), "").unwrap();
        assert!(ModelFiles::find(&at).unwrap_err().to_string().contains("a.onnx, b.onnx; name one"));
        std::fs::write(at.join("onnx/model.onnx"), "").unwrap();
        std::fs::write(at.join("tokenizer.json"), "").unwrap();
        let inner = ModelFiles::find(&at).unwrap();
        assert_eq!(inner.model, at.join("onnx/model.onnx"));
        assert_eq!(inner.beside("tokenizer.json"), Some(at.join("tokenizer.json")));
        let by_file = ModelFiles::find(at.join("onnx/model.onnx")).unwrap();
        assert_eq!(by_file.beside("tokenizer.json"), Some(at.join("tokenizer.json")));
        std::fs::write(at.join("genai_config.json"), r#"{"model":{"decoder":{"filename":"b.onnx"}}}"#)
            .unwrap();
        assert_eq!(ModelFiles::find(&at).unwrap().model, at.join("b.onnx"));
        std::fs::write(at.join("genai_config.json"), "{").unwrap();
        assert!(ModelFiles::find(&at).unwrap_err().to_string().contains("is not JSON"));
        std::fs::remove_dir_all(&at).unwrap();
    }

    #[test]
    fn text_is_utf_8() {
        let at = folder("text");
        std::fs::write(at.join("t"), b"abc\xff").unwrap();
        assert!(text(&at.join("t")).unwrap_err().to_string().contains("byte 3"));
        std::fs::remove_dir_all(&at).unwrap();
    }
}
