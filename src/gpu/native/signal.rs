//! What a callback of the driver tells, once.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// Why nothing was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gpu) enum Missed {
    /// Not within the limit.
    Overdue,
    /// Nobody is left to tell it.
    Dropped,
}

/// Is told of one thing.
pub(in crate::gpu) struct Listener<T>(Receiver<T>);

/// One to tell of something, one to be told.
pub(in crate::gpu) fn signal<T>() -> (Sender<T>, Listener<T>) {
    let (sender, receiver) = mpsc::channel();
    (sender, Listener(receiver))
}

impl<T> Listener<T> {
    /// Waits until it is told, or the limit is over.
    pub(in crate::gpu) async fn told(self, limit: Duration) -> Result<T, Missed> {
        self.0.recv_timeout(limit).map_err(|problem| match problem {
            RecvTimeoutError::Timeout => Missed::Overdue,
            RecvTimeoutError::Disconnected => Missed::Dropped,
        })
    }
}
