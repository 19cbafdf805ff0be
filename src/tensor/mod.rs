//! Host tensors: a type, a shape and shared, immutable, row-major elements.

mod convert;
mod dtype;
mod fours;
mod half_store;
#[doc(hidden)]
pub mod index;
mod moves;
#[doc(hidden)]
pub mod pool;

#[doc(hidden)]
pub use convert::Real;
pub use convert::cast;
pub use dtype::{Boolean, DType, Element};
#[doc(hidden)]
pub use fours::StridedRun;
#[doc(hidden)]
pub use half_store::{count_saturated, round_f16, to_f16};

use crate::error::{Error, Result};
use crate::threads::try_chunks;
use std::fmt;
use std::sync::Arc;

/// Bytes that a tensor shares: a vector of its elements, or a part of a mapped file.
trait Bytes: Send + Sync {
    fn bytes(&self) -> &[u8];
    /// Takes the elements out where they may be used again.
    fn take(&mut self) -> Option<pool::Floats> {
        None
    }
}

struct Owned<T>(Vec<T>);
impl<T: Element> Bytes for Owned<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Bytes of elements of another type, aligned for it.
struct Raw(Vec<u8>);
impl Bytes for Raw {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Bytes for pool::Floats {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
    fn take(&mut self) -> Option<pool::Floats> {
        Some(std::mem::take(self))
    }
}

struct Mapped {
    map: Arc<memmap2::Mmap>,
    start: usize,
    end: usize,
}
impl Bytes for Mapped {
    fn bytes(&self) -> &[u8] {
        self.map.get(self.start..self.end).unwrap_or_default()
    }
}

#[derive(Clone)]
enum Data {
    Bytes(Arc<dyn Bytes>),
    Strings(Arc<[String]>),
}

/// An n-dimensional array on the host. Cloning shares the elements.
///
/// ```
/// use sardonyx::{DType, Tensor};
/// use sardonyx::tensor::cast;
///
/// # fn main() -> sardonyx::Result<()> {
/// let tensor = Tensor::new([2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!((tensor.dtype(), tensor.shape()), (DType::F32, [2, 3].as_slice()));
/// assert_eq!(tensor.as_slice::<f32>()?[3], 4.0);
/// let halves = cast(&tensor, DType::F16, true)?;
/// assert_eq!(halves.to_f64s()?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

/// The number of elements of a shape; an error where it overflows or no machine could hold it.
pub fn element_count(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size))
        .filter(|&count| count <= isize::MAX as usize / 32)
        .ok_or_else(|| {
            Error::memory(format!("a tensor of shape {shape:?} has more elements than memory could hold"))
        })
}

/// An empty vector with room for `count` elements, or an error where the allocator refuses.
pub fn allocate<T>(count: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(count).map_err(|_| {
        Error::memory(format!("{count} elements of {} bytes could not be allocated", size_of::<T>()))
    })?;
    Ok(vector)
}

/// A vector of `count` default elements, or an error where the allocator refuses.
pub fn zeros<T: Element>(count: usize) -> Result<Vec<T>> {
    let mut vector = allocate(count)?;
    vector.resize(count, T::default());
    Ok(vector)
}

impl Tensor {
    /// A tensor over elements in row-major order. Errors if their number doesn't fit the shape.
    pub fn new<T: Element>(shape: impl Into<Vec<usize>>, elements: Vec<T>) -> Result<Self> {
        let shape = shape.into();
        if element_count(&shape)? != elements.len() {
            return Err(Error::input(format!("{} elements don't fill the shape {shape:?}", elements.len())));
        }
        Ok(Self { dtype: T::DTYPE, shape, data: Data::Bytes(Arc::new(Owned(elements))) })
    }

    /// A tensor over float32 elements in row-major order. Errors if their number doesn't fit the shape.
    pub fn floats(shape: impl Into<Vec<usize>>, elements: pool::Floats) -> Result<Self> {
        let shape = shape.into();
        if element_count(&shape)? != elements.len() {
            return Err(Error::input(format!("{} elements don't fill the shape {shape:?}", elements.len())));
        }
        Ok(Self { dtype: DType::F32, shape, data: Data::Bytes(Arc::new(elements)) })
    }

    /// A tensor of strings.
    pub fn strings(shape: impl Into<Vec<usize>>, elements: Vec<String>) -> Result<Self> {
        let shape = shape.into();
        if element_count(&shape)? != elements.len() {
            return Err(Error::input(format!("{} strings don't fill the shape {shape:?}", elements.len())));
        }
        Ok(Self { dtype: DType::String, shape, data: Data::Strings(elements.into()) })
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { dtype: T::DTYPE, shape: vec![], data: Data::Bytes(Arc::new(Owned(vec![value]))) }
    }

    /// A one-dimensional int64 tensor: the form in which ONNX passes shapes, axes and pads.
    pub fn int64s(values: impl IntoIterator<Item = i64>) -> Self {
        let values: Vec<i64> = values.into_iter().collect();
        Self { dtype: DType::I64, shape: vec![values.len()], data: Data::Bytes(Arc::new(Owned(values))) }
    }

