//! Products of 8-bit integers through those of float32: exact, as no sum of `TERMS` products leaves what
//! float32 counts in whole numbers; the sums are added up in int32.

use super::panels::Panels;
use super::product::{Epilogue, Rows, product as floats};
use crate::error::Result;
use crate::tensor::pool::{self, Floats};
use crate::tensor::{DType, Tensor, allocate, element_count, zeros as zeros_of};
use crate::threads::chunks;

/// Products of two numbers below 256 whose sum stays below 2^24.
const TERMS: usize = 256;

/// Integers of 8 bits as float32; `None` for other types.
pub fn widened(x: &Tensor) -> Result<Option<Floats>> {
    less(x, 0.0)
}

/// The same less a number.
pub fn less(x: &Tensor, zero: f32) -> Result<Option<Floats>> {
    let mut list = pool::unset(x.len())?;
    match x.dtype() {
        DType::U8 => {
            list.iter_mut().zip(x.as_slice::<u8>()?).for_each(|(to, &from)| *to = from as f32 - zero)
        }
        DType::I8 => {
            list.iter_mut().zip(x.as_slice::<i8>()?).for_each(|(to, &from)| *to = from as f32 - zero)
        }
        _ => return Ok(None),
    }
    Ok(Some(list))
}

/// Panels of a matrix `[k, n]` of 8-bit integers, `TERMS` rows each; strides of rows and columns.
pub fn pack(source: &[f32], k: usize, n: usize, [row, column]: [usize; 2]) -> Result<Vec<Panels>> {
    let mut list = allocate(k.div_ceil(TERMS))?;
    for start in (0..k).step_by(TERMS) {
        list.push(Panels::pack(&source[start * row..], TERMS.min(k - start), n, row, column)?);
    }
    Ok(list)
}

/// Adds `rows · panels` to `sums`, row-major, wrapping. Rows are of whole numbers below 256.
///
/// Panics where the slices are shorter than the sizes say.
pub fn product(rows: &[f32], m: usize, panels: &[Panels], sums: &mut [i32]) -> Result<()> {
    let (k, n) = (panels.iter().map(|part| part.k).sum::<usize>(), panels.first().map_or(0, |part| part.n));
    if m == 0 || n == 0 {
        return Ok(());
    }
    let mut part = pool::unset(element_count(&[m, n])?)?;
    let mut start = 0;
    for block in panels {
        let rows = Rows::Dense { data: &rows[start..], stride: k };
        floats(rows, m, block, &Epilogue::default(), &mut part, n)?;
        for (sum, &part) in sums.iter_mut().zip(part.iter()) {
            *sum = sum.wrapping_add(part as i32);
        }
        start += block.k;
    }
    pool::recycle(part);
    Ok(())
}

/// Takes each column's zero point times the row's sum off products whose right side was not less it.
/// `zeros`: none, one, or one a column.
pub fn subtract_columns(rows: &[f32], k: usize, zeros: &[i64], n: usize, sums: &mut [i32]) {
    if zeros.iter().all(|&zero| zero == 0) {
        return;
    }
    for (row, sums) in rows.chunks_exact(k).zip(sums.chunks_exact_mut(n)) {
        // Whole numbers, fewer than 2^44 of them.
        let total = row.iter().map(|&x| x as i64).sum::<i64>();
        for (column, sum) in sums.iter_mut().enumerate() {
            let zero = if zeros.len() == 1 { zeros[0] } else { zeros.get(column).copied().unwrap_or(0) };
            *sum = sum.wrapping_sub(total.wrapping_mul(zero) as i32);
        }
    }
}

/// Floats of gathered windows at a time: what the second-level cache holds.
const BLOCK: usize = 1 << 17;

/// A convolution's sizes, a group's each.
pub struct Images<'a> {
    pub images: usize,
    pub groups: usize,
    pub channels: usize,
    pub filters: usize,
    /// The pixel that tap `t` of output pixel `p` reads, at `t · pixels + p`; `usize::MAX` for padding.
    pub sources: &'a [usize],
    /// Pixels of an image and of a result.
    pub area: [usize; 2],
}

impl Images<'_> {
    /// Sums `[image, filter, pixel]` over windows of `xs`, which are less their zero point. `panels` has each
    /// group's, `zeros` are those of the filters: none, one, or one each.
    pub fn convolve(&self, xs: &[f32], panels: &[Panels], zeros: &[i64], sums: &mut [i32]) -> Result<()> {
        let ([inside, pixels], filters) = (self.area, self.filters);
        let parts = panels.len() / self.groups.max(1);
        let k = panels.iter().take(parts).map(|part| part.k).sum::<usize>();
        if pixels == 0 || filters == 0 || k == 0 {
            return Ok(());
        }
        let block = (BLOCK / k).clamp(1, pixels);
        let mut rows = pool::unset(element_count(&[block, k])?)?;
        let mut made: Vec<i32> = zeros_of(element_count(&[block, filters])?)?;
        for plane in 0..self.images * self.groups {
            let group = plane % self.groups;
            let input = &xs[plane * self.channels * inside..][..self.channels * inside];
            let own = match zeros {
                [] | [_] => zeros,
                all => &all[group * filters..][..filters],
            };
            let result = &mut sums[plane * filters * pixels..][..filters * pixels];
            for start in (0..pixels).step_by(block) {
                let count = block.min(pixels - start);
                let (rows, made) = (&mut rows[..count * k], &mut made[..count * filters]);
                chunks(rows, k, |row, to| self.window(input, start + row, to));
                made.fill(0);
                product(rows, count, &panels[group * parts..][..parts], made)?;
                subtract_columns(rows, k, own, filters, made);
                for (row, line) in made.chunks_exact(filters).enumerate() {
                    for (filter, &sum) in line.iter().enumerate() {
                        result[filter * pixels + start + row] = sum;
                    }
                }
            }
        }
        pool::recycle(rows);
        Ok(())
    }

    /// The window of an output pixel, channel by channel.
    fn window(&self, input: &[f32], pixel: usize, to: &mut [f32]) {
        let ([inside, pixels], taps) = (self.area, to.len() / self.channels.max(1));
        for (tap, from) in self.sources.iter().skip(pixel).step_by(pixels).take(taps).enumerate() {
            for channel in 0..self.channels {
                let value = if *from == usize::MAX { 0.0 } else { input[channel * inside + from] };
                to[channel * taps + tap] = value;
            }
        }
    }
}
