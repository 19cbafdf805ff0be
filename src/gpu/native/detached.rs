//! Work that may never end: a driver does it on threads that can be left behind.

use super::block_on;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Why work has no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gpu) enum Unfinished {
    /// The item of this index took longer than allowed, and perhaps always will.
    Overdue(usize),
    /// A thread panicked, or none could be started.
    Failed,
}

/// What a thread tells of an item.
enum Told<T> {
    Begun(Instant),
    Done(thread::Result<T>),
}

/// Does `work` for each item, on as many threads as the machine runs at once, and gives the results in order.
///
/// Errors: an item that takes longer than `limit`, from when its own work begins. Threads that are still at
/// work then are left behind, which is why they own what they use.
pub(in crate::gpu) async fn each<I, T>(
    items: Vec<I>,
    limit: Duration,
    work: impl AsyncFn(&I) -> T + Send + Sync + 'static,
) -> Result<Vec<T>, Unfinished>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
{
    let count = items.len();
    let shared = Arc::new((items, work, AtomicUsize::new(0)));
    let (sender, receiver) = mpsc::channel();
    let start = |_| {
        let (shared, sender) = (shared.clone(), sender.clone());
        let take_items = move || {
            let (items, work, next) = &*shared;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else { break };
                // Nobody listens any more where another item was overdue.
                if sender.send((index, Told::Begun(Instant::now()))).is_err() {
                    break;
                }
                let done = catch_unwind(AssertUnwindSafe(|| block_on(work(item))));
                if sender.send((index, Told::Done(done))).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("sardonyx compiler".into()).spawn(take_items).ok()
    };
    let threads: Vec<_> =
        (0..thread::available_parallelism().map_or(1, usize::from).min(count)).filter_map(start).collect();
    drop((shared, sender));
    let mut running: HashMap<usize, Instant> = HashMap::new();
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    while results.iter().any(Option::is_none) {
        let oldest = running
            .iter()
            .min_by_key(|(_, begun)| **begun)
            .map(|(index, begun)| (*index, limit.saturating_sub(begun.elapsed())));
        let told = match oldest {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some((_, Duration::ZERO)) => Err(RecvTimeoutError::Timeout),
            Some((_, left)) => receiver.recv_timeout(left),
        };
        match (told, oldest) {
            (Ok((index, Told::Begun(begun))), _) => {
                running.insert(index, begun);
            }
            (Ok((index, Told::Done(Ok(result)))), _) => {
                running.remove(&index);
                results[index] = Some(result);
            }
            (Err(RecvTimeoutError::Timeout), Some((index, _))) => return Err(Unfinished::Overdue(index)),
            _ => return Err(Unfinished::Failed),
        }
    }
    // They have nothing left to do. What they share with the caller is dropped there by the time that it goes
    // on.
    threads.into_iter().for_each(|thread| drop(thread.join()));
    results.into_iter().collect::<Option<Vec<T>>>().ok_or(Unfinished::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        assert_eq!(
            block_on(each((0..100).collect(), Duration::from_secs(60), async |i: &u64| i * i)),
            Ok((0..100).map(|i| i * i).collect())
        );
        assert_eq!(block_on(each(vec![], Duration::ZERO, async |i: &u64| *i)), Ok(vec![]));
    }

    #[test]
    fn what_never_ends_is_left_behind() {
        let start = Instant::now();
        // The third waits for what nobody sends.
        let (_sender, receiver) = mpsc::channel::<()>();
        let receiver = std::sync::Mutex::new(receiver);
        let work = async move |i: &usize| {
            if *i == 2 {
                receiver.lock().map(|receiver| receiver.recv().is_ok()).unwrap_or(false)
            } else {
                true
            }
        };
        let done = block_on(each((0..5).collect(), Duration::from_millis(200), work));
        assert_eq!(done, Err(Unfinished::Overdue(2)));
        assert!(start.elapsed() < Duration::from_secs(30));
        let none = block_on(each(vec![1], Duration::ZERO, async |i: &usize| *i));
        assert_eq!(none, Err(Unfinished::Overdue(0)));
    }

    #[test]
    fn a_panic_is_told() {
        let work = async |i: &usize| if *i == 1 { panic!("on purpose") } else { *i };
        assert_eq!(block_on(each(vec![0, 1, 2], Duration::from_secs(60), work)), Err(Unfinished::Failed));
    }
}
