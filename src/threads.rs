//! A run's steps shared among threads without waking any: helpers wait for the next step by spinning as long
//! as the run lasts.
//!
//! A small network has a step every 100 µs or less. Waking a thread that sleeps takes a good part of that.
//! Thread `i` of `n` begins with the `i`-th share of each step's parts, so that it meets in its own cache
//! what it wrote the step before; who is done takes parts from the others. Outside of a run the same calls go
//! to rayon.

use crate::error::Result;
use rayon::prelude::*;
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Looks at the next step before a waiting thread takes other work of rayon's, and before it lets the system
/// run others.
const SPINS: usize = 32;
const PATIENCE: usize = 1 << 12;

/// The parts of a step that one thread begins with. On a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Share {
    next: AtomicUsize,
    end: AtomicUsize,
}

type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// The threads of one run. The run's own thread opens a step, works, closes it, and waits for those inside to
/// leave.
struct Workers {
    /// Counts openings and closings: odd while a step is open.
    epoch: AtomicUsize,
    /// Helpers that look at the step.
    inside: AtomicUsize,
    over: AtomicBool,
    shares: Vec<Share>,
    /// What the open step does. Written while no step is open and nobody is inside.
    part: UnsafeCell<Option<*const Job<'static>>>,
}
// SAFETY: `part` is written by the run's thread alone, while no step is open and nobody is inside; helpers
// read it inside an open step, which doesn't end before they leave.
unsafe impl Sync for Workers {}

thread_local! {
    /// The team of the run that this thread leads, unless a step of it is open.
    static LED: Cell<Option<*const Workers>> = const { Cell::new(None) };
}

/// Does something at the end of a scope, also where it unwinds.
struct Finally<F: FnMut()>(F);
impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)()
    }
}

impl Workers {
    /// Takes parts until none are left: the share of thread `own` first.
    fn work(&self, own: usize, part: &Job<'_>) {
        let count = self.shares.len();
        for share in (0..count).map(|k| &self.shares[(own + k) % count]) {
            let end = share.end.load(Ordering::Relaxed);
            while share.next.load(Ordering::Relaxed) < end {
                let index = share.next.fetch_add(1, Ordering::Relaxed);
                if index < end {
                    part(index);
                }
            }
        }
    }

