//! Convolutions of 8-bit integers whose channels lie innermost, by the machine's instructions for bytes, to
//! 8-bit integers: windows are gathered a block at a time, multiplied, and requantised while they are in
//! cache.

use super::bytes::{BytePanels, Rows, product_here, tiles, unsigned};
use super::integer::{Images, Matrix};
use super::requantize::Requantize;
use crate::error::Result;
use crate::tensor::{DType, Tensor, zeros};
use crate::threads::{Elements, try_parallel_for};

/// Bytes of gathered windows at a time: half of a second-level cache.
const BLOCK: usize = 1 << 17;
/// The most output pixels of a block, so that every thread has some.
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

impl Images<'_> {
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
            && k == self.channels * (self.sources.len() / pixels.max(1));
        if !fits {
            return Ok(false);
        }
        if y.is_empty() || k == 0 {
            return Ok(y.is_empty());
        }
        let block = (BLOCK / k).clamp(1, MOST_PIXELS.min(pixels));
        let blocks = pixels.div_ceil(block);
        let results = Elements(y.as_mut_ptr());
        try_parallel_for(self.images * self.groups * blocks, |part| {
            let (plane, first) = (part / blocks, part % blocks * block);
            let (image, group) = (plane / self.groups, plane % self.groups);
            let count = block.min(pixels - first);
            let mut rows = Rows::new(count, k, shift)?;
            let input = &bytes[image * inside * self.groups * self.channels..];
            let zero = x_zero as u8 ^ flip;
            rows.fill_here(count, |row, to| self.bytes_of_window(input, group, first + row, to, flip, zero));
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
    fn bytes_of_window(&self, input: &[u8], group: usize, pixel: usize, to: &mut [u8], flip: u8, zero: u8) {
        let (pixels, own, all) = (self.area[1], self.channels, self.groups * self.channels);
        let mut sources = self.sources.iter().skip(pixel).step_by(pixels).copied().peekable();
        let mut at = 0;
        while let Some(from) = sources.next() {
            let mut count = 1;
            if from == usize::MAX {
                to[at..at + own].fill(zero);
                at += own;
                continue;
            }
            while self.groups == 1 && sources.next_if_eq(&(from + count)).is_some() {
                count += 1;
            }
            let from = &input[from * all + group * own..][..count * own];
            let to = &mut to[at..at + count * own];
            if flip == 0 {
                to.copy_from_slice(from);
            } else {
                to.iter_mut().zip(from).for_each(|(to, &x)| *to = x ^ flip);
            }
            at += count * own;
        }
    }
}
