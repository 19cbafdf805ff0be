//! ONNX inference on any GPU that wgpu reaches, on the CPU where there is none, and a comparison of the two
//! node by node.

pub mod base;
pub mod bench;
pub mod compare;
pub mod compiled;
pub mod cpu;
pub mod device;
pub mod error;
pub mod gpu;
pub mod graph;
#[cfg(feature = "image")]
pub mod image;
pub mod kernels;
pub mod onnx;
pub mod ops;
pub mod passes;
pub mod plan;
#[doc(hidden)]
pub mod random;
pub mod replace;
pub mod session;
pub mod tensor;
mod threads;
pub mod tune;

pub use device::Device;
pub use error::{Error, ErrorKind, Result};
pub use session::Session;
pub use tensor::{DType, Tensor};