    fn help(&self, own: usize) {
        let (mut seen, mut idle) = (0, 0usize);
        while !self.over.load(Ordering::Acquire) {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch % 2 == 1 && epoch != seen {
                (seen, idle) = (epoch, 0);
                self.inside.fetch_add(1, Ordering::SeqCst);
                let _leave = Finally(|| _ = self.inside.fetch_sub(1, Ordering::SeqCst));
                if self.epoch.load(Ordering::SeqCst) == epoch {
                    // SAFETY: the step is open, and stays alive until `inside` is 0 again.
                    if let Some(part) = unsafe { *self.part.get() } {
                        self.work(own, unsafe { &*part });
                    }
                }
                continue;
            }
            idle += 1;
            if idle.is_multiple_of(SPINS) {
                rayon::yield_now();
            }
            if idle > PATIENCE {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }

    fn step(&self, count: usize, part: &Job<'_>) {
        let each = count.div_ceil(self.shares.len());
        for (index, share) in self.shares.iter().enumerate() {
            share.next.store((index * each).min(count), Ordering::Relaxed);
            share.end.store(((index + 1) * each).min(count), Ordering::Relaxed);
        }
        // SAFETY: no step is open and nobody is inside. The lifetime goes, but the step is closed and left
        // before this returns.
        unsafe { *self.part.get() = Some(std::mem::transmute::<*const Job<'_>, *const Job<'static>>(part)) };
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let _close = Finally(|| {
            self.epoch.fetch_add(1, Ordering::SeqCst);
            while self.inside.load(Ordering::SeqCst) > 0 {
                std::hint::spin_loop();
            }
        });
        self.work(0, part);
    }
}

/// Runs `work` on one of rayon's threads, with the others at hand for its steps.
pub fn with_workers<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let shares = (0..rayon::current_num_threads()).map(|_| Share::default()).collect();
    let team = Workers {
        epoch: AtomicUsize::new(0),
        inside: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        shares,
        part: UnsafeCell::new(None),
    };
    let team = &team;
    rayon::scope(|helpers| {
        for own in 1..team.shares.len() {
            helpers.spawn(move |_| team.help(own));
        }
        let before = LED.replace(Some(team));
        let _end = Finally(|| {
            LED.set(before);
            team.over.store(true, Ordering::Release);
        });
        work()
    })
}

/// Calls `part` once for each index below `count`, on all threads.
pub fn parallel_for(count: usize, part: impl Fn(usize) + Sync) {
    // Compiled once, not for every loop that there is: a part is long beside a call through a pointer.
    fn shared(count: usize, part: &Job<'_>) {
        match LED.take() {
            Some(team) => {
                let _back = Finally(|| LED.set(Some(team)));
                // SAFETY: the team lives until `during` ends, which takes it from this thread first.
                unsafe { &*team }.step(count, part);
            }
            None => (0..count).into_par_iter().for_each(part),
        }
    }
    if count < 2 {
        return (0..count).for_each(part);
    }
    shared(count, &part);
}

/// The same for parts that may fail: returns one of the errors.
pub fn try_parallel_for(count: usize, part: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let failed = Mutex::new(None);
    parallel_for(count, |index| {
        if let Err(error) = part(index) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Calls `part` with each chunk of `size` elements, the last perhaps shorter, and its index, on all threads.
pub fn chunks<T: Send>(all: &mut [T], size: usize, part: impl Fn(usize, &mut [T]) + Sync) {
    let (count, size, data) = (all.len(), size.max(1), Elements(all.as_mut_ptr()));
    parallel_for(count.div_ceil(size), |index| {
        let start = index * size;
        // SAFETY: chunks lie inside `all`, don't overlap, and each index comes once.
        part(index, unsafe { std::slice::from_raw_parts_mut(data.at(start), size.min(count - start)) });
    });
}

/// The same for parts that may fail: returns one of the errors.
pub fn try_chunks<T: Send>(
    all: &mut [T],
    size: usize,
    part: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    let failed = Mutex::new(None);
    chunks(all, size, |index, chunk| {
        if let Err(error) = part(index, chunk) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Elements of which threads write different ones.
pub struct Elements<T>(pub *mut T);
// SAFETY: whoever writes through it sees to it that no two threads touch the same element.
unsafe impl<T: Send> Send for Elements<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Elements<T> {}
impl<T> Elements<T> {
    pub fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once() {
        with_workers(|| {
            for count in (0..50).chain([1000]) {
                let mut seen = vec![0u32; count * 3 + 1];
                chunks(&mut seen, 3, |index, part| part.iter_mut().for_each(|x| *x += index as u32 + 1));
                assert!(seen.iter().enumerate().all(|(at, &x)| x as usize == at / 3 + 1));
            }
            // A part has parts of its own.
            let sum = AtomicUsize::new(0);
            parallel_for(20, |i| parallel_for(30, |j| _ = sum.fetch_add(i * j, Ordering::Relaxed)));
            assert_eq!(sum.into_inner(), 190 * 435);
        });
    }

    #[test]
    fn several_runs_at_once() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let sum = AtomicUsize::new(0);
                        with_workers(|| {
                            (0..20)
                                .for_each(|_| parallel_for(10, |i| _ = sum.fetch_add(i, Ordering::Relaxed)))
                        });
                        assert_eq!(sum.into_inner(), 900);
                    }
                });
            }
        });
    }

    #[test]
    fn what_fails_and_what_panics_comes_back() {
        let result = with_workers(|| {
            try_parallel_for(10, |index| {
                if index == 7 { Err(crate::error::Error::internal("seven")) } else { Ok(()) }
            })
        });
        assert!(result.is_err());
        let caught =
            std::panic::catch_unwind(|| with_workers(|| parallel_for(10, |index| assert!(index != 3))));
        assert!(caught.is_err());
        with_workers(|| parallel_for(4, |_| {}));
    }
}
