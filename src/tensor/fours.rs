//! Rearranging large tensors by groups of 4 elements, on every core: what packing weights for a kernel is made of.

use super::{Bytes, Data, Element, Owned, Tensor, element_count, zeros};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where 4 elements come from: `count` of them, `stride` apart from `start`; the others are 0.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub start: usize,
    /// May be negative, wrapped.
    pub stride: usize,
    pub count: usize,
}

impl Tensor {
    /// A new tensor whose elements `4·i…4·i + 3` are the run `source(i)` of this one's; 0 where it is `None`.
    ///
    /// Errors if a source lies outside, and for strings.
    pub fn pick_fours(&self, shape: impl Into<Vec<usize>>, source: impl Fn(usize) -> Option<Run> + Sync) -> Result<Self> {
        let shape = shape.into();
        let count = element_count(&shape)?;
        let Data::Bytes(bytes) = &self.data else { return Err(Error::internal("strings are not packed")) };
        let data = match self.dtype.size() {
            8 => picked::<u64>(bytes.bytes(), count, &source)?,
            4 => picked::<u32>(bytes.bytes(), count, &source)?,
            2 => picked::<u16>(bytes.bytes(), count, &source)?,
            _ => picked::<u8>(bytes.bytes(), count, &source)?,
        };
        Ok(Self { dtype: self.dtype, shape, data: Data::Bytes(data) })
    }
}

/// Groups that one task makes.
const TASK: usize = 4096;

fn picked<T: Element>(from: &[u8], count: usize, source: &(dyn Fn(usize) -> Option<Run> + Sync)) -> Result<Arc<dyn Bytes>> {
    let from: &[T] = bytemuck::try_cast_slice(from).map_err(|_| Error::internal("elements are not aligned"))?;
    let mut to: Vec<T> = zeros(count)?;
    let outside = AtomicBool::new(false);
    to.par_chunks_mut(4 * TASK).enumerate().for_each(|(task, to)| {
        for (index, four) in to.chunks_mut(4).enumerate() {
            let Some(run) = source(task * TASK + index) else { continue };
            for (k, to) in four.iter_mut().take(run.count).enumerate() {
                match from.get(run.start.wrapping_add(k.wrapping_mul(run.stride))) {
                    Some(&value) => *to = value,
                    None => outside.store(true, Ordering::Relaxed),
                }
            }
        }
    });
    if outside.load(Ordering::Relaxed) {
        return Err(Error::internal("an element was picked from outside its tensor"));
    }
    Ok(Arc::new(Owned(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_picked_and_what_lies_outside_is_an_error() {
        let tensor = Tensor::new([6], vec![0f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let backwards = |index: usize| (index == 1).then_some(Run { start: 5, stride: 2usize.wrapping_neg(), count: 3 });
        let picked = tensor.pick_fours([2, 4], backwards).unwrap();
        assert_eq!(picked.to_f64s().unwrap(), [0.0, 0.0, 0.0, 0.0, 5.0, 3.0, 1.0, 0.0]);
        assert!(tensor.pick_fours([4], |_| Some(Run { start: 3, stride: 1, count: 4 })).is_err());
    }
}
