//! From the device to the host: copies into a staging buffer, one submission, one map.

use super::buffers::Buffer;
use super::device::GpuDevice;
use super::native::{self, Missed, Stopwatch};
use super::time_limits::Task;
use crate::error::{Error, Result};
use std::sync::atomic::Ordering;

/// Submits what `record` records, then gives `take` the first bytes of each source buffer in turn, as many as
/// asked for.
///
/// The counts are multiples of 4, within their buffers, and their sum within `staging`. `what` names in an
/// error what is waited for.
pub(super) async fn read(
    device: &GpuDevice,
    record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<()>,
    sources: &[(&Buffer, u64)],
    staging: &Buffer,
    what: impl Fn() -> String,
    mut take: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let total: u64 = sources.iter().map(|source| source.1).sum();
    if total > staging.bytes() {
        return Err(Error::internal("a staging buffer is shorter than what it stages"));
    }
    let (sender, mapping) = native::signal();
    let slice = staging.raw.slice(..total);
    let submit = || {
        let mut encoder = device.raw().create_command_encoder(&Default::default());
        record(&mut encoder)?;
        let mut at = 0;
        for (source, bytes) in sources {
            encoder.copy_buffer_to_buffer(&source.raw, 0, &staging.raw, at, *bytes);
            at += bytes;
        }
        let submission = device.queue().submit([encoder.finish()]);
        slice.map_async(wgpu::MapMode::Read, move |mapped| {
            // Nobody listens only where the wait below failed.
            let _ = sender.send(mapped);
        });
        Ok(submission)
    };
    let start = Stopwatch::start();
    let submission = device.scope(&what, submit).await;
    device.spent().submitting.add(start.elapsed());
    let taken = async {
        let start = Stopwatch::start();
        device.wait(submission??, Task::Run, &what).await?;
        let unmapped =
            || Error::device("a buffer could not be mapped for reading").remedy("make a new session");
        // Another thread's poll may be what runs the callback: wait for it.
        let mapped = mapping.told(Task::Either.limit(device.time_limits())).await;
        let mapped = mapped.map_err(|missed| match missed {
            Missed::Overdue => device.overdue(Task::Run, &what()),
            Missed::Dropped => unmapped(),
        })?;
        mapped.map_err(|_| device.check().err().unwrap_or_else(unmapped))?;
        device.spent().compute.add(start.elapsed());
        let start = Stopwatch::start();
        let view = slice.get_mapped_range().map_err(|_| unmapped())?;
        device.memory().copied.fetch_add(total, Ordering::Relaxed);
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
        device.spent().readback.add(start.elapsed());
        Ok(())
    };
    let taken = taken.await;
    match taken {
        Ok(()) => staging.raw.unmap(),
        // Perhaps nothing was mapped; the next readback can map it.
        Err(_) => drop(device.scope(|| "a readback".into(), || staging.raw.unmap()).await),
    }
    taken
}
