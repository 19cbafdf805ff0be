//! Waiting for a device: one call to the driver, with an end.

use crate::error::{Error, Result};
use crate::gpu::device::GpuDevice;
use crate::gpu::faults::lock;
use crate::gpu::time_limits::Task;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

impl GpuDevice {
    /// Waits until a submission is done and its callbacks have run; `what` names it in an error.
    ///
    /// Errors: a lost device, and more time than the task has, where the device is given up.
    pub(in crate::gpu) async fn wait(
        &self,
        submission: wgpu::SubmissionIndex,
        task: Task,
        what: impl Fn() -> String,
    ) -> Result<()> {
        let timeout = Some(task.limit(self.time_limits()));
        loop {
            let before = self.progress().load(Ordering::Relaxed);
            if self
                .poll(wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout }, &what)?
            {
                self.progress().fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            // A queue goes through what several threads submit in turn: time counts from when another's was
            // done.
            if self.progress().load(Ordering::Relaxed) == before {
                return Err(self.overdue(task, &what()));
            }
        }
    }

    /// Whether what was waited for is done; `what` names it in an error.
    pub(in crate::gpu) fn poll(&self, how: wgpu::PollType, what: impl Fn() -> String) -> Result<bool> {
        // wgpu panics in `poll` where a driver reports the loss of its device while it is waited for.
        let polled = catch_unwind(AssertUnwindSafe(|| self.raw().poll(how)));
        let lost = {
            let mut faults = lock(self.faults());
            if polled.is_err() {
                faults.lost.get_or_insert_with(|| "the driver failed".to_string());
            }
            faults.lost.clone()
        };
        // The call that waits is the one that knows what for.
        if let Some(reason) = lost {
            return Err(self.lost(&format!("{reason}, while it was waited for with {}", what())));
        }
        self.check()?;
        match polled {
            Ok(Err(wgpu::PollError::Timeout)) => Ok(false),
            Ok(Err(problem)) => {
                let message = format!("waiting for {} failed: {problem}", self.info().named());
                Err(Error::device(message).caused_by(problem))
            }
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::gpu::{GpuDevice, LimitsOption, Selection};

    #[test]
    fn a_loss_names_what_was_waited_for() {
        if crate::gpu::test_device().is_none() {
            return;
        }
        let device = GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap();
        device.destroy();
        let error = device
            .poll(wgpu::PollType::Poll, || "kernel 'conv' of node 'stem' (Conv)".to_string())
            .unwrap_err();
        assert!(error.message().starts_with(&format!("the device '{}' (", device.info().name)), "{error}");
        assert!(
            error.message().ends_with(", while it was waited for with kernel 'conv' of node 'stem' (Conv)"),
            "{error}"
        );
        assert!(!device.check().unwrap_err().message().contains("waited for"));
    }
}
