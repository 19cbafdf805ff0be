//! Kernel, stride, dilation and padding: what convolutions and pools share.

use crate::error::{Error, Result};

/// How ONNX's `auto_pad` asks for padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoPad {
    NotSet,
    SameUpper,
    SameLower,
    Valid,
}

/// A window's attributes as a node gives them; sizes per spatial axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// `None`: a convolution takes it from its weights.
    pub kernel: Option<Vec<usize>>,
    pub strides: Option<Vec<usize>>,
    pub dilations: Option<Vec<usize>>,
    /// All beginnings, then all ends.
    pub pads: Option<Vec<usize>>,
    pub auto_pad: AutoPad,
    pub ceil_mode: bool,
}

/// A window made concrete for an input: one entry for each spatial axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    pub input: Vec<usize>,
    pub output: Vec<usize>,
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    pub begin: Vec<usize>,
    pub end: Vec<usize>,
}

impl Window {
    /// The geometry over `input` (spatial sizes) with `kernel` (from the attribute, or a convolution's
    /// weights).
    pub fn geometry(&self, input: &[usize], kernel: &[usize]) -> Result<Geometry> {
        let rank = input.len();
        if kernel.len() != rank
            || self.kernel.as_ref().is_some_and(|own| own != kernel)
            || kernel.contains(&0)
        {
            return Err(Error::model(format!(
                "the kernel {kernel:?} doesn't fit {rank} spatial dimensions (kernel_shape: {:?})",
                self.kernel
            )));
        }
        let full = |list: &Option<Vec<usize>>, name: &str, count: usize, default: usize| match list {
            None => Ok(vec![default; count]),
            Some(list) if list.len() == count => Ok(list.clone()),
            Some(list) => Err(Error::model(format!(
                "attribute '{name}' has {} entries; {count} are needed",
                list.len()
            ))),
        };
        let stride = full(&self.strides, "strides", rank, 1)?;
        let dilation = full(&self.dilations, "dilations", rank, 1)?;
        let pads = full(&self.pads, "pads", 2 * rank, 0)?;
        let mut geometry = Geometry {
            input: input.to_vec(),
            output: vec![],
            kernel: kernel.to_vec(),
            stride,
            dilation,
            begin: pads[..rank].to_vec(),
            end: pads[rank..].to_vec(),
        };
        for (axis, &size) in input.iter().enumerate() {
            let span = geometry.span(axis)?;
            let step = geometry.stride[axis];
            if matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
                let output = size.div_ceil(step);
                let total = (output.saturating_sub(1) * step + span).saturating_sub(size);
                let small = total / 2;
                let upper = self.auto_pad == AutoPad::SameUpper;
                (geometry.begin[axis], geometry.end[axis]) =
                    if upper { (small, total - small) } else { (total - small, small) };
                geometry.output.push(output);
                continue;
            }
            if self.auto_pad == AutoPad::Valid {
                (geometry.begin[axis], geometry.end[axis]) = (0, 0);
            }
            let padded =
                size.checked_add(geometry.begin[axis]).and_then(|sum| sum.checked_add(geometry.end[axis]));
            let space = padded.and_then(|padded| padded.checked_sub(span)).ok_or_else(|| {
                Error::model(format!(
                    "the kernel's span {span} is larger than the padded input {size} on spatial axis {axis}"
                ))
            })?;
            let mut output = if self.ceil_mode { space.div_ceil(step) } else { space / step } + 1;
            // A window that would begin in the end padding is left out.
            if self.ceil_mode && (output - 1) * step >= size + geometry.begin[axis] {
                output -= 1;
            }
            geometry.output.push(output);
        }
        Ok(geometry)
    }
}

impl Geometry {
    /// Input elements that a window spans on an axis.
    fn span(&self, axis: usize) -> Result<usize> {
        (self.kernel[axis] - 1)
            .checked_mul(self.dilation[axis])
            .and_then(|reach| reach.checked_add(1))
            .ok_or_else(|| Error::model("the kernel's span overflows"))
    }
    /// The same window as two spatial axes: one axis becomes `[1, w]`. `None` for more than two.
    pub fn two(&self) -> Option<Geometry> {
        let wide = |list: &[usize], fill: usize| match *list {
            [w] => Some(vec![fill, w]),
            [h, w] => Some(vec![h, w]),
            _ => None,
        };
        Some(Geometry {
            input: wide(&self.input, 1)?,
            output: wide(&self.output, 1)?,
            kernel: wide(&self.kernel, 1)?,
            stride: wide(&self.stride, 1)?,
            dilation: wide(&self.dilation, 1)?,
            begin: wide(&self.begin, 0)?,
            end: wide(&self.end, 0)?,
        })
    }
    /// The input coordinate that tap `tap` of output `out` reads on an axis, if it lies inside.
    pub fn source(&self, axis: usize, out: usize, tap: usize) -> Option<usize> {
        (out * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.begin[axis])
            .filter(|&at| at < self.input[axis])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(auto_pad: AutoPad, ceil_mode: bool) -> Window {
        Window { kernel: None, strides: Some(vec![2]), dilations: None, pads: None, auto_pad, ceil_mode }
    }

    #[test]
    fn same_and_ceil() {
        let upper = window(AutoPad::SameUpper, false).geometry(&[5], &[2]).unwrap();
        assert_eq!((upper.output[0], upper.begin[0], upper.end[0]), (3, 0, 1));
        let lower = window(AutoPad::SameLower, false).geometry(&[5], &[2]).unwrap();
        assert_eq!((lower.begin[0], lower.end[0]), (1, 0));
        assert_eq!(window(AutoPad::NotSet, true).geometry(&[4], &[3]).unwrap().output, [2]);
        assert!(window(AutoPad::NotSet, false).geometry(&[2], &[3]).is_err());
    }
}
