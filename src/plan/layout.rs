//! How a tensor lies in a buffer: storage types, layouts, views, and the host's half of the conversion.

use super::{PlaceId, Unsupported};
use crate::error::{Error, Result};
use crate::tensor::index::{Odometer, strides};
use crate::tensor::{Boolean, DType, Tensor, cast, element_count, to_f16, zeros};
use half::f16;
use serde::{Deserialize, Serialize};

/// How elements are stored on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Storage {
    F32,
    /// `f16` in the shader (SHADER_F16).
    F16,
    /// f16 as halves of a u32, through `unpack2x16float`: works on every adapter. The same bytes as `F16`.
    F16Packed,
    /// int32; also bool and the integers of 2 to 16 bits, widened.
    I32,
    U32,
    /// int64 as two u32, low word first.
    I64,
}

impl Storage {
    pub fn element_bytes(self) -> usize {
        match self {
            Storage::F32 | Storage::I32 | Storage::U32 => 4,
            Storage::F16 | Storage::F16Packed => 2,
            Storage::I64 => 8,
        }
    }
    pub fn is_float(self) -> bool {
        matches!(self, Storage::F32 | Storage::F16 | Storage::F16Packed)
    }
    /// The unit of rounding of a store, relative.
    pub fn epsilon(self) -> f64 {
        match self {
            Storage::F32 => f32::EPSILON as f64,
            Storage::F16 | Storage::F16Packed => f16::EPSILON.to_f64(),
            _ => 0.0,
        }
    }
}

/// The order of a tensor's elements in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Layout {
    /// Row-major, nothing padded.
    Dense,
    /// Row-major, the innermost dimension padded to a multiple of 4.
    Rows4,
    /// Dimension 1 (channels) innermost and padded to a multiple of 4: `[N, spatial…, C]`. Rank 3 and up.
    ChannelsLast4,
}

impl Layout {
    /// Dimensions from outermost to innermost: which axis of the tensor each is, and its size in the buffer.
    pub fn physical(self, shape: &[usize]) -> Vec<(usize, usize)> {
        let mut dims: Vec<(usize, usize)> = shape.iter().copied().enumerate().collect();
        if self == Layout::ChannelsLast4 && dims.len() > 2 {
            let channels = dims.remove(1);
            dims.push(channels);
        }
        if self != Layout::Dense
            && let Some(inner) = dims.last_mut()
        {
            inner.1 = inner.1.next_multiple_of(4);
        }
        dims
    }
    /// The stride of each axis of the tensor, in elements.
    pub fn strides(self, shape: &[usize]) -> Vec<usize> {
        let physical = self.physical(shape);
        let sizes: Vec<usize> = physical.iter().map(|dim| dim.1).collect();
        let mut result = vec![0; shape.len()];
        for ((axis, _), stride) in physical.iter().zip(strides(&sizes)) {
            result[*axis] = stride;
        }
        result
    }
    /// Elements in the buffer, padding included. The planner has checked that they don't overflow.
    pub fn elements(self, shape: &[usize]) -> usize {
        self.physical(shape).iter().fold(1usize, |count, dim| count.saturating_mul(dim.1))
    }
    /// The axis that lies innermost, and its size: what a store masks by. A scalar has size 1.
    pub fn inner(self, shape: &[usize]) -> usize {
        self.physical(shape).last().map_or(1, |&(axis, _)| shape[axis])
    }
}

/// What an operator sees of a value on the device: coordinate `x` of it lies at element `offset + Σ
/// x[i]·strides[i]` of a place.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub place: PlaceId,
    pub shape: Vec<usize>,
    /// In elements; 0 repeats (broadcasting), negative runs backwards.
    pub strides: Vec<isize>,
    pub offset: usize,
}

