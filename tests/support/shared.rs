//! What lies outside the repository, for the tests that go through it: real models and cases with recorded
//! inputs.

use sardonyx::{Tensor, onnx};
use std::path::{Path, PathBuf};

/// A folder of what SARDONYX_SHARED names (../shared by default). Where there is none it says that this was
/// left out.
pub fn folder(name: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    let path = std::env::var_os("SARDONYX_SHARED").map_or_else(default, PathBuf::from).join(name);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no folder {} (set SARDONYX_SHARED)", path.display());
    None
}

/// The tensor KIND_K.pb of a case's first data set, if it is there.
pub fn recorded(case: &Path, kind: &str, k: usize) -> Option<Tensor> {
    let path = case.join(format!("test_data_set_0/{kind}_{k}.pb"));
    path.exists().then(|| onnx::read_pb(&path).unwrap().1)
}
