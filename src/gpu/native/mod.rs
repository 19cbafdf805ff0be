//! What a process of its own has and a browser's page doesn't: threads that can be left behind, waits that
//! block and end, a clock.
//!
//! The rest of `gpu` is `async` and asks this module alone for them (`tests/layers.rs` holds it to that), so
//! that a page needs this interface and nothing else: [`each`], [`signal`], [`Stopwatch`],
//! [`precompile_while`], and on a device `wait` and `poll`. [`block_on`] is the edge, where calls that block
//! begin (`blocking.rs`); nothing inside `gpu` calls those.

mod blocking;
mod clock;
mod detached;
mod signal;
mod translate;
mod wait;

pub(super) use clock::Stopwatch;
pub(super) use detached::{Unfinished, each};
pub(super) use signal::{Missed, signal};
pub(super) use translate::precompile_while;

pub use blocking::{adapters, measure, select};

/// Runs work on a device to its end.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    pollster::block_on(work)
}
