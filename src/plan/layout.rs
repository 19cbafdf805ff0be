//! A tensor's bytes as they lie in a buffer: the host's half of the conversion.

use crate::base::{ElementFormat, Layout};
use crate::error::{Error, Result};
use crate::tensor::index::{Odometer, strides};
use crate::tensor::{Boolean, DType, Tensor, cast, element_count, to_f16, zeros};
use half::f16;

/// A tensor's bytes where they already lie as on the device: what [`encode`] would copy.
pub fn as_encoded(tensor: &Tensor, layout: Layout, storage: ElementFormat) -> Option<&[u8]> {
    let held = match storage {
        ElementFormat::F32 => tensor.dtype() == DType::F32,
        ElementFormat::F16 | ElementFormat::F16Packed => tensor.dtype() == DType::F16,
        ElementFormat::I32 => tensor.dtype() == DType::I32,
        ElementFormat::U32 => tensor.dtype() == DType::U32,
        ElementFormat::I64 => matches!(tensor.dtype(), DType::I64 | DType::U64),
    };
    let (bytes, shape) = (tensor.bytes(), tensor.shape());
    let dense = layout.elements(shape) == tensor.len() && layout.strides(shape) == strides(shape);
    (held && dense && !bytes.is_empty() && bytes.len() % 32 == 0).then_some(bytes)
}

/// A tensor's bytes as they lie on the device; padding is zero.
pub fn encode(tensor: &Tensor, layout: Layout, storage: ElementFormat) -> Result<Vec<u8>> {
    let shape = tensor.shape();
    let total = layout.elements(shape);
    element_count(&[total])?;
    let order = layout.strides(shape);
    let dense = strides(shape);
    fn buffer<T: bytemuck::Pod + Default + Copy>(
        from: &[T],
        total: usize,
        shape: &[usize],
        order: &[usize],
        dense: &[usize],
    ) -> Vec<u8> {
        let padded = super::padded(total * size_of::<T>());
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
            ElementFormat::F32 => buffer(held.as_slice::<f32>()?, total, shape, &order, &dense),
            ElementFormat::F16 | ElementFormat::F16Packed => {
                buffer(held.as_slice::<f16>()?, total, shape, &order, &dense)
            }
            ElementFormat::I32 => buffer(held.as_slice::<i32>()?, total, shape, &order, &dense),
            ElementFormat::U32 => buffer(held.as_slice::<u32>()?, total, shape, &order, &dense),
            ElementFormat::I64 => {
                buffer(bytemuck::cast_slice::<u8, u64>(held.bytes()), total, shape, &order, &dense)
            }
        })
    };
    match storage {
        ElementFormat::F32 => lay(&cast(tensor, DType::F32, true)?),
        ElementFormat::F16 | ElementFormat::F16Packed if tensor.dtype() == DType::F16 => lay(tensor),
        ElementFormat::F16 | ElementFormat::F16Packed => {
            let wide = cast(tensor, DType::F32, true)?;
            lay(&Tensor::new(shape, wide.as_slice::<f32>()?.iter().map(|&x| to_f16(x)).collect::<Vec<_>>())?)
        }
        ElementFormat::I32 => lay(&cast(tensor, DType::I32, true)?),
        ElementFormat::U32 => lay(&cast(tensor, DType::U32, true)?),
        ElementFormat::I64 if matches!(tensor.dtype(), DType::I64 | DType::U64) => lay(tensor),
        ElementFormat::I64 => lay(&cast(tensor, DType::I64, true)?),
    }
}

/// A tensor of the declared type from its bytes on the device.
pub fn decode(
    bytes: &[u8],
    dtype: DType,
    shape: &[usize],
    layout: Layout,
    storage: ElementFormat,
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
        ElementFormat::F32 => Tensor::new(shape, take::<f32>(bytes, shape, &order)?)?,
        ElementFormat::F16 | ElementFormat::F16Packed => {
            Tensor::new(shape, take::<f16>(bytes, shape, &order)?)?
        }
        ElementFormat::U32 => Tensor::new(shape, take::<u32>(bytes, shape, &order)?)?,
        ElementFormat::I64 if dtype == DType::U64 => Tensor::new(shape, take::<u64>(bytes, shape, &order)?)?,
        ElementFormat::I64 => Tensor::new(shape, take::<i64>(bytes, shape, &order)?)?,
        ElementFormat::I32 if dtype == DType::Bool => {
            return Tensor::new(
                shape,
                take::<i32>(bytes, shape, &order)?
                    .into_iter()
                    .map(|x| Boolean::from(x != 0))
                    .collect::<Vec<_>>(),
            );
        }
        ElementFormat::I32 => Tensor::new(shape, take::<i32>(bytes, shape, &order)?)?,
    };
    // What a device holds is a number of the type already: an infinity of 8 bits stays one.
    cast(&held, dtype, !dtype.is_narrow_float())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_and_storage_comes_back() {
        let tensor = Tensor::new([2, 3, 1, 5], (0..30).map(|x| x as f32).collect()).unwrap();
        for layout in [Layout::Dense, Layout::Rows4, Layout::ChannelsLast4] {
            for storage in [
                ElementFormat::F32,
                ElementFormat::F16,
                ElementFormat::F16Packed,
                ElementFormat::I32,
                ElementFormat::I64,
            ] {
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
                assert_eq!(laid.is_some(), storage == ElementFormat::F32, "{layout:?} {storage:?}");
                assert_eq!(
                    decode(&bytes, DType::F32, tensor.shape(), layout, storage).unwrap(),
                    tensor,
                    "{layout:?} {storage:?}"
                );
            }
        }
    }
}
