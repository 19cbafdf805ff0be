//! A window's sizes over two axes as plain values, which loops keep in registers.

use crate::base::Geometry;
use std::ops::Range;

#[derive(Clone, Copy)]
pub struct Plane {
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub begin: [usize; 2],
}

impl Plane {
    /// Of a geometry of two axes.
    pub fn of(g: &Geometry) -> Self {
        let two = |list: &[usize]| [list[0], list[1]];
        Self {
            input: two(&g.input),
            output: two(&g.output),
            kernel: two(&g.kernel),
            stride: two(&g.stride),
            dilation: two(&g.dilation),
            begin: two(&g.begin),
        }
    }

    /// The input coordinate that tap `tap` of output `out` reads on an axis, if it lies inside.
    #[inline(always)]
    pub fn source(&self, axis: usize, out: usize, tap: usize) -> Option<usize> {
        (out * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.begin[axis])
            .filter(|&at| at < self.input[axis])
    }

    /// The taps of output `out` that lie inside on an axis.
    #[inline(always)]
    pub fn taps(&self, axis: usize, out: usize) -> Range<usize> {
        let (at, dilation) = (out * self.stride[axis], self.dilation[axis]);
        let low = self.begin[axis].saturating_sub(at).div_ceil(dilation).min(self.kernel[axis]);
        let high = (self.begin[axis] + self.input[axis])
            .saturating_sub(at)
            .div_ceil(dilation)
            .clamp(low, self.kernel[axis]);
        low..high
    }
}
