//! What an operator or a kernel sees of a buffer's contents.

use super::{BufferId, Layout, Unsupported};

/// What an operator sees of a value on the device: coordinate `x` of it lies at element `offset + Σ
/// x[i]·strides[i]` of a buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub buffer: BufferId,
    pub shape: Vec<usize>,
    /// In elements; 0 repeats (broadcasting), negative runs backwards.
    pub strides: Vec<isize>,
    pub offset: usize,
}

impl View {
    /// A whole buffer.
    pub fn whole(buffer: BufferId, layout: Layout, shape: &[usize]) -> Self {
        Self { buffer, shape: shape.to_vec(), strides: signed(&layout.strides(shape)), offset: 0 }
    }
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether the elements lie as in `layout`, from the start of the buffer.
    pub fn is(&self, layout: Layout) -> bool {
        let wanted = signed(&layout.strides(&self.shape));
        // The stride of a dimension of size 1 is never used.
        self.offset == 0
            && self
                .shape
                .iter()
                .zip(&self.strides)
                .zip(&wanted)
                .all(|((&size, have), want)| size <= 1 || have == want)
    }
    /// The view with its axes in another order.
    pub fn permuted(&self, order: &[usize]) -> Self {
        Self {
            buffer: self.buffer,
            shape: order.iter().map(|&axis| self.shape[axis]).collect(),
            strides: order.iter().map(|&axis| self.strides[axis]).collect(),
            offset: self.offset,
        }
    }
    /// The view broadcast to a larger shape.
    pub fn broadcast(&self, shape: &[usize]) -> Self {
        Self {
            buffer: self.buffer,
            shape: shape.to_vec(),
            strides: crate::tensor::index::broadcast_strides(&self.shape, &self.strides, shape),
            offset: self.offset,
        }
    }
    /// The view in another shape of as many elements, if strides can express it without moving anything.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        // Kernels are not asked to read nothing: `reshaped_or` says so.
        if self.count() == 0 || self.count() != shape.iter().product::<usize>() {
            return None;
        }
        // Runs of dimensions that lie contiguously within each other, from the outermost: (size, stride of
        // the innermost).
        let mut runs: Vec<(usize, isize)> = vec![];
        for (&size, &stride) in self.shape.iter().zip(&self.strides).filter(|(size, _)| **size != 1) {
            match runs.last_mut() {
                Some(run) if run.1 == size as isize * stride => *run = (run.0 * size, stride),
                _ => runs.push((size, stride)),
            }
        }
        // Each new dimension must come from within one run.
        let mut result = vec![0isize; shape.len()];
        let mut left = runs.pop().unwrap_or((1, 1));
        let mut stride = left.1;
        for axis in (0..shape.len()).rev() {
            let size = shape[axis];
            if size == 1 {
                result[axis] = stride;
                continue;
            }
            if left.0 == 1 {
                left = runs.pop()?;
                stride = left.1;
            }
            if !left.0.is_multiple_of(size) {
                return None;
            }
            result[axis] = stride;
            left.0 /= size;
            stride *= size as isize;
        }
        (left.0 == 1 && runs.is_empty()).then(|| Self {
            buffer: self.buffer,
            shape: shape.to_vec(),
            strides: result,
            offset: self.offset,
        })
    }
    /// The view in another shape, or why there is none; `what` is what it is a view of.
    pub fn reshaped_or(&self, shape: &[usize], what: &str) -> Result<Self, Unsupported> {
        self.reshaped(shape).ok_or_else(|| {
            Unsupported::new(match self.count() {
                0 => format!("{what} without elements, of shape {:?}", self.shape),
                _ => format!("{what} not lying contiguously"),
            })
        })
    }
}

fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|&stride| stride as isize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_of_nothing_is_called_that() {
        let shape = |shape: &[usize]| View::whole(BufferId(0), Layout::Dense, shape);
        let reason = |view: View, to: &[usize]| view.reshaped_or(to, "a factor").unwrap_err().0;
        assert_eq!(reason(shape(&[0, 3]), &[1, 0, 3]), "a factor without elements, of shape [0, 3]");
        assert_eq!(reason(shape(&[2, 3]).permuted(&[1, 0]), &[6]), "a factor not lying contiguously");
    }

    #[test]
    fn reshape_of_a_view() {
        let view = View { buffer: BufferId(0), shape: vec![2, 12, 8], strides: vec![8, 16, 1], offset: 0 };
        assert_eq!(view.reshaped(&[2, 3, 4, 8]).unwrap().strides, [8, 64, 16, 1]);
        assert!(view.reshaped(&[24, 8]).is_none());
        assert!(view.reshaped(&[2, 96]).is_none());
        let padded = View::whole(BufferId(0), Layout::Rows4, &[4, 6]);
        assert!(padded.reshaped(&[24]).is_none());
        assert_eq!(padded.reshaped(&[2, 2, 6]).unwrap().strides, [16, 8, 1]);
        let one = View::whole(BufferId(0), Layout::ChannelsLast4, &[1, 6, 1, 1]);
        assert_eq!(one.reshaped(&[1, 6]).unwrap().strides[1], 1);
    }
}
