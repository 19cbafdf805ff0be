//! What runs on a device have spent so far, part by part, by the host's clock.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time that runs on a device took so far. What nodes on the CPU take is no part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeSpent {
    /// Encoding tensors and handing them over.
    pub upload: Duration,
    /// Recording and submitting dispatches and copies.
    pub enqueue: Duration,
    /// Waiting until the device was done.
    pub compute: Duration,
    /// Reading results from mapped memory.
    pub readback: Duration,
}

impl Sub for TimeSpent {
    type Output = Self;
    fn sub(self, before: Self) -> Self {
        Self {
            upload: self.upload.saturating_sub(before.upload),
            enqueue: self.enqueue.saturating_sub(before.enqueue),
            compute: self.compute.saturating_sub(before.compute),
            readback: self.readback.saturating_sub(before.readback),
        }
    }
}

/// Counts nanoseconds.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// The counters of a device.
#[derive(Default)]
pub(super) struct Spent {
    pub(super) upload: Counter,
    /// With the uploads that fall into it.
    pub(super) submitting: Counter,
    pub(super) compute: Counter,
    pub(super) readback: Counter,
}

impl Spent {
    pub(super) fn total(&self) -> TimeSpent {
        let upload = self.upload.total();
        TimeSpent {
            upload,
            enqueue: self.submitting.total().saturating_sub(upload),
            compute: self.compute.total(),
            readback: self.readback.total(),
        }
    }
}
