//! Convolutions of 8-bit integers whose channels lie innermost, by the machine's instructions for bytes, to
//! 8-bit integers: windows are gathered a block at a time, multiplied, and requantised while they are in
//! cache.

use super::bytes::{BytePanels, Rows, product_here, tiles, unsigned};
use super::integer::Matrix;
use super::plane::Plane;
use super::requantize::Requantize;
use crate::error::Result;
use crate::tensor::{DType, Tensor, zeros};
use crate::threads::{Elements, try_parallel_for};

/// Bytes of gathered windows at a time: half of a second-level cache.
const BLOCK: usize = 1 << 17;
/// The most output pixels of a block.
const MOST_PIXELS: usize = 192;

/// Filters `[filters, channels, taps]` in the order of windows whose channels lie innermost: a matrix `[taps
/// · channels, filters]` for each group. `None`: the machine has no instructions for bytes, or these are
/// other types.
pub fn pack(w: &Tensor, [filters, channels, taps]: [usize; 3], groups: usize) -> Result<Option<Vec<Matrix>>> {
    if tiles().is_empty() || !matches!(w.dtype(), DType::U8 | DType::I8) || groups == 0 {
        return Ok(None);
    }
    let w = w.reshape([filters, channels, taps])?.strided(
        vec![filters, taps, channels],
        &[channels * taps, 1, taps],
        0,
    )?;
    let (own, k) = (filters / groups, channels * taps);
    (0..groups).map(|group| Matrix::pack(&w, group * own * k, [k, own], [1, k])).collect()
}

/// A convolution of images whose channels lie innermost, a group's sizes each.
pub struct ByteImages<'a> {
    pub images: usize,
    pub groups: usize,
    pub channels: usize,
    pub filters: usize,
    pub windows: Windows<'a>,
    /// Pixels of an image and of a result.
    pub area: [usize; 2],
}

/// Which pixels a window reads.
pub enum Windows<'a> {
    /// Over two axes.
    Plane(Plane),
    /// Over any: the pixel that tap `t` of output pixel `p` reads, at `t · pixels + p`; `usize::MAX` for
    /// padding.
    Table(&'a [usize]),
}

impl Windows<'_> {
    fn taps(&self, pixels: usize) -> usize {
        match self {
            Self::Plane(plane) => plane.kernel[0] * plane.kernel[1],
            Self::Table(sources) => sources.len() / pixels.max(1),
        }
    }
}

