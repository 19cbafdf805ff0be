//! A tensor that lies on a device: what a run takes and leaves there.

use super::bindings::Bindings;
use super::buffers::Buffer;
use super::constants::Constants;
use super::device::GpuDevice;
use super::execution::{Execution, Values, no_step};
use super::readback;
use crate::base::{ElementFormat, Fact, Layout, Precision};
use crate::error::{Error, Result, line};
use crate::graph::ValueId;
use crate::plan::{self, PlannedBuffer, as_encoded, decode, element_format, encode};
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// A tensor in a buffer of a device. Nothing writes to it as long as it lives, but a run to which it is given
/// as a state ([`crate::session::SessionBuilder::state`]); cloning shares it.
#[derive(Clone)]
pub struct GpuTensor {
    pub(super) device: GpuDevice,
    pub(super) buffer: Arc<Buffer>,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) layout: Layout,
    pub(super) storage: ElementFormat,
}

impl GpuTensor {
    /// Copies a tensor to a device, as runs in this precision store it; `None` where its type isn't stored on
    /// one.
    ///
    /// Errors: memory, a lost device.
    pub async fn upload_async(
        device: &GpuDevice,
        tensor: &Tensor,
        precision: Precision,
    ) -> Result<Option<Self>> {
        device.check()?;
        let Ok(storage) = element_format(tensor.dtype(), precision, device.capabilities()) else {
            return Ok(None);
        };
        let (dtype, shape, layout) = (tensor.dtype(), tensor.shape().to_vec(), Layout::Dense);
        let encoded;
        let bytes = match as_encoded(tensor, layout, storage) {
            Some(bytes) => bytes,
            None => {
                encoded = encode(tensor, layout, storage)?;
                &encoded
            }
        };
        let buffer = Arc::new(Buffer::storage(device, "a tensor", bytes.len() as u64).await?);
        device.scope(|| "an upload".into(), || buffer.write(device, bytes)).await??;
        Ok(Some(Self { device: device.clone(), buffer, dtype, shape, layout, storage }))
    }

    /// Copies it to the host, once what makes it is done.
    ///
    /// Errors: memory, a lost device, one that takes too long.
    pub async fn download_async(&self) -> Result<Tensor> {
        self.device.check()?;
        let elements = self.layout.elements(&self.shape);
        let bytes = (elements * self.storage.element_bytes()).next_multiple_of(4) as u64;
        if bytes == 0 {
            return decode(&[], self.dtype, &self.shape, self.layout, self.storage);
        }
        let staging = Buffer::staging(&self.device, bytes).await?;
        let mut found = None;
        let source = [(&*self.buffer, bytes)];
        let what = || "a tensor that is read back".to_string();
        readback::read(
            &self.device,
            |_| Ok(()),
            &source,
            &staging,
            what,
            |_, bytes| {
                found = Some(decode(bytes, self.dtype, &self.shape, self.layout, self.storage)?);
                Ok(())
            },
        )
        .await?;
        found.ok_or_else(|| Error::internal("a tensor was not read back"))
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Its sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The same elements in row-major order, as runs read their inputs: itself, unless what made it left them
    /// in another order.
    ///
    /// Errors: memory, a lost device.
    pub async fn dense_async(&self) -> Result<Self> {
        let dense = Layout::Dense;
        if self.layout.elements(&self.shape) == dense.elements(&self.shape)
            && self.layout.strides(&self.shape) == dense.strides(&self.shape)
        {
            return Ok(Self { layout: dense, ..self.clone() });
        }
        let (from, to) = (ValueId(0), ValueId(1));
        let fact = Fact::new(self.dtype, self.shape.clone());
        let plan = plan::relayout(&fact, self.storage, (self.layout, dense), self.device.capabilities())?;
        let mut execution = Execution::new_async(&self.device, &Arc::new(plan), &Constants::new()).await?;
        let host = Values::new();
        let bindings =
            Bindings { device: [(from, self.clone())].into(), keep: [to].into(), ..Bindings::of(&host) };
        let mut made = execution.run_async(&bindings, &no_step).await?;
        made.device.remove(&to).ok_or_else(|| Error::internal("a copy was not made"))
    }

    /// Errors where it isn't what was planned to lie in a buffer.
    pub(super) fn check(&self, device: &GpuDevice, place: &PlannedBuffer) -> Result<()> {
        if !self.device.is(device) {
            let (is, wanted) = (self.device.info().named(), device.info().named());
            return Err(Error::input(format!(
                "the tensor lies on another device, {is}, than the run's, {wanted}"
            ))
            .remedy("upload it with the session that runs"));
        }
        let fact = &place.fact;
        if self.dtype != fact.dtype {
            return Err(Error::input(format!("found type {}, {} was planned", self.dtype, fact.dtype))
                .remedy("prepare a run for these inputs"));
        }
        if self.shape != fact.shape {
            let message = format!("the shape is {:?} where {:?} was planned", self.shape, fact.shape);
            return Err(Error::input(message).remedy("prepare a run for these inputs"));
        }
        if self.storage.as_bytes() != place.storage.as_bytes() {
            let message = format!(
                "the tensor is stored as {:?} where {:?} was planned: its session has another precision",
                self.storage, place.storage
            );
            return Err(Error::input(message).remedy("upload it with the session that runs"));
        }
        if self.layout != place.layout || self.buffer.bytes() < place.bytes() {
            return Err(Error::internal("a tensor lies in another order than planned"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for GpuTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GpuTensor({}{:?} on '{}')", self.dtype, self.shape, line(&self.device.info().name))
    }
}
