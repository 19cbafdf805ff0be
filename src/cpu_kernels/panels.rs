//! A right-hand matrix as the innermost loop reads it: panels of columns, each a line of floats for every k.

use super::integer::Matrix;
use super::tile::{LANES, RegisterTile};
use crate::error::Result;
use crate::tensor::element_count;
use crate::tensor::pool::Floats;
use std::sync::Arc;

/// Constants made ready for the CPU.
pub enum Packed {
    /// One right-hand matrix, or one for each group.
    Panels(Vec<Panels>),
    /// The same of 8-bit integers.
    Integers(Vec<Matrix>),
    /// Filters of 8-bit integers in the order of windows whose channels lie innermost, a matrix a group.
    Windows(Vec<Matrix>),
    /// A depthwise filter `[taps, channels]`.
    Taps(Vec<f32>),
    /// A few filters as rows, in the order of windows whose channels lie innermost.
    Filters(Vec<f32>),
    /// Those of several operators that run as one.
    ConvBlock(Vec<Arc<Packed>>),
}

impl Packed {
    /// The right-hand matrix, or the first group's, where it is of panels.
    pub fn matrix(&self) -> Option<&Panels> {
        match self {
            Packed::Panels(list) => list.first(),
            Packed::Integers(_)
            | Packed::Windows(_)
            | Packed::Taps(_)
            | Packed::Filters(_)
            | Packed::ConvBlock(_) => None,
        }
    }
    pub fn bytes(&self) -> usize {
        match self {
            Packed::Panels(list) => list.iter().map(Panels::bytes).sum(),
            Packed::Integers(list) | Packed::Windows(list) => list.iter().map(Matrix::bytes).sum(),
            Packed::Taps(list) | Packed::Filters(list) => size_of_val(&list[..]),
            Packed::ConvBlock(list) => list.iter().map(|packed| packed.bytes()).sum(),
        }
    }
}

/// B `[k, n]` in panels `[⌈n / width⌉][k][width]`, columns beyond n zero.
pub struct Panels {
    pub k: usize,
    pub n: usize,
    /// Lane groups of a panel's width.
    pub groups: usize,
    data: Floats,
}

impl Panels {
    /// Empty panels for a matrix of this size. Errors where they don't fit memory.
    pub fn new(k: usize, n: usize) -> Result<Self> {
        let groups = RegisterTile::native().groups(n);
        let count = element_count(&[n.div_ceil(groups * LANES), k, groups * LANES])?;
        Ok(Self { k, n, groups, data: Floats::zeros(count)? })
    }

    /// Panels of a matrix whose element (row, column) is `source[row · row_stride + column · column_stride]`.
    pub fn pack(source: &[f32], k: usize, n: usize, row_stride: usize, column_stride: usize) -> Result<Self> {
        let mut panels = Self::new(k, n)?;
        panels.fill(source, row_stride, column_stride);
        Ok(panels)
    }

    /// Packs another matrix of the same size.
    pub fn fill(&mut self, source: &[f32], row_stride: usize, column_stride: usize) {
        let (k, n, width) = (self.k, self.n, self.width());
        if k == 0 {
            return;
        }
        for (index, panel) in self.floats_mut().chunks_exact_mut(k * width).enumerate() {
            let first = index * width;
            let columns = width.min(n - first);
            if column_stride == 1 {
                for (row, line) in panel.chunks_exact_mut(width).enumerate() {
                    line[..columns].copy_from_slice(&source[row * row_stride + first..][..columns]);
                }
            } else {
                // A few rows at a time for all columns, so that what is read and what is written stay in
                // cache.
                for (block, lines) in panel.chunks_mut(16 * width).enumerate() {
                    for column in 0..columns {
                        let from = &source[(first + column) * column_stride + block * 16 * row_stride..];
                        for (row, line) in lines.chunks_exact_mut(width).enumerate() {
                            line[column] = from[row * row_stride];
                        }
                    }
                }
            }
        }
    }

    /// Sets element (row, column), for packings that no pair of strides describes.
    pub fn set(&mut self, row: usize, column: usize, value: f32) {
        let (k, width) = (self.k, self.width());
        self.floats_mut()[(column / width * k + row) * width + column % width] = value;
    }

    /// Writes each panel anew: its number and its lines, one of a panel's width for every k.
    pub fn write(&mut self, work: impl Fn(usize, &mut [f32])) {
        let size = self.k * self.width();
        if size > 0 {
            self.floats_mut()
                .chunks_exact_mut(size)
                .enumerate()
                .for_each(|(index, lines)| work(index, lines));
        }
    }

    pub fn width(&self) -> usize {
        self.groups * LANES
    }
    pub fn count(&self) -> usize {
        self.n.div_ceil(self.width())
    }
    pub fn bytes(&self) -> usize {
        size_of_val(&self.data[..])
    }
    /// The lines of panel `index` from `k` on.
    pub fn panel(&self, index: usize, k: usize) -> &[f32] {
        let (size, width) = (self.k * self.width(), self.width());
        &self.floats()[index * size + k * width..(index + 1) * size]
    }
    fn floats(&self) -> &[f32] {
        &self.data
    }
    fn floats_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}