impl View {
    /// A whole place.
    pub fn whole(place: PlaceId, layout: Layout, shape: &[usize]) -> Self {
        Self { place, shape: shape.to_vec(), strides: signed(&layout.strides(shape)), offset: 0 }
    }
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether the elements lie as in `layout`, from the start of the place.
    pub fn is(&self, layout: Layout) -> bool {
        let wanted = signed(&layout.strides(&self.shape));
        // The stride of a dimension of size 1 is never used.
        self.offset == 0
            && self
                .shape
                .iter()
                .zip(&self.strides)
                .zip(&wanted)
                .all(|((&size, have), want)| size <= 1 || have == want)
    }
    /// The view with its axes in another order.
    pub fn permuted(&self, order: &[usize]) -> Self {
        Self {
            place: self.place,
            shape: order.iter().map(|&axis| self.shape[axis]).collect(),
            strides: order.iter().map(|&axis| self.strides[axis]).collect(),
            offset: self.offset,
        }
    }
    /// The view broadcast to a larger shape.
    pub fn broadcast(&self, shape: &[usize]) -> Self {
        Self {
            place: self.place,
            shape: shape.to_vec(),
            strides: crate::tensor::index::broadcast_strides(&self.shape, &self.strides, shape),
            offset: self.offset,
        }
    }
    /// The view in another shape of as many elements, if strides can express it without moving anything.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        // Kernels are not asked to read nothing: `reshaped_or` says so.
        if self.count() == 0 || self.count() != shape.iter().product::<usize>() {
            return None;
        }
        // Runs of dimensions that lie contiguously within each other, from the outermost: (size, stride of
        // the innermost).
        let mut runs: Vec<(usize, isize)> = vec![];
        for (&size, &stride) in self.shape.iter().zip(&self.strides).filter(|(size, _)| **size != 1) {
            match runs.last_mut() {
                Some(run) if run.1 == size as isize * stride => *run = (run.0 * size, stride),
                _ => runs.push((size, stride)),
            }
        }
        // Each new dimension must come from within one run.
        let mut result = vec![0isize; shape.len()];
        let mut left = runs.pop().unwrap_or((1, 1));
        let mut stride = left.1;
        for axis in (0..shape.len()).rev() {
            let size = shape[axis];
            if size == 1 {
                result[axis] = stride;
                continue;
            }
            if left.0 == 1 {
                left = runs.pop()?;
                stride = left.1;
            }
            if !left.0.is_multiple_of(size) {
                return None;
            }
            result[axis] = stride;
            left.0 /= size;
            stride *= size as isize;
        }
        (left.0 == 1 && runs.is_empty()).then(|| Self {
            place: self.place,
            shape: shape.to_vec(),
            strides: result,
            offset: self.offset,
        })
    }
    /// The view in another shape, or why there is none; `what` is what it is a view of.
    pub fn reshaped_or(&self, shape: &[usize], what: &str) -> Result<Self, Unsupported> {
        self.reshaped(shape).ok_or_else(|| {
            Unsupported::new(match self.count() {
                0 => format!("{what} without elements, of shape {:?}", self.shape),
                _ => format!("{what} not lying contiguously"),
            })
        })
    }
}

fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|&stride| stride as isize).collect()
}

/// A tensor's bytes where they already lie as on the device: what [`encode`] would copy.
pub fn as_encoded(tensor: &Tensor, layout: Layout, storage: Storage) -> Option<&[u8]> {
    let held = match storage {
        Storage::F32 => tensor.dtype() == DType::F32,
        Storage::F16 | Storage::F16Packed => tensor.dtype() == DType::F16,
        Storage::I32 => tensor.dtype() == DType::I32,
        Storage::U32 => tensor.dtype() == DType::U32,
        Storage::I64 => matches!(tensor.dtype(), DType::I64 | DType::U64),
    };
    let (bytes, shape) = (tensor.bytes(), tensor.shape());
    let dense = layout.elements(shape) == tensor.len() && layout.strides(shape) == strides(shape);
    (held && dense && !bytes.is_empty() && bytes.len() % 32 == 0).then_some(bytes)
}

/// A tensor's bytes as they lie on the device; padding is zero.
pub fn encode(tensor: &Tensor, layout: Layout, storage: Storage) -> Result<Vec<u8>> {
    let shape = tensor.shape();
    let total = layout.elements(shape);
    element_count(&[total])?;
    let order = layout.strides(shape);
    let dense = strides(shape);
    fn place<T: bytemuck::Pod + Default + Copy>(
        from: &[T],
        total: usize,
        shape: &[usize],
        order: &[usize],
        dense: &[usize],
    ) -> Vec<u8> {
        let padded = (total * size_of::<T>()).next_multiple_of(32).max(32);
        if total == from.len() && order == dense {
            let mut bytes = bytemuck::cast_slice(from).to_vec();
            bytes.resize(padded, 0);
            return bytes;
        }
        let mut to = vec![T::default(); padded / size_of::<T>()];
        for [source, target] in Odometer::new(shape, [dense, order]) {
            to[target] = from[source];
        }
        bytemuck::cast_slice(&to).to_vec()
    }
    let lay = |held: &Tensor| -> Result<Vec<u8>> {
        Ok(match storage {
            Storage::F32 => place(held.as_slice::<f32>()?, total, shape, &order, &dense),
            Storage::F16 | Storage::F16Packed => place(held.as_slice::<f16>()?, total, shape, &order, &dense),
            Storage::I32 => place(held.as_slice::<i32>()?, total, shape, &order, &dense),
            Storage::U32 => place(held.as_slice::<u32>()?, total, shape, &order, &dense),
            Storage::I64 => {
                place(bytemuck::cast_slice::<u8, u64>(held.bytes()), total, shape, &order, &dense)
            }
        })
    };
    match storage {
        Storage::F32 => lay(&cast(tensor, DType::F32, true)?),
        Storage::F16 | Storage::F16Packed if tensor.dtype() == DType::F16 => lay(tensor),
        Storage::F16 | Storage::F16Packed => {
            let wide = cast(tensor, DType::F32, true)?;
            lay(&Tensor::new(shape, wide.as_slice::<f32>()?.iter().map(|&x| to_f16(x)).collect::<Vec<_>>())?)
        }
        Storage::I32 => lay(&cast(tensor, DType::I32, true)?),
        Storage::U32 => lay(&cast(tensor, DType::U32, true)?),
        Storage::I64 if matches!(tensor.dtype(), DType::I64 | DType::U64) => lay(tensor),
        Storage::I64 => lay(&cast(tensor, DType::I64, true)?),
    }
}

