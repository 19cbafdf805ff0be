//! From the device to the host: copies into a staging buffer, one submission, one map.

use super::buffers::Buffer;
use super::device::GpuDevice;
use super::time_limits::Task;
use crate::error::{Error, Result};
use std::sync::mpsc::{self, RecvTimeoutError};

/// Submits what was recorded, if anything.
pub(super) fn submit(device: &GpuDevice, pending: Option<wgpu::CommandEncoder>) -> Result<()> {
    match pending {
        Some(encoder) => {
            device.capture("a submission", || device.queue().submit([encoder.finish()])).map(|_| ())
        }
        None => Ok(()),
    }
}

/// An encoder for commands, as the one that is `pending` or new.
pub(super) fn encoder(device: &GpuDevice, pending: Option<wgpu::CommandEncoder>) -> wgpu::CommandEncoder {
    pending.unwrap_or_else(|| device.raw().create_command_encoder(&Default::default()))
}

/// Submits what is pending, then gives `take` the first bytes of each source buffer in turn, as many as asked
/// for.
///
/// The counts are multiples of 4, within their buffers, and their sum within `staging`. `what` names in an
/// error what is waited for.
pub(super) fn read(
    device: &GpuDevice,
    pending: Option<wgpu::CommandEncoder>,
    sources: &[(&Buffer, u64)],
    staging: &Buffer,
    what: impl Fn() -> String,
    mut take: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let total: u64 = sources.iter().map(|source| source.1).sum();
    if total == 0 {
        return submit(device, pending);
    }
    if total > staging.bytes() {
        return Err(Error::internal("a staging buffer is shorter than what it stages"));
    }
    let (sender, receiver) = mpsc::channel();
    let slice = staging.raw.slice(..total);
    let submission = device.capture("a readback", || {
        let mut encoder = encoder(device, pending);
        let mut at = 0;
        for (source, bytes) in sources {
            encoder.copy_buffer_to_buffer(&source.raw, 0, &staging.raw, at, *bytes);
            at += bytes;
        }
        let submission = device.queue().submit([encoder.finish()]);
        slice.map_async(wgpu::MapMode::Read, move |mapped| {
            // The receiver is gone only where the wait below failed.
            let _ = sender.send(mapped);
        });
        submission
    });
    let taken = submission.and_then(|submission| {
        device.wait(submission, Task::Run, &what)?;
        let unmapped =
            || Error::device("a buffer could not be mapped for reading").remedy("make a new session");
        // Another thread's poll may be what runs the callback: wait for it.
        let mapped =
            receiver.recv_timeout(Task::Either.limit(device.time_limits())).map_err(
                |problem| match problem {
                    RecvTimeoutError::Timeout => device.overdue(Task::Run, &what()),
                    RecvTimeoutError::Disconnected => unmapped(),
                },
            )?;
        mapped.map_err(|_| device.check().err().unwrap_or_else(unmapped))?;
        let view = slice.get_mapped_range().map_err(|_| unmapped())?;
        let mut at = 0;
        for (index, (_, bytes)) in sources.iter().enumerate() {
            let end = at + *bytes as usize;
            take(
                index,
                view.get(at..end)
                    .ok_or_else(|| Error::internal("a readback is shorter than what it copied"))?,
            )?;
            at = end;
        }
        Ok(())
    });
    // Also where the map failed, so that the next readback can map it.
    let unmapped = device.capture("a readback", || staging.raw.unmap());
    taken.and(unmapped)
}
