//! Elements gathered along every axis at once, and elements set one by one, for any type.

use super::{Bytes, DType, Data, Element, Owned, Tensor, allocate, element_count, index, pool, zeros};
use crate::error::{Error, Result};
use crate::threads::chunks;
use std::sync::Arc;

impl Tensor {
    /// The element at each coordinate is this tensor's at `sources[axis][coordinate]` along every axis, for
    /// any type; where one of them is `None` it is `fill`'s, of the same type, or the type's zero.
    ///
    /// Errors if a source lies outside, there isn't a list for each axis, or `fill` isn't one element.
    pub fn gather_axes(&self, sources: &[Vec<Option<usize>>], fill: Option<&Tensor>) -> Result<Self> {
        let inside =
            |(list, &size): (&Vec<Option<usize>>, &usize)| list.iter().flatten().all(|&at| at < size);
        if sources.len() != self.rank()
            || !sources.iter().zip(&self.shape).all(inside)
            || fill.is_some_and(|fill| fill.dtype != self.dtype || fill.len() != 1)
        {
            return Err(Error::internal("an element was gathered from outside its tensor"));
        }
        let shape: Vec<usize> = sources.iter().map(Vec::len).collect();
        let count = element_count(&shape)?;
        let Some((last, outer)) = sources.split_last() else { return Ok(self.clone()) };
        if count == 0 {
            return self.pick(shape, |_| None);
        }
        let own = index::strides(&self.shape);
        let row_of = |mut row: usize| {
            let mut at = 0;
            for (list, stride) in outer.iter().zip(&own).rev() {
                at += list[row % list.len()]? * stride;
                row /= list.len();
            }
            Some(at)
        };
        if self.dtype == DType::String {
            let pool = fill.map_or_else(|| Ok(self.clone()), |fill| Self::chain(&[self, fill]))?;
            let other = fill.map(|_| self.len());
            return pool.pick(shape, |index| {
                let at = row_of(index / last.len()).zip(last[index % last.len()]);
                at.map(|(row, at)| row + at).or(other)
            });
        }
        let rows = Rows { bytes: self.bytes(), fill: fill.map(Tensor::bytes), last, row_of };
        let data = match self.dtype.size() {
            _ if self.dtype == DType::F32 => {
                let mut to = pool::unset(count)?;
                rows.gather::<f32>(&mut to)?;
                return Self::floats(shape, to);
            }
            8 => rows.gathered::<u64>(count)?,
            4 => rows.gathered::<u32>(count)?,
            2 => rows.gathered::<u16>(count)?,
            _ => rows.gathered::<u8>(count)?,
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

/// Rows that are gathered from others, each along its one axis.
struct Rows<'a, F> {
    bytes: &'a [u8],
    fill: Option<&'a [u8]>,
    last: &'a [Option<usize>],
    row_of: F,
}

impl<F: Fn(usize) -> Option<usize> + Sync> Rows<'_, F> {
    fn gathered<T: Element>(&self, count: usize) -> Result<Arc<dyn Bytes>> {
        let mut to: Vec<T> = zeros(count)?;
        self.gather(&mut to)?;
        Ok(Arc::new(Owned(to)))
    }

    fn gather<T: Element>(&self, to: &mut [T]) -> Result<()> {
        let unaligned = |_| Error::internal("elements are not aligned");
        let from: &[T] = bytemuck::try_cast_slice(self.bytes).map_err(unaligned)?;
        let fill = self.fill.map(bytemuck::try_cast_slice::<u8, T>).transpose().map_err(unaligned)?;
        let fill = fill.and_then(|fill| fill.first().copied()).unwrap_or_default();
        let length = self.last.len().max(1);
        // Neighbours that come from neighbours are copied together: (to, from, count).
        let mut runs: Vec<(usize, usize, usize)> = vec![];
        for (at, source) in self.last.iter().enumerate() {
            let Some(source) = *source else { continue };
            match runs.last_mut() {
                Some((to, from, count)) if *to + *count == at && *from + *count == source => *count += 1,
                _ => runs.push((at, source, 1)),
            }
        }
        let whole = runs.iter().map(|run| run.2).sum::<usize>() == length;
        let at_once = (1usize << 14).div_ceil(length);
        chunks(to, at_once * length, |chunk, to| {
            for (row, to) in to.chunks_exact_mut(length).enumerate() {
                let Some(row) = (self.row_of)(chunk * at_once + row) else {
                    to.fill(fill);
                    continue;
                };
                let from = &from[row..];
                if runs.len() * 4 > length {
                    to.iter_mut().zip(self.last).for_each(|(to, at)| *to = at.map_or(fill, |at| from[at]));
                    continue;
                }
                if !whole {
                    to.fill(fill);
                }
                for &(start, source, count) in &runs {
                    to[start..][..count].copy_from_slice(&from[source..][..count]);
                }
            }
        });
        Ok(())
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