/// A tensor of the declared type from its bytes on the device.
pub fn decode(
    bytes: &[u8],
    dtype: DType,
    shape: &[usize],
    layout: Layout,
    storage: Storage,
) -> Result<Tensor> {
    fn take<T: crate::tensor::Element>(bytes: &[u8], shape: &[usize], order: &[usize]) -> Result<Vec<T>> {
        let mut to: Vec<T> = zeros(element_count(shape)?)?;
        let dense = strides(shape);
        let out_of_range = || Error::internal("a buffer is shorter than its tensor");
        if order == dense {
            let part = bytes.get(..to.len() * size_of::<T>()).ok_or_else(out_of_range)?;
            bytemuck::cast_slice_mut::<T, u8>(&mut to).copy_from_slice(part);
            return Ok(to);
        }
        for [source, target] in Odometer::new(shape, [order, &dense]) {
            let at = source * size_of::<T>();
            to[target] =
                bytemuck::pod_read_unaligned(bytes.get(at..at + size_of::<T>()).ok_or_else(out_of_range)?);
        }
        Ok(to)
    }
    let order = layout.strides(shape);
    let held = match storage {
        Storage::F32 => Tensor::new(shape, take::<f32>(bytes, shape, &order)?)?,
        Storage::F16 | Storage::F16Packed => Tensor::new(shape, take::<f16>(bytes, shape, &order)?)?,
        Storage::U32 => Tensor::new(shape, take::<u32>(bytes, shape, &order)?)?,
        Storage::I64 if dtype == DType::U64 => Tensor::new(shape, take::<u64>(bytes, shape, &order)?)?,
        Storage::I64 => Tensor::new(shape, take::<i64>(bytes, shape, &order)?)?,
        Storage::I32 if dtype == DType::Bool => {
            return Tensor::new(
                shape,
                take::<i32>(bytes, shape, &order)?
                    .into_iter()
                    .map(|x| Boolean::from(x != 0))
                    .collect::<Vec<_>>(),
            );
        }
        Storage::I32 => Tensor::new(shape, take::<i32>(bytes, shape, &order)?)?,
    };
    cast(&held, dtype, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_and_storage_comes_back() {
        let tensor = Tensor::new([2, 3, 1, 5], (0..30).map(|x| x as f32).collect()).unwrap();
        for layout in [Layout::Dense, Layout::Rows4, Layout::ChannelsLast4] {
            for storage in [Storage::F32, Storage::F16, Storage::F16Packed, Storage::I32, Storage::I64] {
                let bytes = encode(&tensor, layout, storage).unwrap();
                let whole = tensor
                    .reshape([30])
                    .and_then(|tensor| tensor.pick([32], |at| (at < 30).then_some(at)))
                    .unwrap();
                let laid = as_encoded(&whole, layout, storage);
                assert!(
                    laid.is_none_or(|laid| laid == encode(&whole, layout, storage).unwrap()),
                    "{layout:?} {storage:?}"
                );
                assert_eq!(laid.is_some(), storage == Storage::F32, "{layout:?} {storage:?}");
                assert_eq!(
                    decode(&bytes, DType::F32, tensor.shape(), layout, storage).unwrap(),
                    tensor,
                    "{layout:?} {storage:?}"
                );
            }
        }
    }

    #[test]
    fn a_view_of_nothing_is_called_that() {
        let shape = |shape: &[usize]| View::whole(PlaceId(0), Layout::Dense, shape);
        let reason = |view: View, to: &[usize]| view.reshaped_or(to, "a factor").unwrap_err().0;
        assert_eq!(reason(shape(&[0, 3]), &[1, 0, 3]), "a factor without elements, of shape [0, 3]");
        assert_eq!(reason(shape(&[2, 3]).permuted(&[1, 0]), &[6]), "a factor not lying contiguously");
    }

    #[test]
    fn reshape_of_a_view() {
        let view = View { place: PlaceId(0), shape: vec![2, 12, 8], strides: vec![8, 16, 1], offset: 0 };
        assert_eq!(view.reshaped(&[2, 3, 4, 8]).unwrap().strides, [8, 64, 16, 1]);
        assert!(view.reshaped(&[24, 8]).is_none());
        assert!(view.reshaped(&[2, 96]).is_none());
        let padded = View::whole(PlaceId(0), Layout::Rows4, &[4, 6]);
        assert!(padded.reshaped(&[24]).is_none());
        assert_eq!(padded.reshaped(&[2, 2, 6]).unwrap().strides, [16, 8, 1]);
        let one = View::whole(PlaceId(0), Layout::ChannelsLast4, &[1, 6, 1, 1]);
        assert_eq!(one.reshaped(&[1, 6]).unwrap().strides[1], 1);
    }
}