impl ByteImages<'_> {
    /// Results `[image, pixel, filter]` of x less its zero point by each group's matrices less the zero
    /// points of their filters: none, one, or one each. Whether there is such a form for these.
    pub fn convolve_to_bytes(
        &self,
        x: &Tensor,
        x_zero: i64,
        matrices: &[Matrix],
        zeros_of: &[i64],
        requantize: &Requantize,
        y: &mut [u8],
    ) -> Result<bool> {
        let Some(&tile) = tiles().first() else { return Ok(false) };
        let Some((bytes, flip, shift)) = unsigned(x) else { return Ok(false) };
        let panels: Option<Vec<&BytePanels>> = matrices
            .iter()
            .map(|matrix| if let Matrix::Bytes(panels) = matrix { Some(panels) } else { None })
            .collect();
        let ([inside, pixels], all) = (self.area, self.groups * self.filters);
        let Some(panels) = panels.filter(|panels| panels.len() == self.groups) else { return Ok(false) };
        let k = panels.first().map_or(0, |panels| panels.k);
        let fits = bytes.len() == self.images * inside * self.groups * self.channels
            && y.len() == self.images * pixels * all
            && requantize.columns() == all
            && k == self.channels * self.windows.taps(pixels);
        if !fits {
            return Ok(false);
        }
        if y.is_empty() || k == 0 {
            return Ok(y.is_empty());
        }
        let block = (BLOCK / k).clamp(1, MOST_PIXELS.min(pixels));
        // As many for each thread.
        let blocks = pixels.div_ceil(block).next_multiple_of(rayon::current_num_threads().max(1));
        let block = pixels.div_ceil(blocks);
        let blocks = pixels.div_ceil(block);
        let results = Elements(y.as_mut_ptr());
        try_parallel_for(self.images * self.groups * blocks, |part| {
            let (plane, first) = (part / blocks, part % blocks * block);
            let (image, group) = (plane / self.groups, plane % self.groups);
            let count = block.min(pixels - first);
            let mut rows = Rows::new(count, k, shift)?;
            let bytes = &bytes[image * inside * self.groups * self.channels..];
            let from = Image { bytes, group, flip, padding: x_zero as u8 ^ flip };
            rows.fill_here(count, |row, to| self.bytes_of_window(&from, first + row, to));
            let mut sums: Vec<i32> = zeros(count * self.filters)?;
            let zeros_here = match zeros_of {
                [] | [_] => zeros_of,
                all => &all[group * self.filters..][..self.filters],
            };
            product_here(tile, &rows, count, panels[group], (x_zero as i32, zeros_here), &mut sums);
            for (row, sums) in sums.chunks_exact(self.filters).enumerate() {
                let at = (image * pixels + first + row) * all + group * self.filters;
                // SAFETY: `y` has `all` results for each pixel of each image, as was checked; this part alone
                // writes those of its group and its pixels.
                let to = unsafe { std::slice::from_raw_parts_mut(results.at(at), self.filters) };
                requantize.row(sums, group * self.filters, to);
            }
            Ok(())
        })?;
        Ok(true)
    }

    /// The window of an output pixel: taps that read neighbours are copied at once.
    fn bytes_of_window(&self, image: &Image<'_>, pixel: usize, to: &mut [u8]) {
        match &self.windows {
            Windows::Plane(plane) => self.of_plane(plane, image, pixel, to),
            Windows::Table(sources) => self.of_table(sources, image, pixel, to),
        }
    }

    fn of_plane(&self, g: &Plane, image: &Image<'_>, pixel: usize, to: &mut [u8]) {
        let (own, all) = (self.channels, self.groups * self.channels);
        let (oy, ox) = (pixel / g.output[1], pixel % g.output[1]);
        let along = g.taps(1, ox);
        // Taps that read neighbours, whose channels follow one another.
        let run = if self.groups == 1 && g.dilation[1] == 1 { along.len().max(1) } else { 1 };
        for (ty, to) in to.chunks_exact_mut(g.kernel[1] * own).enumerate() {
            let Some(row) = g.source(0, oy, ty) else {
                to.fill(image.padding);
                continue;
            };
            to[..along.start * own].fill(image.padding);
            to[along.end * own..].fill(image.padding);
            for tx in along.clone().step_by(run) {
                let Some(column) = g.source(1, ox, tx) else { continue };
                let from = (row * g.input[1] + column) * all + image.group * own;
                image.copy(from, &mut to[tx * own..][..run * own]);
            }
        }
    }

    fn of_table(&self, sources: &[usize], image: &Image<'_>, pixel: usize, to: &mut [u8]) {
        let (pixels, own, all) = (self.area[1], self.channels, self.groups * self.channels);
        let mut sources = sources.iter().skip(pixel).step_by(pixels).copied().peekable();
        let mut at = 0;
        while let Some(from) = sources.next() {
            let mut count = 1;
            if from == usize::MAX {
                to[at..at + own].fill(image.padding);
                at += own;
                continue;
            }
            while self.groups == 1 && sources.next_if_eq(&(from + count)).is_some() {
                count += 1;
            }
            image.copy(from * all + image.group * own, &mut to[at..at + count * own]);
            at += count * own;
        }
    }
}

/// What windows are gathered from: an image, and which group's channels.
struct Image<'a> {
    bytes: &'a [u8],
    group: usize,
    /// What makes unsigned bytes of them.
    flip: u8,
    /// Unsigned, what lies outside.
    padding: u8,
}

impl Image<'_> {
    fn copy(&self, from: usize, to: &mut [u8]) {
        let from = &self.bytes[from..][..to.len()];
        if self.flip == 0 {
            to.copy_from_slice(from);
        } else {
            to.iter_mut().zip(from).for_each(|(to, &x)| *to = x ^ self.flip);
        }
    }
}
