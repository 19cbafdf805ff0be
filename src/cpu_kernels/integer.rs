//! Products and convolutions of 8-bit integers in int32: by the machine's instructions for bytes, or, without
//! any, through products of float32. Those are exact too, as no sum of `TERMS` products leaves what float32
//! counts in whole numbers; the sums are added up in int32.

use super::bytes::{self, BytePanels, Rows, Scaled};
use super::panels::Panels;
use super::product::{Epilogue, Rows as FloatRows, product as floats};
use crate::error::Result;
use crate::tensor::pool::{self, Floats};
use crate::tensor::{DType, Tensor, allocate, element_count, zeros as zeros_of};
use crate::threads::chunks;

/// Products of two numbers below 256 whose sum stays below 2^24.
const TERMS: usize = 256;

/// A right-hand matrix `[k, n]` of 8-bit integers, made ready. Its zero points come in with the product.
pub enum Matrix {
    Bytes(BytePanels),
    /// `TERMS` rows each.
    Floats {
        k: usize,
        n: usize,
        parts: Vec<Panels>,
    },
}

impl Matrix {
    /// The matrix whose element (row, column) is `x[start + row · strides[0] + column · strides[1]]`. `None`
    /// for other types than those of 8 bits.
    ///
    /// Panics where an element lies outside.
    pub fn pack(x: &Tensor, start: usize, sizes: [usize; 2], strides: [usize; 2]) -> Result<Option<Self>> {
        if bytes::tiles().is_empty() {
            Self::pack_floats(x, start, sizes, strides)
        } else {
            Ok(BytePanels::pack(x, start, sizes, strides)?.map(Self::Bytes))
        }
    }

    fn pack_floats(
        x: &Tensor,
        start: usize,
        [k, n]: [usize; 2],
        [row, column]: [usize; 2],
    ) -> Result<Option<Self>> {
        let Some(list) = less(x, 0.0)? else { return Ok(None) };
        let mut parts = allocate(k.div_ceil(TERMS))?;
        for first in (0..k).step_by(TERMS) {
            parts.push(Panels::pack(&list[start + first * row..], TERMS.min(k - first), n, row, column)?);
        }
        Ok(Some(Self::Floats { k, n, parts }))
    }

    /// `[k, n]`
    pub fn sizes(&self) -> [usize; 2] {
        match self {
            Self::Bytes(panels) => [panels.k, panels.n],
            Self::Floats { k, n, .. } => [*k, *n],
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(panels) => panels.bytes(),
            Self::Floats { parts, .. } => parts.iter().map(Panels::bytes).sum(),
        }
    }
}

