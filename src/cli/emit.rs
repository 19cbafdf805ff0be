//! Standard output and JSON files.

use clap::Args;
use sardonyx::error::{Error, Result, Setting};
use sardonyx::replace::write_whole;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The version of every JSON document; it grows by addition.
pub const SCHEMA: u32 = 1;

#[derive(Args, Debug, Clone, Default)]
pub struct JsonOption {
    /// Write the result as JSON to a file; with - to standard output, in place of the text
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

impl JsonOption {
    /// Whether a JSON document is asked for at all.
    pub fn is_wanted(&self) -> bool {
        self.json.is_some()
    }

    /// Whether standard output is to be the JSON document and nothing else.
    pub fn to_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }

    /// Writes the document where it is wanted, and the text where standard output isn't the document.
    pub fn emit(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if let Some(path) = &self.json {
            let json = serde_json::to_string(document)
                .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))?;
            if self.to_stdout() {
                return stdout(&format!("{json}\n"));
            }
            write_whole(path, format!("{json}\n").as_bytes())?;
        }
        stdout(&text())
    }
}

/// Writes text to standard output. A reader that has gone away ends the process quietly, as it does other
/// tools'.
pub fn stdout(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(problem) if problem.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(problem) => {
            Err(Error::new(sardonyx::ErrorKind::File, format!("standard output can't be written: {problem}")))
        }
    }
}

/// Writes a line of talk to standard error; where nobody listens it is lost.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An error's line with the remedy's settings as this command's options.
pub fn told(error: &Error) -> String {
    error.text_with(spelling)
}

/// A setting as an option of this command.
pub fn spelling(setting: Setting) -> String {
    match setting {
        Setting::Cpu => "--device cpu",
        Setting::Device => "--device",
        Setting::Limits => "--limits",
        Setting::Float32 => "--precision f32",
        Setting::Float16 => "--precision f16",
        Setting::Capacity => "--set K=..V",
        Setting::Context => "--context",
        Setting::Window => "--window",
        Setting::Strict => "--strict",
        Setting::Tuning => "--tune",
        Setting::Inputs => "with -i NAME=FILE or --inputs DIR",
        Setting::Preset => "--preset",
        Setting::Output => "-o",
        Setting::Pooling => "--pooling",
        // What this command doesn't know yet goes by the library's word.
        other => return other.to_string(),
    }
    .to_string()
}

/// Text without line breaks.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
