//! The window of a convolution or a pooling, as a part of a parameter block (shaders/lib/window.wgsl).

use super::block::parameters;
use super::pair;
use crate::base::Unsupported;

parameters! {
    /// Along height and width; `pad` is what lies before the data. A part of a uniform block begins at a
    /// multiple of 16 bytes, so this is a block's first.
    pub struct WindowParams {
        kernel: [u32; 2],
        stride: [u32; 2],
        pad: [i32; 2],
        dilation: [u32; 2],
    }
}

impl WindowParams {
    /// Errors: a size beyond 2³¹.
    pub(super) fn new(
        kernel: [usize; 2],
        stride: [usize; 2],
        pad: [usize; 2],
        dilation: [usize; 2],
    ) -> Result<Self, Unsupported> {
        Ok(Self {
            kernel: pair(kernel)?,
            stride: pair(stride)?,
            pad: pair(pad)?.map(|value| value as i32),
            dilation: pair(dilation)?,
        })
    }
}