/// 8-bit integers less a number, as float32; `None` for other types.
fn less(x: &Tensor, zero: f32) -> Result<Option<Floats>> {
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

/// `(x − x_zero) · (matrix − zeros)`, row-major, wrapped. `zeros`: none, one, or one a column. `None`: x is of
/// another type than those of 8 bits.
pub fn multiply(x: &Tensor, x_zero: i64, matrix: &Matrix, zeros: &[i64]) -> Result<Option<Vec<i32>>> {
    let [k, n] = matrix.sizes();
    let m = x.len().checked_div(k).unwrap_or(0);
    let mut sums: Vec<i32> = zeros_of(element_count(&[m, n])?)?;
    match (matrix, bytes::tiles().first()) {
        (Matrix::Bytes(panels), Some(&tile)) => {
            let Some(rows) = Rows::of(x, k)? else { return Ok(None) };
            bytes::product(tile, &rows, m, panels, (x_zero as i32, zeros), None, &mut sums);
        }
        (Matrix::Bytes(_), None) => return Ok(None),
        (Matrix::Floats { parts, .. }, _) => {
            let Some(rows) = less(x, x_zero as f32)? else { return Ok(None) };
            product(&rows, m, parts, zeros, &mut sums)?;
        }
    }
    Ok(Some(sums))
}

/// The same made floats, in `to`. Whether there is such a form for x's type.
///
/// Panics where `to` has another length than the product.
pub fn multiply_to_floats(
    x: &Tensor,
    matrix: &Matrix,
    (x_zero, zeros): (i64, &[i64]),
    scaled: &Scaled,
    to: &mut [f32],
) -> Result<bool> {
    let [k, n] = matrix.sizes();
    let m = x.len().checked_div(k).unwrap_or(0);
    assert_eq!(to.len(), m * n);
    match (matrix, bytes::tiles().first()) {
        (Matrix::Bytes(panels), Some(&tile)) => {
            let Some(rows) = Rows::of(x, k)? else { return Ok(false) };
            let sums = bytemuck::cast_slice_mut(to);
            bytes::product(tile, &rows, m, panels, (x_zero as i32, zeros), Some(scaled), sums);
        }
        _ => {
            let Some(sums) = multiply(x, x_zero, matrix, zeros)? else { return Ok(false) };
            for (to, sums) in to.chunks_exact_mut(n.max(1)).zip(sums.chunks_exact(n.max(1))) {
                scaled.row(sums, to);
            }
        }
    }
    Ok(true)
}

/// Adds `rows · (panels − zeros)` to `sums`, row-major, wrapping. Rows are of whole numbers below 256.
///
/// Panics where the slices are shorter than the sizes say.
fn product(rows: &[f32], m: usize, panels: &[Panels], zeros: &[i64], sums: &mut [i32]) -> Result<()> {
    let (k, n) = (panels.iter().map(|part| part.k).sum::<usize>(), panels.first().map_or(0, |part| part.n));
    if m == 0 || n == 0 {
        return Ok(());
    }
    let mut part = pool::unset(element_count(&[m, n])?)?;
    let mut start = 0;
    for block in panels {
        let rows = FloatRows::Dense { data: &rows[start..], stride: k };
        floats(rows, m, block, &Epilogue::default(), &mut part, n)?;
        for (sum, &part) in sums.iter_mut().zip(part.iter()) {
            *sum = sum.wrapping_add(part as i32);
        }
        start += block.k;
    }
    pool::recycle(part);
    subtract_columns(rows, k, zeros, n, sums);
    Ok(())
}

/// Takes each column's zero point times the row's sum off products whose right side was not less it.
fn subtract_columns(rows: &[f32], k: usize, zeros: &[i64], n: usize, sums: &mut [i32]) {
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

/// Elements of gathered windows at a time: what the second-level cache holds.
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
    /// Sums `[image, filter, pixel]` over windows of x less its zero point, by each group's `matrices` less the
    /// zero points of its filters: none, one, or one each. Whether there is such a form for x's type.
    pub fn convolve(
        &self,
        x: &Tensor,
        x_zero: i64,
        matrices: &[Matrix],
        zeros: &[i64],
        sums: &mut [i32],
    ) -> Result<bool> {
        let ([inside, pixels], filters) = (self.area, self.filters);
        let k = matrices.first().map_or(0, |matrix| matrix.sizes()[0]);
        if pixels == 0 || filters == 0 || k == 0 {
            return Ok(true);
        }
        let block = (BLOCK / k).clamp(1, pixels);
        let mut made: Vec<i32> = zeros_of(element_count(&[block, filters])?)?;
        let tile = bytes::tiles().first().copied();
        // Bytes as they are packed, and what pads: the zero point.
        let Some((bytes, flip, shift)) = bytes::unsigned(x) else { return Ok(false) };
        let padding = x_zero as u8 ^ flip;
        let in_bytes = tile.is_some();
        let mut rows = Rows::new(if in_bytes { block } else { 0 }, k, shift)?;
        let xs = if in_bytes { None } else { less(x, x_zero as f32)? };
        let mut windows = pool::unset(element_count(&[if in_bytes { 0 } else { block }, k])?)?;
        for plane in 0..self.images * self.groups {
            let group = plane % self.groups;
            let own = plane * self.channels * inside..(plane + 1) * self.channels * inside;
            let zeros = match zeros {
                [] | [_] => zeros,
                all => &all[group * filters..][..filters],
            };
            let Some(matrix) = matrices.get(group) else { return Ok(false) };
            let result = &mut sums[plane * filters * pixels..][..filters * pixels];
            for start in (0..pixels).step_by(block) {
                let count = block.min(pixels - start);
                let made = &mut made[..count * filters];
                match (matrix, tile, &xs) {
                    (Matrix::Bytes(panels), Some(tile), _) => {
                        let input = &bytes[own.clone()];
                        rows.fill(count, |row, to| {
                            self.window(input, start + row, to, |x| x ^ flip, padding)
                        });
                        bytes::product(tile, &rows, count, panels, (x_zero as i32, zeros), None, made);
                    }
                    (Matrix::Floats { parts, .. }, _, Some(xs)) => {
                        let (input, windows) = (&xs[own.clone()], &mut windows[..count * k]);
                        chunks(windows, k, |row, to| self.window(input, start + row, to, |x| x, 0.0));
                        made.fill(0);
                        product(windows, count, parts, zeros, made)?;
                    }
                    _ => return Ok(false),
                }
                for (row, line) in made.chunks_exact(filters).enumerate() {
                    for (filter, &sum) in line.iter().enumerate() {
                        result[filter * pixels + start + row] = sum;
                    }
                }
            }
        }
        pool::recycle(windows);
        Ok(true)
    }

    /// The window of an output pixel, channel by channel.
    fn window<T: Copy>(&self, input: &[T], pixel: usize, to: &mut [T], of: impl Fn(T) -> T, padding: T) {
        let ([inside, pixels], taps) = (self.area, to.len() / self.channels.max(1));
        for (tap, from) in self.sources.iter().skip(pixel).step_by(pixels).take(taps).enumerate() {
            for channel in 0..self.channels {
                let outside = *from == usize::MAX;
                to[channel * taps + tap] = if outside { padding } else { of(input[channel * inside + from]) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    /// What a machine without instructions for bytes computes is the same.
    #[test]
    fn both_forms_agree() {
        let mut random = SplitMix64(3);
        let [m, k, n] = [5, 700, 33];
        let mut draw = |count: usize| (0..count).map(|_| random.next() as u8).collect::<Vec<u8>>();
        let x = Tensor::from_bytes(DType::U8, [m, k], &draw(m * k)).unwrap();
        let y = Tensor::from_bytes(DType::I8, [k, n], &draw(k * n)).unwrap();
        let zeros: Vec<i64> = (0..n as i64).collect();
        let native = Matrix::pack(&y, 0, [k, n], [n, 1]).unwrap().unwrap();
        let plain = Matrix::pack_floats(&y, 0, [k, n], [n, 1]).unwrap().unwrap();
        assert_eq!(
            multiply(&x, 99, &native, &zeros).unwrap().unwrap(),
            multiply(&x, 99, &plain, &zeros).unwrap().unwrap()
        );
    }
}
