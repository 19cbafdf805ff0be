//! A clock.

use std::time::{Duration, Instant};

/// Runs from when it was started.
pub(in crate::gpu) struct Stopwatch(Instant);

impl Stopwatch {
    pub(in crate::gpu) fn start() -> Self {
        Self(Instant::now())
    }
    pub(in crate::gpu) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
