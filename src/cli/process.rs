//! This program as a process of its own, for what must not take its parent along: run to its end, or spoken with
//! line by line.

use sardonyx::error::{Error, ErrorKind, Result};
use serde::Serialize;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of a process's talk that are kept: the last ones say why it died.
const KEPT_LINES: usize = 8;

/// This program, to be started.
pub fn command() -> Result<Command> {
    let program = std::env::current_exe()
        .map_err(|problem| Error::internal(format!("the program's own path is unknown: {problem}")))?;
    Ok(Command::new(program))
}

fn not_started(problem: std::io::Error) -> Error {
    Error::internal(format!("a process could not be started: {problem}"))
}

/// A running process that takes lines of JSON and answers each with a line.
pub struct Conversation {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    talk: Arc<Mutex<VecDeque<String>>>,
}

impl Conversation {
    /// Starts the process. Errors: the system doesn't.
    pub fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        let (send, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                BufReader::new(stdout)
                    .lines()
                    .map_while(std::result::Result::ok)
                    .try_for_each(|line| send.send(line))
            });
        }
        let talk = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = child.stderr.take() {
            let talk = talk.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
                    let mut talk = talk.lock().unwrap_or_else(PoisonError::into_inner);
                    talk.push_back(line);
                    if talk.len() > KEPT_LINES {
                        talk.pop_front();
                    }
                }
            });
        }
        Ok(Self { stdin: child.stdin.take(), child, lines, talk })
    }

    /// Says a line; whether it was taken.
    pub fn say(&mut self, message: &impl Serialize) -> bool {
        let (Ok(json), Some(stdin)) = (serde_json::to_string(message), self.stdin.as_mut()) else {
            return false;
        };
        writeln!(stdin, "{json}").and_then(|()| stdin.flush()).is_ok()
    }

    /// The next line. Errors: there is none for so long, or the process is gone.
    pub fn hear(&self, patience: Duration) -> std::result::Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(patience)
    }

    /// How it ended, and the last lines of its talk.
    pub fn ended(&mut self) -> (String, Vec<String>) {
        self.stdin = None;
        let status =
            self.child.wait().map_or_else(|problem| problem.to_string(), |status| status.to_string());
        // Its talk has been read when its thread has had a moment.
        std::thread::sleep(Duration::from_millis(20));
        let talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        (status, talk.iter().filter(|line| !line.trim().is_empty()).cloned().collect())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.stdin = None;
        // A process that hangs doesn't end by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
    let started = Instant::now();
    let mut child = command()?
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
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
