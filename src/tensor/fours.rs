//! Rearranging large tensors by groups of 4 elements, on every core: what packing weights for a kernel is
//! made of.

use super::{Bytes, Data, Element, Owned, Tensor, element_count, zeros};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where 4 elements come from: `count` of them, `stride` apart from `start`; the others are 0.
#[derive(Debug, Clone, Copy)]
pub struct StridedRun {
    /// The first one's index.
    pub start: usize,
    /// May be negative, wrapped.
    pub stride: usize,
    /// How many there are.
    pub count: usize,
}

impl Tensor {
    /// A new tensor made of blocks of `block` fours: four `i` of block `b` is the run `source(b)(i)` of this
    /// one's elements, 0 where it is `None`. What a block's fours have in common is thus found once.
    ///
    /// Errors if a source lies outside, and for strings.
    pub fn gather_vec4<F: Fn(usize) -> Option<StridedRun>>(
        &self,
        shape: impl Into<Vec<usize>>,
        block: usize,
        source: impl Fn(usize) -> F + Sync,
    ) -> Result<Self> {
        let shape = shape.into();
        let count = element_count(&shape)?;
        let Data::Bytes(bytes) = &self.data else { return Err(Error::internal("strings are not packed")) };
        let data = match self.dtype.size() {
            8 => picked::<u64, F>(bytes.bytes(), count, block, &source)?,
            4 => picked::<u32, F>(bytes.bytes(), count, block, &source)?,
            2 => picked::<u16, F>(bytes.bytes(), count, block, &source)?,
            _ => picked::<u8, F>(bytes.bytes(), count, block, &source)?,
        };
        Ok(Self { dtype: self.dtype, shape, data: Data::Bytes(data) })
    }
}

/// Elements that one task makes, about.
const TASK: usize = 16384;

fn picked<T: Element, F: Fn(usize) -> Option<StridedRun>>(
    from: &[u8],
    count: usize,
    block: usize,
    source: &(impl Fn(usize) -> F + Sync),
) -> Result<Arc<dyn Bytes>> {
    let from: &[T] =
        bytemuck::try_cast_slice(from).map_err(|_| Error::internal("elements are not aligned"))?;
    let mut to: Vec<T> = zeros(count)?;
    let outside = AtomicBool::new(false);
    let elements = block.max(1) * 4;
    let blocks = (TASK / elements).max(1);
    to.par_chunks_mut(elements * blocks).enumerate().for_each(|(task, to)| {
        for (index, to) in to.chunks_mut(elements).enumerate() {
            let source = source(task * blocks + index);
            for (index, four) in to.chunks_mut(4).enumerate() {
                let Some(run) = source(index) else { continue };
                match from.get(run.start..run.start.saturating_add(4)) {
                    Some(whole) if run.stride == 1 && run.count >= 4 && four.len() == 4 => {
                        four.copy_from_slice(whole)
                    }
                    _ => {
                        for (k, to) in four.iter_mut().take(run.count).enumerate() {
                            match from.get(run.start.wrapping_add(k.wrapping_mul(run.stride))) {
                                Some(&value) => *to = value,
                                None => outside.store(true, Ordering::Relaxed),
                            }
                        }
                    }
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
        let backwards = |block: usize| {
            move |index: usize| {
                (index == block).then_some(StridedRun { start: 5, stride: 2usize.wrapping_neg(), count: 3 })
            }
        };
        let picked = tensor.gather_vec4([2, 2, 4], 2, backwards).unwrap();
        assert_eq!(
            picked.to_f64s().unwrap(),
            [5.0, 3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 3.0, 1.0, 0.0]
        );
        assert!(
            tensor.gather_vec4([4], 1, |_| |_| Some(StridedRun { start: 3, stride: 1, count: 4 })).is_err()
        );
    }
}
