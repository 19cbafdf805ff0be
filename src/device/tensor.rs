//! Tensors that stay where a model runs.

use crate::error::Result;
use crate::gpu::GpuTensor;
use crate::tensor::{DType, Tensor};

/// A tensor that lies where a session runs, so that runs take it and leave it there without a copy.
///
/// [`Session::upload`](crate::Session::upload) makes one, and so does a run that is told to keep an output
/// ([`Bindings::keep`](crate::session::Bindings::keep)). It never changes, and cloning shares it. Of a session
/// on the CPU, and where a device doesn't store the type (strings, float64), it is a tensor on the host, and
/// used in the same way.
#[derive(Debug, Clone)]
pub struct DeviceTensor(Home);

#[derive(Debug, Clone)]
enum Home {
    Host(Tensor),
    Gpu(GpuTensor),
}

impl DeviceTensor {
    /// The type of its elements: as the model has it, however a device stores them.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Home::Host(tensor) => tensor.dtype(),
            Home::Gpu(tensor) => tensor.dtype(),
        }
    }
    /// Its sizes.
    pub fn shape(&self) -> &[usize] {
        match &self.0 {
            Home::Host(tensor) => tensor.shape(),
            Home::Gpu(tensor) => tensor.shape(),
        }
    }
    /// Copies it to the host; where it lies there, it is shared. What a device stores as float16 comes back as
    /// the model's type, rounded.
    ///
    /// Errors: memory, a lost device, one that takes too long.
    pub fn download(&self) -> Result<Tensor> {
        match &self.0 {
            Home::Host(tensor) => Ok(tensor.clone()),
            Home::Gpu(tensor) => tensor.download(),
        }
    }
    /// What lies on a GPU, if it does.
    pub(crate) fn as_gpu(&self) -> Option<&GpuTensor> {
        match &self.0 {
            Home::Host(_) => None,
            Home::Gpu(tensor) => Some(tensor),
        }
    }
}

impl From<GpuTensor> for DeviceTensor {
    fn from(tensor: GpuTensor) -> Self {
        Self(Home::Gpu(tensor))
    }
}

/// A tensor that stays on the host.
impl From<Tensor> for DeviceTensor {
    fn from(tensor: Tensor) -> Self {
        Self(Home::Host(tensor))
    }
}
