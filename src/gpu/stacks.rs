//! Tensors that lie on a device, put side by side and taken apart along axis 0, by copies of bytes.

use super::buffers::Buffer;
use super::tensor::GpuTensor;
use crate::error::{Error, Result};
use crate::plan::padded;
use std::sync::Arc;

/// What copies between buffers begin and end at.
const COPY_ALIGNMENT: u64 = wgpu::COPY_BUFFER_ALIGNMENT;

impl GpuTensor {
    /// Bytes of the elements, in row-major order; `None` where they aren't a whole number of copies.
    fn copied_bytes(&self, elements: usize) -> Option<u64> {
        let bytes = elements.checked_mul(self.storage.element_bytes())? as u64;
        bytes.is_multiple_of(COPY_ALIGNMENT).then_some(bytes)
    }

    /// The slices along axis 0, each in a buffer of its own; `None` where a slice isn't a whole number of copies
    /// (float16 in odd numbers).
    ///
    /// Errors: a scalar; memory, a lost device.
    pub async fn unstack_async(&self) -> Result<Option<Vec<Self>>> {
        let (&count, shape) =
            self.shape.split_first().ok_or_else(|| Error::internal("a scalar has no slices"))?;
        let Some(bytes) = self.copied_bytes(shape.iter().product()) else { return Ok(None) };
        let whole = self.dense_async().await?;
        let mut slices = Vec::with_capacity(count);
        for _ in 0..count {
            let buffer =
                Arc::new(Buffer::storage(&self.device, "a slice", padded(bytes as usize) as u64).await?);
            slices.push(Self { buffer, shape: shape.to_vec(), ..whole.clone() });
        }
        let parts = slices.iter().map(|slice| (&*whole.buffer, &*slice.buffer));
        let places = parts.zip(0..).map(|((from, to), index)| Part { from, start: index * bytes, to, at: 0 });
        self.copy(places.collect(), bytes).await?;
        Ok(Some(slices))
    }

    /// Tensors of one type, shape and device along a new axis that comes first; `None` where they aren't such,
    /// or not a whole number of copies each.
    ///
    /// Errors: memory, a lost device.
    pub async fn stack_async(parts: &[Self]) -> Result<Option<Self>> {
        let Some(first) = parts.first() else { return Ok(None) };
        let same = |part: &Self| {
            part.dtype == first.dtype && part.shape == first.shape && part.device.is(&first.device)
        };
        let bytes = first.copied_bytes(first.shape.iter().product());
        let Some(bytes) = bytes.filter(|_| parts.iter().all(same)) else { return Ok(None) };
        let mut dense = Vec::with_capacity(parts.len());
        for part in parts {
            dense.push(part.dense_async().await?);
        }
        let total = padded((bytes as usize).saturating_mul(parts.len())) as u64;
        let buffer = Arc::new(Buffer::storage(&first.device, "a stack", total).await?);
        let places = dense.iter().zip(0..).map(|(part, index)| Part {
            from: &part.buffer,
            start: 0,
            to: &buffer,
            at: index * bytes,
        });
        first.copy(places.collect(), bytes).await?;
        let shape = std::iter::once(parts.len()).chain(first.shape.iter().copied()).collect();
        let layout = dense[0].layout;
        Ok(Some(Self { buffer, shape, layout, ..first.clone() }))
    }

    /// Copies `bytes` from each place to another.
    async fn copy(&self, parts: Vec<Part<'_>>, bytes: u64) -> Result<()> {
        if bytes == 0 || parts.is_empty() {
            return Ok(());
        }
        self.device.check()?;
        let submit = || {
            let mut encoder = self.device.raw().create_command_encoder(&Default::default());
            for Part { from, start, to, at } in &parts {
                encoder.copy_buffer_to_buffer(&from.raw, *start, &to.raw, *at, bytes);
            }
            self.device.queue().submit([encoder.finish()]);
        };
        self.device.scope(|| "copies of slices".into(), submit).await
    }
}

/// From where to where, in bytes from a buffer's start.
struct Part<'a> {
    from: &'a Buffer,
    start: u64,
    to: &'a Buffer,
    at: u64,
}
