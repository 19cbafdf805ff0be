//! This program as a process of its own, for what must not take its parent along.

use sardonyx::error::{Error, ErrorKind, Result};
use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How a process ended, and what it wrote.
pub struct Finished {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// How often the end of a process is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Runs this program with these arguments to its end.
///
/// Errors: it can't be started, or takes longer than `limit`; then it is ended.
pub fn run(arguments: &[OsString], limit: Duration) -> Result<Finished> {
    let program = std::env::current_exe()
        .map_err(|problem| Error::internal(format!("the program's own path is unknown: {problem}")))?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|problem| Error::internal(format!("a process could not be started: {problem}")))?;
    // Pipes are emptied while it runs: a full one would stop it.
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < limit => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::new(ErrorKind::Timeout, format!("no end after {} s", limit.as_secs())));
            }
            Err(problem) => return Err(Error::internal(format!("a process was lost: {problem}"))),
        }
    };
    let text = |pipe: Option<std::sync::mpsc::Receiver<Vec<u8>>>| {
        let bytes = pipe.and_then(|pipe| pipe.recv_timeout(Duration::from_secs(5)).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr) })
}

/// Reads a pipe to its end, on a thread of its own.
fn collect(mut pipe: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = vec![];
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(bytes);
    });
    receive
}

impl Finished {
    /// The line that says why it could not do its work.
    pub fn reason(&self) -> String {
        let lines = || self.stderr.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        let error = lines().find_map(|line| line.strip_prefix("error: "));
        match (error.or_else(|| lines().next()), self.code) {
            (Some(line), Some(_)) => line.to_string(),
            (Some(line), None) => format!("the process was ended by a signal: {line}"),
            (None, code) => format!("the process ended ({code:?}) without a word"),
        }
    }
}
