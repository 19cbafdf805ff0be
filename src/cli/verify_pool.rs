//! The processes in which `verify` runs its cases: one that panics, crashes or hangs is replaced, and the
//! others go on.

use super::options::{DeviceFields, RunOptions};
use super::process::{self, Conversation};
use super::verify_case::{Case, CaseResult, Status};
use super::verify_worker::{Answer, Ready};
use sardonyx::error::{Error, Result};
use std::collections::VecDeque;
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a process may take to open its device.
const OPENING: Duration = Duration::from_secs(120);

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
        let mut command = process::command()?;
        command.arg("verify-worker").args(self.options.arguments());
        // The processes share the cores.
        let threads = std::thread::available_parallelism().map_or(1, usize::from) / self.jobs.max(1);
        command.env("RAYON_NUM_THREADS", threads.max(1).to_string());
        Ok(command)
    }
}

/// A running process.
struct Worker {
    process: Conversation,
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
        let process = Conversation::start(pool.command()?)?;
        let mut worker = Self { process, fields: DeviceFields::of(None), lost: false };
        let ready = worker.process.hear(OPENING).ok().and_then(|line| serde_json::from_str(&line).ok());
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
        if !self.process.say(case) {
            return Err(Failure::Gone);
        }
        match self.process.hear(timeout) {
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
        let (status, talk) = self.process.ended();
        let last = talk.join(" | ");
        if last.is_empty() { format!("crashed ({status})") } else { format!("crashed ({status}): {last}") }
    }
}
