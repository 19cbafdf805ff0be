//! Memory that a run uses again: fresh pages cost a fault for every 4 KiB, which a small model's run mostly waits for.
//!
//! A run that wants it puts a [`Pool`] in place for its thread; vectors of float32 then come from there, and tensors that
//! died are given back. Without one, memory is fresh.

use super::allocate;
use crate::error::Result;
use std::cell::RefCell;

/// Smaller vectors are left to the allocator, which keeps them itself.
const SMALLEST: usize = 1 << 10;
/// Vectors that a pool keeps.
const MOST: usize = 64;

/// Vectors that wait to be used again, the latest last.
#[derive(Default)]
pub struct Pool {
    free: Vec<Vec<f32>>,
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

/// A vector of `count` elements that hold anything: every one must be written. An error where the allocator refuses.
pub fn unset(count: usize) -> Result<Vec<f32>> {
    let kept = CURRENT.with_borrow_mut(|pool| {
        let free = &mut pool.as_mut()?.free;
        let fits = |vector: &Vec<f32>| count >= SMALLEST && vector.capacity() >= count && vector.capacity() / 2 <= count;
        // The latest that fits best is the likeliest to be in cache still.
        let best = (0..free.len()).rev().filter(|&index| fits(&free[index])).min_by_key(|&index| free[index].capacity())?;
        Some(free.remove(best))
    });
    let mut vector = match kept {
        Some(vector) => vector,
        None => allocate(count)?,
    };
    vector.resize(count, 0.0);
    Ok(vector)
}

/// Gives memory back to the thread's pool, if there is one.
pub fn recycle(vector: Vec<f32>) {
    if vector.capacity() < SMALLEST {
        return;
    }
    CURRENT.with_borrow_mut(|pool| {
        if let Some(pool) = pool {
            if pool.free.len() == MOST {
                pool.free.remove(0);
            }
            pool.free.push(vector);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back() {
        let (pool, address) = Pool::default().during(|| {
            let vector = unset(5000).unwrap();
            let address = vector.as_ptr() as usize;
            recycle(vector);
            address
        });
        let (_, again) = pool.during(|| (unset(4000).unwrap(), unset(4000).unwrap()));
        assert_eq!(again.0.as_ptr() as usize, address);
        assert_ne!(again.1.as_ptr() as usize, address);
        assert_eq!(again.0.len(), 4000);
    }
}
