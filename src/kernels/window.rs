//! Windows of convolutions and pools, as parts of parameter blocks (shaders/lib/window.wgsl).

use super::block::parameters;
use super::{pair, to_u32};
use crate::base::{Geometry, Unsupported};

/// The most spatial axes of a window.
pub(super) const AXES: usize = 4;

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

parameters! {
    /// Along up to 4 axes, the outermost first, with the sizes that it goes over; axes that there aren't come
    /// before the others, of size 1. A block's first part, as [`WindowParams`] is.
    pub struct WindowNdParams {
        input: [u32; AXES],
        output: [u32; AXES],
        kernel: [u32; AXES],
        stride: [u32; AXES],
        dilation: [u32; AXES],
        pad: [u32; AXES],
    }
}

impl WindowNdParams {
    /// Errors: more axes, a size beyond 2³¹.
    pub(super) fn new(g: &Geometry) -> Result<Self, Unsupported> {
        Ok(Self {
            input: axes(&g.input, 1)?,
            output: axes(&g.output, 1)?,
            kernel: axes(&g.kernel, 1)?,
            stride: axes(&g.stride, 1)?,
            dilation: axes(&g.dilation, 1)?,
            pad: axes(&g.begin, 0)?,
        })
    }
}

/// One number for each axis, with `fill` for those that there aren't, before them.
pub(super) fn axes(list: &[usize], fill: u32) -> Result<[u32; AXES], Unsupported> {
    let mut all = [fill; AXES];
    let missing = AXES
        .checked_sub(list.len())
        .ok_or_else(|| Unsupported::new(format!("a window over {} axes", list.len())))?;
    for (to, &size) in all[missing..].iter_mut().zip(list) {
        *to = to_u32(size)?;
    }
    Ok(all)
}
