//! The processes in which `verify` runs its cases: one that panics, crashes or hangs is replaced, and the
//! others go on.

use super::options::{DeviceFields, Kernels, RunOptions};
use super::verify_case::{Case, CaseResult, Status};
use super::verify_worker::{Answer, Ready};
use sardonyx::error::{Error, Result};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a process may take to open its device.
const OPENING: Duration = Duration::from_secs(120);

/// Lines of a process's talk that are kept: the last ones say why it died.
const KEPT_LINES: usize = 8;

/// How the processes are to be.
pub struct Pool<'a> {
    pub options: &'a RunOptions,
    pub timeout: Duration,
    pub jobs: usize,
}

impl Pool<'_> {
    /// Runs all cases. `done` sees each result as it comes. Returns the device, and the results in the order
    /// of the cases.
    ///
    /// Errors where no process can be started, or the device can't be opened.
    pub fn run(
        &self,
        cases: &[Case],
        done: &(dyn Fn(&CaseResult) + Sync),
    ) -> Result<(DeviceFields, Vec<CaseResult>)> {
        let first = Worker::start(self)?;
        let fields = first.fields.clone();
        let next = Mutex::new(cases.iter().enumerate().collect::<VecDeque<_>>());
        let results: Mutex<Vec<(usize, CaseResult)>> = Mutex::default();
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = |mut worker: Option<Worker>| {
            while let Some((index, case)) = take() {
                let result = self.run_one(&mut worker, case);
                done(&result);
                results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs {
                scope.spawn(|| work(None));
            }
            work(Some(first));
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(index, _)| *index);
        Ok((fields, results.into_iter().map(|(_, result)| result).collect()))
    }

    /// Runs a case in the worker, or in a new one where there is none; a worker that fails is given up.
    fn run_one(&self, worker: &mut Option<Worker>, case: &Case) -> CaseResult {
        let error = |reason: String| CaseResult::new(&case.path, Status::Error, Some(reason));
        // One that has lost its device ends by itself after the case.
        let alive = worker.take().filter(|worker| !worker.lost);
        let mut ready = match alive.map_or_else(|| Worker::start(self), Ok) {
            Ok(ready) => ready,
            Err(problem) => return error(problem.to_string()),
        };
        match ready.ask(case, self.timeout) {
            Ok(result) => {
                *worker = Some(ready);
                result
            }
            Err(Failure::Late) => error(format!("time-out after {} s", self.timeout.as_secs_f64())),
            Err(Failure::Gone) => error(ready.epitaph()),
        }
    }

    fn command(&self) -> Result<Command> {
        let program = std::env::current_exe()
            .map_err(|problem| Error::internal(format!("the program's own path is unknown: {problem}")))?;
        let mut command = Command::new(program);
        command.args([
            "verify-worker",
            "--device",
            &self.options.device.device,
            "--precision",
            self.options.precision.text(),
        ]);
        command.args(self.options.device.limits.iter().flat_map(|limits| ["--limits", limits]));
        command.args((self.options.device.kernels == Kernels::Hardware).then_some("--kernels=hardware"));
        command.args(self.options.device.packed_f16.then_some("--packed-f16"));
        command.args(self.options.strict.then_some("--strict"));
        if let Some(planter) = &self.options.plant_fault {
            command.args(["--plant-fault", &planter.seed().to_string()]);
        }
        // The processes share the cores.
        let threads = std::thread::available_parallelism().map_or(1, usize::from) / self.jobs.max(1);
        command.env("RAYON_NUM_THREADS", threads.max(1).to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// A running process.
struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    talk: Arc<Mutex<VecDeque<String>>>,
    fields: DeviceFields,
    /// Whether it has said that its device was lost.
    lost: bool,
}

/// Why there is no answer.
enum Failure {
    Late,
    Gone,
}

impl Worker {
    fn start(pool: &Pool) -> Result<Self> {
        let mut child = pool
            .command()?
            .spawn()
            .map_err(|problem| Error::internal(format!("a process could not be started: {problem}")))?;
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
        let fields = DeviceFields::of(None);
        let mut worker = Self { stdin: child.stdin.take(), child, lines, talk, fields, lost: false };
        let ready = worker.lines.recv_timeout(OPENING).ok().and_then(|line| serde_json::from_str(&line).ok());
        match ready {
            Some(Ready::GpuDevice(fields)) => {
                worker.fields = fields;
                Ok(worker)
            }
            Some(Ready::Failed(message)) => Err(Error::device(message)),
            None => Err(Error::device(format!(
                "the device could not be opened: the process {}",
                worker.epitaph()
            ))),
        }
    }

    fn ask(&mut self, case: &Case, timeout: Duration) -> std::result::Result<CaseResult, Failure> {
        let json = serde_json::to_string(case).map_err(|_| Failure::Gone)?;
        let stdin = self.stdin.as_mut().ok_or(Failure::Gone)?;
        writeln!(stdin, "{json}").and_then(|()| stdin.flush()).map_err(|_| Failure::Gone)?;
        match self.lines.recv_timeout(timeout) {
            Ok(line) => {
                let answer: Answer = serde_json::from_str(&line).map_err(|_| Failure::Gone)?;
                self.lost = answer.device_lost;
                Ok(answer.result)
            }
            Err(RecvTimeoutError::Timeout) => Err(Failure::Late),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::Gone),
        }
    }

    /// How it ended, and its last words.
    fn epitaph(&mut self) -> String {
        self.stdin = None;
        let status =
            self.child.wait().map_or_else(|problem| problem.to_string(), |status| status.to_string());
        // Its talk has been read when its thread has had a moment.
        std::thread::sleep(Duration::from_millis(20));
        let talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let last =
            talk.iter().filter(|line| !line.trim().is_empty()).cloned().collect::<Vec<_>>().join(" | ");
        if last.is_empty() { format!("crashed ({status})") } else { format!("crashed ({status}): {last}") }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin = None;
        // A process that hangs in a case doesn't end by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
