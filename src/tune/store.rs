//! What was measured on one adapter, kept on disk.
//!
//! A JSON file for each adapter, backend, driver, version of sardonyx and form of the kernels. It is safe to
//! delete, and what it says is only ever a choice among a kernel's own candidates: a file that is damaged,
//! too large or of something else is ignored.

use crate::base::TileConfiguration;
use crate::error::{Error, Result};
use crate::gpu::GpuDevice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes that a file may have.
const MAX_BYTES: u64 = 4 << 20;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    schema: u32,
    /// What the measurements depend on.
    of: String,
    /// Variants by key.
    choices: BTreeMap<String, String>,
}

/// Measured variants by key, and the file that keeps them.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    of: String,
    choices: BTreeMap<String, TileConfiguration>,
}

impl Store {
    /// What is known of a device, from a folder. The second part says why a file that is there was ignored.
    pub fn open(device: &GpuDevice, folder: &Path) -> (Self, Option<String>) {
        let info = device.info();
        let dialect = device.capabilities().dialect();
        let of = format!(
            "sardonyx {}, {} ({}), {}, {dialect:?}",
            env!("CARGO_PKG_VERSION"),
            info.name,
            info.backend,
            info.driver
        );
        Self::of(of, folder)
    }

    fn of(of: String, folder: &Path) -> (Self, Option<String>) {
        // FNV-1a (Fowler, Noll, Vo): the same from build to build.
        let hash = of
            .bytes()
            .fold(0xcbf29ce484222325u64, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x100000001b3));
        let path = folder.join(format!("tune-{hash:016x}.json"));
        let (choices, problem) = match read(&path, &of) {
            Ok(choices) => (choices, None),
            Err(problem) => (BTreeMap::new(), Some(format!("{} is ignored: {problem}", path.display()))),
        };
        (Self { path, of, choices }, problem)
    }

    /// What was measured: the faster variant by the key of kernel and sizes.
    pub fn choices(&self) -> &BTreeMap<String, TileConfiguration> {
        &self.choices
    }
    /// Keeps a variant as the faster one of a key.
    pub fn insert(&mut self, key: impl Into<String>, variant: TileConfiguration) {
        self.choices.insert(key.into(), variant);
    }
    /// The file that [`Store::save`] writes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what is known, with what another process has added meanwhile.
    pub fn save(&self) -> Result<()> {
        let mut all = read(&self.path, &self.of).unwrap_or_default();
        all.extend(self.choices.clone());
        let choices = all.into_iter().map(|(key, variant)| (key, variant.to_string())).collect();
        let document = Document { schema: 1, of: self.of.clone(), choices };
        let json = serde_json::to_string_pretty(&document)
            .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))?;
        let failed = |problem: std::io::Error| {
            Error::file(&self.path, format!("can't be written: {problem}"))
                .remedy("set XDG_CACHE_HOME to a writable folder")
                .caused_by(problem)
        };
        std::fs::create_dir_all(self.path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let beside = self.path.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&beside, json).and_then(|()| std::fs::rename(&beside, &self.path)).map_err(|problem| {
            // The first failure is the one to report.
            let _ = std::fs::remove_file(&beside);
            failed(problem)
        })
    }
}

/// A file's choices: none where there is no file, a reason where it is of no use.
fn read(path: &Path, of: &str) -> Result<BTreeMap<String, TileConfiguration>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(problem) => return Err(problem.to_string()),
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|problem| problem.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    let document: Document = serde_json::from_str(&text).map_err(|problem| problem.to_string())?;
    if document.schema != 1 || document.of != of {
        return Err(format!("it is of '{}'", document.of.chars().take(200).collect::<String>()));
    }
    let variant = |(key, text): (String, String)| {
        text.parse().map(|variant| (key, variant)).map_err(|error: Error| error.message().to_string())
    };
    document.choices.into_iter().map(variant).collect()
}

/// The user's cache folder of sardonyx: below XDG_CACHE_HOME, or where the system keeps caches; `None` where
/// nothing says where that is.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || folder(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
    let system = || {
        if cfg!(windows) {
            folder("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            Some(home()?.join("Library/Caches"))
        } else {
            Some(home()?.join(".cache"))
        }
    };
    Some(folder("XDG_CACHE_HOME").or_else(system)?.join("sardonyx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_is_ignored() {
        let folder = std::env::temp_dir().join(format!("sardonyx-tune-{}", std::process::id()));
        let open = || Store::of("a device".into(), &folder);
        let (mut store, problem) = open();
        assert!(store.choices().is_empty() && problem.is_none());
        store.insert("matmul", TileConfiguration::alone(12, true));
        store.save().unwrap();
        let mut other = open().0;
        assert_eq!(other.choices(), store.choices());
        // Two processes add to one file.
        other.insert("conv", TileConfiguration::alone(7, false));
        other.save().unwrap();
        store.save().unwrap();
        assert_eq!(open().0.choices().len(), 2);
        let whole = std::fs::read_to_string(store.path()).unwrap();
        for text in [
            "",
            "{",
            "[]",
            &whole[..whole.len() / 2],
            &whole.replace("12-down", "0-down"),
            &whole.replace("a device", "another"),
        ] {
            std::fs::write(store.path(), text).unwrap();
            let (found, problem) = open();
            assert!(found.choices().is_empty() && problem.is_some(), "{text}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
