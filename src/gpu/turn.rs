//! One at a time: a lock that is waited for without blocking, so that it may be held over waits for a device.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

/// Who has the turn, and who waits for it.
#[derive(Default)]
pub(super) struct Turn {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: bool,
    waiting: Vec<Waker>,
}

/// The turn; dropping it hands it on.
pub(super) struct Mine<'a>(&'a Turn);

impl Turn {
    /// Waits for the turn.
    pub(super) async fn take(&self) -> Mine<'_> {
        poll_fn(|context| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut state.taken, true) {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Mine(self))
        })
        .await
    }
}

impl Drop for Mine<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.taken = false;
            std::mem::take(&mut state.waiting)
        };
        // All of them: one that was given up wouldn't wake the next.
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_second_waits_for_the_first() {
        let turn = Turn::default();
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = woken.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut first = pin!(turn.take());
        let Poll::Ready(mine) = first.as_mut().poll(&mut context) else { panic!("nobody has it") };
        let mut second = pin!(turn.take());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        drop(mine);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
}
