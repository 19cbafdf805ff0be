//! `compare --bundle`: a difference as a folder that shows it again without this command.

mod dispatches;
mod model;
mod readme;

use super::emit::say;
use clap::Args;
use sardonyx::compare::{Evidence, Wanted};
use sardonyx::error::{Error, Result};
use sardonyx::replace::beside;
use sardonyx::{Session, Tensor, onnx};
use std::path::{Path, PathBuf};

/// `--bundle` and what goes with it.
#[derive(Args, Debug, Clone, Default)]
pub struct BundleOptions {
    /// On a difference, write what it takes to see it again to a folder of its own: the step as an ONNX model
    /// with test data, its dispatches with all that they read, and replay.py, which runs them without this
    /// command. Measures every node, as --per-node does
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Write the bundle of this node, or of the step that makes this value, whether it differs or not
    #[arg(long, value_name = "NAME", requires = "bundle")]
    bundle_node: Option<String>,
}

impl BundleOptions {
    /// Errs before anything runs where the folder can't be written whole.
    pub fn check(&self) -> Result<()> {
        let Some(folder) = &self.bundle else { return Ok(()) };
        let is_empty = || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if folder.exists() && !is_empty() {
            return Err(Error::file(folder, "is there already")
                .remedy("--bundle takes a folder that isn't there yet, or an empty one"));
        }
        Ok(())
    }

    /// Whether a bundle may be written.
    pub fn is_wanted(&self) -> bool {
        self.bundle.is_some()
    }

    /// Whether the bundle is one of a node that was named.
    pub fn of_node(&self) -> bool {
        self.bundle_node.is_some()
    }

    /// Of what evidence is wanted.
    pub fn wanted(&self) -> Wanted {
        match (&self.bundle, &self.bundle_node) {
            (None, _) => Wanted::Nothing,
            (Some(_), None) => Wanted::FirstDifferent,
            (Some(_), Some(node)) => Wanted::Node(node.clone()),
        }
    }

    /// Writes the bundle where one is wanted and there is evidence; says which, on standard error.
    pub fn write(
        &self,
        session: &Session,
        file: &Path,
        evidence: Option<&Evidence>,
    ) -> Result<Option<PathBuf>> {
        let Some(folder) = &self.bundle else { return Ok(None) };
        let Some(evidence) = evidence else {
            return match &self.bundle_node {
                Some(node) => {
                    Err(Error::usage(format!("no step goes by the name '{node}' or makes such a value"))
                        .remedy("see the names that --per-node lists"))
                }
                None => {
                    say("bundle: nothing was written, as no step differs");
                    Ok(None)
                }
            };
        };
        let partly = Folder(beside(folder)?);
        let written = fill(&partly, session, file, evidence).and_then(|()| put_in_place(&partly.0, folder));
        if written.is_err() {
            // The first failure is the one to report.
            let _ = std::fs::remove_dir_all(&partly.0);
        }
        written?;
        say(format_args!("bundle: {} (node '{}')", folder.display(), evidence.step.node));
        Ok(Some(folder.clone()))
    }
}

fn fill(folder: &Folder, session: &Session, file: &Path, evidence: &Evidence) -> Result<()> {
    std::fs::create_dir_all(&folder.0).map_err(|problem| failed(&folder.0, problem))?;
    let model = model::write(folder, file, evidence)?;
    let document = dispatches::write(folder, session, evidence)?;
    folder.put("replay.py", include_str!("replay.py").as_bytes())?;
    folder.put("README.md", readme::text(file, evidence, &document, model.as_deref()).as_bytes())
}

/// Gives the folder its name; an empty one that is there makes way.
fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir(to).map_err(|problem| failed(to, problem))?;
    }
    std::fs::rename(from, to).map_err(|problem| failed(to, problem))
}

fn failed(path: &Path, problem: std::io::Error) -> Error {
    Error::file(path, format!("can't be written: {problem}"))
        .remedy("check the folder and the space left on the disk")
        .caused_by(problem)
}

/// A bundle while it is written.
struct Folder(PathBuf);

impl Folder {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name)?;
        std::fs::write(&path, bytes).map_err(|problem| failed(&path, problem))
    }
    fn npy(&self, name: &str, tensor: &Tensor) -> Result<()> {
        onnx::write_npy(&self.path(name)?, tensor)
    }
    fn pb(&self, name: &str, value: &str, tensor: &Tensor) -> Result<()> {
        onnx::write_pb(&self.path(name)?, value, tensor)
    }
    /// A file's path, whose folder is made.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|problem| failed(folder, problem))?;
        }
        Ok(path)
    }
}
