//! Elements gathered along every axis at once, and elements set one by one, for any type.

use super::{Bytes, DType, Data, Element, Owned, Tensor, allocate, element_count, index, pool, zeros};
use crate::error::{Error, Result};
use crate::threads::chunks;
use std::sync::Arc;

impl Tensor {
    /// The element at each coordinate is this tensor's at `sources[axis][coordinate]` along every axis, for
    /// any type. `None` is not among them: each source is an element.
    ///
    /// Errors if a source lies outside, or there isn't a list for each axis.
    pub fn gather_axes(&self, sources: &[Vec<usize>]) -> Result<Self> {
        let inside = |(list, &size): (&Vec<usize>, &usize)| list.iter().all(|&at| at < size);
        if sources.len() != self.rank() || !sources.iter().zip(&self.shape).all(inside) {
            return Err(Error::internal("an element was gathered from outside its tensor"));
        }
        fn gathered<T: Element>(
            from: &[u8],
            rows: impl Fn(usize) -> usize + Sync,
            last: &[usize],
            to: &mut [T],
        ) -> Result<()> {
            let from: &[T] =
                bytemuck::try_cast_slice(from).map_err(|_| Error::internal("elements are not aligned"))?;
            let at_once = (1usize << 14).div_ceil(last.len().max(1));
            chunks(to, at_once * last.len(), |chunk, to| {
                for (row, to) in to.chunks_exact_mut(last.len()).enumerate() {
                    let from = &from[rows(chunk * at_once + row)..];
                    to.iter_mut().zip(last).for_each(|(to, &at)| *to = from[at]);
                }
            });
            Ok(())
        }
        let shape: Vec<usize> = sources.iter().map(Vec::len).collect();
        let count = element_count(&shape)?;
        let Some((last, outer)) = sources.split_last() else { return Ok(self.clone()) };
        let own = index::strides(&self.shape);
        let rows = |mut row: usize| {
            let mut at = 0;
            for (list, stride) in outer.iter().zip(&own).rev() {
                at += list[row % list.len()] * stride;
                row /= list.len();
            }
            at
        };
        if count == 0 {
            return self.pick(shape, |_| None);
        }
        let data = match (&self.data, self.dtype.size()) {
            (Data::Strings(_), _) => {
                return self.pick(shape, |index| Some(rows(index / last.len()) + last[index % last.len()]));
            }
            (Data::Bytes(bytes), _) if self.dtype == DType::F32 => {
                let mut to = pool::unset(count)?;
                gathered::<f32>(bytes.bytes(), rows, last, &mut to)?;
                return Self::floats(shape, to);
            }
            (Data::Bytes(bytes), 8) => {
                let mut to: Vec<u64> = zeros(count)?;
                gathered(bytes.bytes(), rows, last, &mut to)?;
                Arc::new(Owned(to)) as Arc<dyn Bytes>
            }
            (Data::Bytes(bytes), 4) => {
                let mut to: Vec<u32> = zeros(count)?;
                gathered(bytes.bytes(), rows, last, &mut to)?;
                Arc::new(Owned(to))
            }
            (Data::Bytes(bytes), 2) => {
                let mut to: Vec<u16> = zeros(count)?;
                gathered(bytes.bytes(), rows, last, &mut to)?;
                Arc::new(Owned(to))
            }
            (Data::Bytes(bytes), _) => {
                let mut to: Vec<u8> = zeros(count)?;
                gathered(bytes.bytes(), rows, last, &mut to)?;
                Arc::new(Owned(to))
            }
        };
        Ok(Self { dtype: self.dtype, shape, data: Data::Bytes(data) })
    }

    /// The same as [`Tensor::with_elements`], in this tensor's own memory where nobody else holds it.
    pub fn set_elements(mut self, targets: &[usize], updates: &Tensor) -> Result<Self> {
        let own = match &mut self.data {
            Data::Bytes(bytes) if self.dtype == DType::F32 && updates.dtype == DType::F32 => {
                Arc::get_mut(bytes).and_then(|bytes| bytes.take())
            }
            _ => None,
        };
        let Some(mut own) = own else { return self.with_elements(targets, updates) };
        if targets.len() != updates.len() {
            return Err(Error::internal("updates don't fit what they are set in"));
        }
        set(&mut own, updates.as_slice()?, targets)?;
        Self::floats(self.shape, own)
    }

    /// This tensor with the elements at `targets` replaced by those of `updates`, of the same type, in order.
    ///
    /// Errors if a target lies outside, or there isn't an update for each.
    pub fn with_elements(&self, targets: &[usize], updates: &Tensor) -> Result<Self> {
        fn copied<T: Element>(all: &[u8], updates: &[u8], targets: &[usize]) -> Result<Vec<T>> {
            let unaligned = |_| Error::internal("elements are not aligned");
            let updates: &[T] = bytemuck::try_cast_slice(updates).map_err(unaligned)?;
            let from: &[T] = bytemuck::try_cast_slice(all).map_err(unaligned)?;
            let mut to: Vec<T> = allocate(from.len())?;
            to.extend_from_slice(from);
            set(&mut to, updates, targets)?;
            Ok(to)
        }
        if self.dtype != updates.dtype || targets.len() != updates.len() {
            return Err(Error::internal("updates don't fit what they are set in"));
        }
        let (all, new) = (self.bytes(), updates.bytes());
        let data: Arc<dyn Bytes> = match self.dtype.size() {
            _ if self.dtype == DType::String => {
                let mut list = self.as_strings()?.to_vec();
                for (&at, update) in targets.iter().zip(updates.as_strings()?) {
                    let to = list.get_mut(at);
                    *to.ok_or_else(|| Error::internal("an element was set outside its tensor"))? =
                        update.clone();
                }
                return Self::strings(self.shape.clone(), list);
            }
            // In memory that the last run has used, as a cache is written anew for each token.
            _ if self.dtype == DType::F32 => {
                let mut to = pool::unset(self.len())?;
                to.copy_from_slice(self.as_slice()?);
                set(&mut to, updates.as_slice()?, targets)?;
                return Self::floats(self.shape.clone(), to);
            }
            8 => Arc::new(Owned(copied::<u64>(all, new, targets)?)),
            4 => Arc::new(Owned(copied::<u32>(all, new, targets)?)),
            2 => Arc::new(Owned(copied::<u16>(all, new, targets)?)),
            _ => Arc::new(Owned(copied::<u8>(all, new, targets)?)),
        };
        Ok(Self { dtype: self.dtype, shape: self.shape.clone(), data: Data::Bytes(data) })
    }
}

/// Sets the elements at `targets` to those of `updates`, in order.
fn set<T: Element>(to: &mut [T], updates: &[T], targets: &[usize]) -> Result<()> {
    for (&at, &update) in targets.iter().zip(updates) {
        let to = to.get_mut(at);
        *to.ok_or_else(|| Error::internal("an element was set outside its tensor"))? = update;
    }
    Ok(())
}
