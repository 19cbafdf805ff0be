//! Tensors made of the elements of others, of any type: one by one, in runs, by strides, one tensor after the
//! other.

use super::{Bytes, DType, Data, Element, Owned, Tensor, allocate, element_count, index, moves, pool, zeros};
use crate::error::{Error, Result};
use crate::threads::try_chunks;
use std::sync::Arc;

impl Tensor {
    /// A new tensor whose element `i` is this one's element `source(i)`, for any type. `None` gives the
    /// type's zero.
    ///
    /// This is what data movement on the CPU is made of. Errors if a source lies outside.
    pub fn pick(
        &self,
        shape: impl Into<Vec<usize>>,
        mut source: impl FnMut(usize) -> Option<usize>,
    ) -> Result<Self> {
        fn picked<T: Element>(
            from: &[u8],
            count: usize,
            source: &mut dyn FnMut(usize) -> Option<usize>,
        ) -> Result<Arc<dyn Bytes>> {
            let from: &[T] =
                bytemuck::try_cast_slice(from).map_err(|_| Error::internal("elements are not aligned"))?;
            let mut to = allocate(count)?;
            for index in 0..count {
                to.push(match source(index) {
                    Some(at) => *from
                        .get(at)
                        .ok_or_else(|| Error::internal("an element was picked from outside its tensor"))?,
                    None => T::default(),
                });
            }
            Ok(Arc::new(Owned(to)))
        }
        let shape = shape.into();
        let count = element_count(&shape)?;
        let data = match &self.data {
            Data::Strings(from) => {
                let mut to = allocate(count)?;
                for index in 0..count {
                    to.push(match source(index) {
                        Some(at) => from
                            .get(at)
                            .ok_or_else(|| Error::internal("an element was picked from outside its tensor"))?
                            .clone(),
                        None => String::new(),
                    });
                }
                Data::Strings(to.into())
            }
            Data::Bytes(bytes) => Data::Bytes(match self.dtype.size() {
                8 => picked::<u64>(bytes.bytes(), count, &mut source)?,
                4 => picked::<u32>(bytes.bytes(), count, &mut source)?,
                2 => picked::<u16>(bytes.bytes(), count, &mut source)?,
                _ => picked::<u8>(bytes.bytes(), count, &mut source)?,
            }),
        };
        Ok(Self { dtype: self.dtype, shape, data })
    }

    /// Runs of `length` elements one after the other, in the shape that they fill: run `i` begins at element
    /// `start` of tensor `part`, `(part, start) = source(i)`. All parts are of one type. This is Concat and
    /// Gather where what they move is contiguous.
    ///
    /// Errors if a run lies outside its tensor.
    pub fn runs(
        parts: &[&Tensor],
        shape: impl Into<Vec<usize>>,
        length: usize,
        source: impl Fn(usize) -> (usize, usize) + Sync,
    ) -> Result<Self> {
        let shape = shape.into();
        let count = element_count(&shape)?;
        let Some(first) = parts.first() else { return Err(Error::internal("runs of no tensor")) };
        let size = first.dtype.size();
        if first.dtype == DType::String
            || parts.iter().any(|part| part.dtype != first.dtype)
            || length == 0
            || count % length != 0
        {
            return Err(Error::internal("runs of tensors that don't fit together"));
        }
        // A thread takes a few pages of runs at once.
        let at_once = (1usize << 16).div_ceil(length.saturating_mul(size)).max(1);
        let fill = |to: &mut [u8]| -> Result<()> {
            try_chunks(to, at_once * length * size, |chunk, to| {
                for (index, to) in to.chunks_exact_mut(length * size).enumerate() {
                    let (part, start) = source(chunk * at_once + index);
                    let from = parts
                        .get(part)
                        .and_then(|part| part.bytes().get(start * size..(start + length) * size));
                    to.copy_from_slice(from.ok_or_else(|| Error::internal("a run lies outside its tensor"))?);
                }
                Ok(())
            })
        };
        if first.dtype == DType::F32 {
            let mut to = pool::unset(count)?;
            fill(bytemuck::cast_slice_mut(&mut to))?;
            return Self::floats(shape, to);
        }
        let mut bytes = zeros(count.saturating_mul(size))?;
        fill(&mut bytes)?;
        Self::from_bytes(first.dtype, shape, &bytes)
    }

    /// What a view of these elements shows, densely: the element at each coordinate of `shape` lies at
    /// `offset + Σ coordinate · stride`.
    ///
    /// Errors if one lies outside.
    pub fn strided(&self, shape: impl Into<Vec<usize>>, strides: &[usize], offset: usize) -> Result<Self> {
        fn copied<T: Element>(
            from: &[u8],
            shape: &[usize],
            strides: &[usize],
            offset: usize,
            to: &mut [T],
        ) -> Result<()> {
            let from: &[T] =
                bytemuck::try_cast_slice(from).map_err(|_| Error::internal("elements are not aligned"))?;
            let from =
                from.get(offset..).ok_or_else(|| Error::internal("a view begins outside its tensor"))?;
            moves::strided(from, shape, strides, to)
        }
        fn owned<T: Element>(
            from: &[u8],
            shape: &[usize],
            strides: &[usize],
            offset: usize,
            count: usize,
        ) -> Result<Arc<dyn Bytes>> {
            let mut to: Vec<T> = zeros(count)?;
            copied(from, shape, strides, offset, &mut to)?;
            Ok(Arc::new(Owned(to)))
        }
        let shape = shape.into();
        let count = element_count(&shape)?;
        let data = match (&self.data, self.dtype.size()) {
            (Data::Strings(_), _) => {
                let mut walk = index::Odometer::new(&shape, [strides]);
                return self.pick(shape.clone(), |_| walk.next().map(|[at]| offset + at));
            }
            (Data::Bytes(bytes), _) if self.dtype == DType::F32 => {
                let mut to = pool::unset(count)?;
                copied::<f32>(bytes.bytes(), &shape, strides, offset, &mut to)?;
                Arc::new(to)
            }
            (Data::Bytes(bytes), 8) => owned::<u64>(bytes.bytes(), &shape, strides, offset, count)?,
            (Data::Bytes(bytes), 4) => owned::<u32>(bytes.bytes(), &shape, strides, offset, count)?,
            (Data::Bytes(bytes), 2) => owned::<u16>(bytes.bytes(), &shape, strides, offset, count)?,
            (Data::Bytes(bytes), _) => owned::<u8>(bytes.bytes(), &shape, strides, offset, count)?,
        };
        Ok(Self { dtype: self.dtype, shape, data: Data::Bytes(data) })
    }

    /// Several tensors of one type, their elements one after the other: the pool that a Concat or Scatter
    /// picks from.
    pub fn chain(parts: &[&Tensor]) -> Result<Self> {
        let dtype = parts.first().map_or(DType::F32, |part| part.dtype);
        if let Some(other) = parts.iter().find(|part| part.dtype != dtype) {
            return Err(Error::input(format!("found {dtype} and {} tensors together", other.dtype)));
        }
        let count = parts.iter().map(|part| part.len()).sum::<usize>();
        if dtype == DType::String {
            let mut all = allocate(count)?;
            for part in parts {
                all.extend_from_slice(part.as_strings()?);
            }
            return Self::strings([count], all);
        }
        let mut bytes = allocate(count.saturating_mul(dtype.size()))?;
        for part in parts {
            bytes.extend_from_slice(part.bytes());
        }
        Self::from_bytes(dtype, [count], &bytes)
    }
}
