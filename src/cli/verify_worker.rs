//! `verify-worker`: the process in which `verify` runs its cases, so that one that crashes takes no other
//! along.
//!
//! It prints one line of JSON when the device is open, then one for each case that it reads, a line of JSON
//! each.

use super::Outcome;
use super::emit::{one_line, stdout, told};
use super::options::{DeviceFields, RunOptions};
use super::verify_case::{self, Case, CaseResult, Status};
use clap::Args;
use sardonyx::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Run cases for verify
#[derive(Args)]
pub struct VerifyWorker {
    #[command(flatten)]
    options: RunOptions,
}

/// The first line: which device is open, or why none is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    GpuDevice(DeviceFields),
    Failed(String),
}

/// The line for a case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub result: CaseResult,
    /// Whether the process is of no more use.
    pub device_lost: bool,
}

thread_local! {
    /// What a panic said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

impl VerifyWorker {
    pub fn run(&self) -> Result<Outcome> {
        let device = match self.options.device.open() {
            Ok(device) => device,
            Err(error) => {
                say(&Ready::Failed(told(&error)))?;
                return Err(error);
            }
        };
        say(&Ready::GpuDevice(DeviceFields::of(device.as_ref())))?;
        std::panic::set_hook(Box::new(|panic| PANIC.set(one_line(&panic.to_string()))));
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|problem| {
                Error::new(ErrorKind::File, format!("standard input can't be read: {problem}"))
            })?;
            let case: Case = serde_json::from_str(&line)
                .map_err(|problem| Error::usage(format!("a line is no case: {problem}")))?;
            let result =
                catch_unwind(AssertUnwindSafe(|| verify_case::run(&case, &self.options, device.clone())))
                    .unwrap_or_else(|_| {
                        CaseResult::new(
                            &case.path,
                            Status::Error,
                            Some(format!("panicked: {}", PANIC.take())),
                        )
                    });
            // After a lost device a new process is the surest cure.
            let device_lost = device.as_ref().is_some_and(|device| device.check().is_err());
            say(&Answer { result, device_lost })?;
        }
        Ok(Outcome::Good)
    }
}

fn say(message: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(message)
        .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))?;
    stdout(&format!("{json}\n"))
}