    /// A tensor of any fixed-size type from its bytes, little-endian, whole bytes an element.
    pub fn from_bytes(dtype: DType, shape: impl Into<Vec<usize>>, bytes: &[u8]) -> Result<Self> {
        fn owned<T: Element>(bytes: &[u8]) -> Result<Arc<dyn Bytes>> {
            let mut elements: Vec<T> = zeros(bytes.len() / size_of::<T>())?;
            bytemuck::cast_slice_mut(&mut elements).copy_from_slice(bytes);
            Ok(Arc::new(Owned(elements)))
        }
        let shape = shape.into();
        if dtype == DType::String {
            return Err(Error::internal("strings have no fixed-size bytes"));
        }
        let wanted = element_count(&shape)?.saturating_mul(dtype.size());
        if wanted != bytes.len() {
            return Err(Error::input(format!(
                "a {dtype} tensor of shape {shape:?} takes {wanted} bytes; found {}",
                bytes.len()
            )));
        }
        let data = match dtype.size() {
            8 => owned::<u64>(bytes)?,
            4 => owned::<u32>(bytes)?,
            2 => owned::<u16>(bytes)?,
            _ => owned::<u8>(bytes)?,
        };
        Ok(Self { dtype, shape, data: Data::Bytes(data) })
    }

    /// The same from bytes that are no longer needed: they are kept as they are where the allocator aligned
    /// them for the type.
    pub fn from_byte_vector(dtype: DType, shape: impl Into<Vec<usize>>, bytes: Vec<u8>) -> Result<Self> {
        let shape = shape.into();
        let fits =
            dtype != DType::String && element_count(&shape)?.saturating_mul(dtype.size()) == bytes.len();
        if fits && (bytes.as_ptr() as usize).is_multiple_of(dtype.size()) {
            return Ok(Self { dtype, shape, data: Data::Bytes(Arc::new(Raw(bytes))) });
        }
        Self::from_bytes(dtype, shape, &bytes)
    }

    /// A tensor over a part of a mapped file; copied only where the file's offset isn't aligned for the type.
    pub fn mapped(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        map: Arc<memmap2::Mmap>,
        start: usize,
    ) -> Result<Self> {
        let shape = shape.into();
        let bytes = element_count(&shape)?.saturating_mul(dtype.size());
        let end = start.saturating_add(bytes);
        let part = map.get(start..end).ok_or_else(|| {
            Error::input(format!("bytes {start}..{end} lie outside the file of {} bytes", map.len()))
        })?;
        if !(part.as_ptr() as usize).is_multiple_of(dtype.size()) {
            return Self::from_bytes(dtype, shape, part);
        }
        Ok(Self { dtype, shape, data: Data::Bytes(Arc::new(Mapped { map, start, end })) })
    }

    /// Gives the elements' memory to the thread's [`pool::Pool`], if no other tensor shares it.
    pub fn recycle(mut self) {
        if let Data::Bytes(bytes) = &mut self.data
            && let Some(floats) = Arc::get_mut(bytes).and_then(|bytes| bytes.take())
        {
            pool::recycle(floats);
        }
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// The sizes of the dimensions, the outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Bytes(bytes) => bytes.bytes().len() / self.dtype.size(),
            Data::Strings(strings) => strings.len(),
        }
    }
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of the elements; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(bytes) => bytes.bytes(),
            Data::Strings(_) => &[],
        }
    }
    /// Tells shared elements apart: two clones have the same identity, and no two live tensors with other
    /// elements do.
    pub fn identity(&self) -> usize {
        match &self.data {
            Data::Bytes(bytes) => Arc::as_ptr(bytes) as *const u8 as usize,
            Data::Strings(strings) => Arc::as_ptr(strings) as *const u8 as usize,
        }
    }

    /// The elements, if the tensor is of type `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        if self.dtype != T::DTYPE {
            return Err(Error::input(format!(
                "found a {} tensor where {} was expected",
                self.dtype,
                T::DTYPE
            )));
        }
        bytemuck::try_cast_slice(self.bytes())
            .map_err(|problem| Error::internal(format!("elements are not aligned: {problem}")))
    }
    /// The elements, if they are strings.
    pub fn as_strings(&self) -> Result<&[String]> {
        match &self.data {
            Data::Strings(strings) => Ok(strings),
            Data::Bytes(_) => {
                Err(Error::input(format!("found a {} tensor where strings were expected", self.dtype)))
            }
        }
    }
    /// The values of an int64, int32 or other integer (or bool) tensor: shapes, axes, indices. uint64 above
    /// int64's range is an error.
    pub fn to_i64s(&self) -> Result<Vec<i64>> {
        convert::to_i64s(self)
    }
    /// The values of any integer or bool tensor, all of uint64's among them.
    pub fn to_i128s(&self) -> Result<Vec<i128>> {
        convert::to_i128s(self)
    }
    /// The values of any number or bool tensor, widened.
    pub fn to_f64s(&self) -> Result<Vec<f64>> {
        convert::to_f64s(self)
    }

    /// The same elements in another shape of as many elements.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        let shape = shape.into();
        if element_count(&shape)? != self.len() {
            return Err(Error::input(format!(
                "{} elements of shape {:?} don't fill the shape {shape:?}",
                self.len(),
                self.shape
            )));
        }
        Ok(Self { dtype: self.dtype, shape, data: self.data.clone() })
    }

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

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)?;
        if self.len() <= 8 {
            match &self.data {
                Data::Strings(strings) => write!(f, " {strings:?}")?,
                Data::Bytes(_) if self.dtype.is_integer() || self.dtype == DType::Bool => {
                    write!(f, " {:?}", self.to_i64s().unwrap_or_default())?
                }
                Data::Bytes(_) => write!(f, " {:?}", self.to_f64s().unwrap_or_default())?,
            }
        }
        Ok(())
    }
}

impl PartialEq for Tensor {
    /// Same type, shape and bytes: NaN equals itself, 0 and −0 differ.
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype
            && self.shape == other.shape
            && match (&self.data, &other.data) {
                (Data::Strings(a), Data::Strings(b)) => a == b,
                _ => self.bytes() == other.bytes(),
            }
    }
}
