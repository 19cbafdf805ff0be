//! Memory that a run uses again: fresh pages cost a fault for every 4 KiB, which a small model's run mostly
//! waits for.
//!
//! A run that wants it puts a [`Pool`] in place for its thread; [`Floats`] then come from there, and those of
//! tensors that died are given back. Without one, memory is fresh.

use super::allocate;
use crate::error::Result;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Floats of a cache line.
pub const LINE: usize = 16;

/// A cache line of floats.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct Line([f32; LINE]);

/// Float32 elements that begin on a cache line, so that whole vectors never straddle two.
#[derive(Default)]
pub struct Floats {
    lines: Vec<Line>,
    count: usize,
}

impl Floats {
    /// Zeros. An error where the allocator refuses.
    pub fn zeros(count: usize) -> Result<Self> {
        let mut lines = allocate(count.div_ceil(LINE))?;
        lines.resize(count.div_ceil(LINE), Line::default());
        Ok(Self { lines, count })
    }
}

impl Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.count]
    }
}
impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.count]
    }
}

/// Less is left to the allocator, which keeps it itself.
const SMALLEST: usize = 1 << 10;
/// Pieces of memory that a pool keeps.
const MOST: usize = 64;

/// Memory that waits to be used again, the latest last.
#[derive(Default)]
pub struct Pool {
    free: Vec<Vec<Line>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Pool>> = const { RefCell::new(None) };
}

impl Pool {
    /// Runs `work` with this pool in place for the thread, and gives the pool back with what `work` returned.
    pub fn during<R>(self, work: impl FnOnce() -> R) -> (Self, R) {
        let before = CURRENT.replace(Some(self));
        let result = work();
        (CURRENT.replace(before).unwrap_or_default(), result)
    }
}

/// `count` elements that hold anything: every one must be written. An error where the allocator refuses.
pub fn unset(count: usize) -> Result<Floats> {
    let wanted = count.div_ceil(LINE);
    let kept = CURRENT.with_borrow_mut(|pool| {
        let free = &mut pool.as_mut()?.free;
        let fits = |lines: &Vec<Line>| {
            count >= SMALLEST && lines.capacity() >= wanted && lines.capacity() / 2 <= wanted
        };
        // The latest that fits best is the likeliest to be in cache still.
        let best = (0..free.len())
            .rev()
            .filter(|&index| fits(&free[index]))
            .min_by_key(|&index| free[index].capacity())?;
        Some(free.remove(best))
    });
    let Some(mut lines) = kept else { return Floats::zeros(count) };
    lines.resize(wanted, Line::default());
    Ok(Floats { lines, count })
}

/// Gives memory back to the thread's pool, if there is one.
pub fn recycle(floats: Floats) {
    if floats.count < SMALLEST {
        return;
    }
    CURRENT.with_borrow_mut(|pool| {
        if let Some(pool) = pool {
            if pool.free.len() == MOST {
                pool.free.remove(0);
            }
            pool.free.push(floats.lines);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back() {
        let (pool, address) = Pool::default().during(|| {
            let floats = unset(5000).unwrap();
            let address = floats.as_ptr() as usize;
            recycle(floats);
            address
        });
        let (_, again) = pool.during(|| (unset(4000).unwrap(), unset(4000).unwrap()));
        assert_eq!(again.0.as_ptr() as usize, address);
        assert_ne!(again.1.as_ptr() as usize, address);
        assert_eq!((again.0.len(), address % 64), (4000, 0));
    }
}
