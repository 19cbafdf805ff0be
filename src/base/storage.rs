//! How a tensor lies in a buffer: the type of its elements and their order.

use crate::tensor::index::strides;
use half::f16;
use serde::{Deserialize, Serialize};

/// How elements are stored on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ElementFormat {
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

impl ElementFormat {
    /// Every one, for tests of kernels that move any of them.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::F16Packed, Self::I32, Self::U32, Self::I64];

    pub fn element_bytes(self) -> usize {
        match self {
            ElementFormat::F32 | ElementFormat::I32 | ElementFormat::U32 => 4,
            ElementFormat::F16 | ElementFormat::F16Packed => 2,
            ElementFormat::I64 => 8,
        }
    }
    /// Which of the formats with the same bytes it is written as: f16 in one way or the other is one.
    pub fn as_bytes(self) -> Self {
        if self == ElementFormat::F16Packed { ElementFormat::F16 } else { self }
    }
    pub fn is_float(self) -> bool {
        matches!(self, ElementFormat::F32 | ElementFormat::F16 | ElementFormat::F16Packed)
    }
    /// The unit of rounding of a store, relative.
    pub fn epsilon(self) -> f64 {
        match self {
            ElementFormat::F32 => f32::EPSILON as f64,
            ElementFormat::F16 | ElementFormat::F16Packed => f16::EPSILON.to_f64(),
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
