//! Host tensors: a type, a shape and shared, immutable, row-major elements.

mod axes;
mod convert;
mod dtype;
mod fours;
mod gather;
mod half_store;
#[doc(hidden)]
pub mod index;
mod moves;
#[doc(hidden)]
pub mod pool;
mod small_floats;
mod widened;

#[doc(hidden)]
pub use convert::Real;
pub use convert::cast;
pub use dtype::{Boolean, DType, Element};
#[doc(hidden)]
pub use fours::StridedRun;
#[doc(hidden)]
pub use half_store::{count_saturated, round_f16, round_to_odd, to_f16};

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Bytes that a tensor shares: a vector of its elements, or a part of a mapped file.
trait Bytes: Send + Sync {
    fn bytes(&self) -> &[u8];
    /// Takes the elements out where they may be used again.
    fn take(&mut self) -> Option<pool::Floats> {
        None
    }
    /// Lets the system have the memory where the elements can be read again.
    fn release(&self) {}
    /// What the elements are made of, where they are made when they are read.
    fn narrow(&self) -> Option<&Tensor> {
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
    #[cfg(unix)]
    fn release(&self) {
        // SAFETY: the map is of a file and only read, so that what is dropped is read from there again.
        #[allow(unsafe_code)]
        let released = unsafe {
            let (advice, length) = (memmap2::UncheckedAdvice::DontNeed, self.end.saturating_sub(self.start));
            self.map.unchecked_advise_range(advice, self.start, length)
        };
        // It is advice: where the system doesn't take it, memory stays in use.
        drop(released);
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

    /// Lets the system have the memory of elements that lie in a mapped file, once others were made of them:
    /// they are read from the file again when they are needed again.
    pub(crate) fn release(&self) {
        if let Data::Bytes(bytes) = &self.data {
            bytes.release();
        }
    }

    /// Gives the elements' memory to the thread's [`pool::Pool`], if no other tensor shares it.
    pub fn recycle(mut self) {
        if let Data::Bytes(bytes) = &mut self.data
            && let Some(floats) = Arc::get_mut(bytes).and_then(|bytes| bytes.take())
        {
            pool::recycle(floats);
        }
    }

    /// Whether another tensor shares the elements' memory.
    pub(crate) fn is_shared(&self) -> bool {
        match &self.data {
            Data::Bytes(bytes) => Arc::strong_count(bytes) > 1,
            Data::Strings(strings) => Arc::strong_count(strings) > 1,
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
            // Not by the bytes: they may be there only once somebody reads them.
            Data::Bytes(_) => self.shape.iter().product(),
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
    /// numbers do.
    pub fn identity(&self) -> usize {
        match &self.data {
            Data::Bytes(bytes) => match bytes.narrow() {
                Some(narrow) => narrow.identity(),
                None => Arc::as_ptr(bytes) as *const u8 as usize,
            },
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
        let bytes = self.bytes();
        if bytes.is_empty() && !self.is_empty() {
            return Err(Error::memory("no memory for a tensor's elements in float32"));
        }
        bytemuck::try_cast_slice(bytes)
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
