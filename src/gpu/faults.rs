//! What goes wrong on a device, as errors of ours: what wgpu says against a call, a lost device, a driver that
//! takes too long.

use super::device::GpuDevice;
use super::time_limits::Task;
use crate::error::{Error, ErrorKind, Result, Setting};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What went wrong outside of any call.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) lost: Option<String>,
    pub(super) uncaptured: Option<String>,
    /// The driver didn't answer in time: what wgpu has of the device is left as it is.
    pub(super) abandoned: bool,
}

impl GpuDevice {
    /// An error if the device was lost, or if an error arose that no call was there to return.
    pub fn check(&self) -> Result<()> {
        let mut faults = lock(self.faults());
        if let Some(reason) = &faults.lost {
            return Err(self.lost(reason));
        }
        faults.uncaptured.take().map_or(Ok(()), |message| Err(Error::device(message)))
    }

    pub(super) fn lost(&self, why: &str) -> Error {
        let message = format!("the device {} was lost: {why}", self.info().named());
        Error::device(message).remedy_by(
            "make a new session; if that is lost too, use {}, or another backend or driver",
            &[Setting::Cpu],
        )
    }

    /// Gives the device up, as a driver's reset would: every later call errs.
    #[doc(hidden)]
    pub fn destroy(&self) {
        self.inner.raw.destroy();
        let _ = self.poll(wgpu::PollType::Poll, || "its end".to_string());
    }

    /// Does `work`, and returns what wgpu had to say against any of it, named by `what`: one scope for all that
    /// is submitted together. Nothing is waited for inside, since scopes are per thread.
    pub(super) async fn scope<T>(&self, what: impl Fn() -> String, work: impl FnOnce() -> T) -> Result<T> {
        let scopes =
            [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal];
        let scopes = scopes.map(|filter| self.inner.raw.push_error_scope(filter));
        let result = work();
        // A stack: the last is popped first.
        let [first, second, third] = scopes;
        let popped = [third.pop(), second.pop(), first.pop()];
        let mut found = None;
        for error in popped {
            if let Some(error) = error.await {
                found.get_or_insert(error);
            }
        }
        // Of a lost device every other error is a consequence.
        self.check()?;
        let Some(error) = found else { return Ok(result) };
        let what = what();
        match error {
            wgpu::Error::OutOfMemory { .. } => {
                Err(Error::memory(format!("{what}: the device is out of memory"))
                    .remedy_by("use {}, a smaller input, or {}", &[Setting::Float16, Setting::Cpu]))
            }
            error @ wgpu::Error::Internal { .. } => {
                let message = format!("{}: {what}: {}", self.info().named(), describe(&error));
                Err(Error::device(message).remedy_by("use {}, or another backend or driver", &[Setting::Cpu]))
            }
            error => Err(Error::internal(format!("{what}: {}", describe(&error)))),
        }
    }

    /// The error for what the driver didn't do in time, after which the device counts as lost.
    pub(super) fn overdue(&self, task: Task, what: &str) -> Error {
        let reason = format!("it didn't {} {what} within {:?}", task.verb(), task.limit(self.time_limits));
        let message = format!("the device {} is given up: {reason}", self.info().named());
        self.abandon(reason);
        let more = format!("or give it more seconds with {}", task.variable());
        Error::new(ErrorKind::Timeout, message)
            .remedy_by(format!("use {{}}, or another backend or driver, {more}"), &[Setting::Cpu])
    }

    /// Gives up a device whose driver doesn't answer: every later call errs.
    pub(super) fn abandon(&self, reason: String) {
        let mut faults = lock(self.faults());
        faults.lost.get_or_insert(reason);
        if !std::mem::replace(&mut faults.abandoned, true) {
            // Never closed nor destroyed: wgpu waits for the queue then, however long that takes.
            std::mem::forget((
                self.inner.raw.clone(),
                self.inner.queue.clone(),
                self.inner.found.adapter.clone(),
            ));
        }
    }
    /// Why the device was given up, if it was.
    pub(super) fn abandoned(&self) -> Option<String> {
        let faults = lock(self.faults());
        faults.lost.clone().filter(|_| faults.abandoned)
    }
}

pub(super) fn lock(faults: &Mutex<Faults>) -> MutexGuard<'_, Faults> {
    faults.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes: wgpu's own text is often only "Validation Error".
pub(super) fn describe(error: &wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => "out of memory".to_string(),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            description.clone()
        }
    }
}
