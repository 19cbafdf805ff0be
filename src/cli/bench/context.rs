//! What else a reader of the numbers must know: the machine, the build, the options.

use super::Bench;
use crate::cli::devices::Cpu;
use crate::cli::options::{Kernels, Switch};
use sardonyx::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Context {
    pub sardonyx: String,
    /// Whether this is an optimised build.
    pub optimised: bool,
    /// The machine's name.
    pub host: Option<String>,
    pub os: String,
    pub os_version: Option<String>,
    pub arch: String,
    pub cpu: Cpu,
    /// Main memory.
    pub memory_bytes: Option<u64>,
    pub options: Options,
    /// What `--note` says.
    pub note: Option<String>,
    pub unix_time: u64,
    pub seed: u64,
    pub warmup: u32,
    pub limits: Option<String>,
}

/// The options that numbers depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    pub runs: u32,
    pub warmup: u32,
    pub duration_s: Option<f64>,
    pub seed: u64,
    pub limits: Option<String>,
    pub kernels: String,
    pub checks: Option<bool>,
    pub strict: bool,
    pub tune: bool,
}

impl Context {
    pub fn of(bench: &Bench) -> Self {
        let device = &bench.device;
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        Self {
            sardonyx: env!("CARGO_PKG_VERSION").to_string(),
            optimised: !cfg!(debug_assertions),
            host: sysinfo::System::host_name(),
            os: std::env::consts::OS.to_string(),
            os_version: sysinfo::System::long_os_version(),
            arch: std::env::consts::ARCH.to_string(),
            cpu: Cpu::new(),
            memory_bytes: Some(system.total_memory()).filter(|&bytes| bytes > 0),
            options: Options {
                runs: bench.runs,
                warmup: bench.warmup,
                duration_s: bench.duration.map(|duration| duration.as_secs_f64()),
                seed: bench.inputs.seed,
                limits: device.limits.clone(),
                kernels: if device.kernels == Kernels::Hardware { "hardware" } else { "auto" }.to_string(),
                checks: device.checks.map(|checks| checks == Switch::On),
                strict: bench.strict,
                tune: bench.tune.tune,
            },
            note: bench.note.clone(),
            unix_time: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
            seed: bench.inputs.seed,
            warmup: bench.warmup,
            limits: device.limits.clone(),
        }
    }
}

/// The SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let unreadable =
        |problem| Error::file(path, format!("can't be read: {problem}")).remedy("check the path");
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    }))
}
