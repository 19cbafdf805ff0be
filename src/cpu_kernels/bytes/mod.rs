//! Products of matrices of 8-bit integers in int32, by the instructions that multiply four pairs of bytes at
//! once (AVX-512 VNNI, AVX-VNNI), where the machine has them, else by those for pairs of 16 bits (AVX2).
//!
//! They take unsigned bytes by signed ones. Others are shifted by 128 as they are packed: with
//! `a = a' − s` and `b = b' + t`, the product less the zero points is
//! `Σ a'b' − (zₐ + s) Σb' − (z_b − t) Σa' + k (zₐ + s)(z_b − t)`, all of it in int32, which wraps.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
mod corrections;
#[cfg(target_arch = "x86_64")]
mod half;

use crate::error::Result;
use crate::tensor::{DType, Tensor, allocate, element_count, zeros};
use crate::threads::{Elements, parallel_for};
use corrections::Corrections;
pub use corrections::Scaled;
use std::sync::OnceLock;

/// Columns of a lane group: as many int32 as a vector of 512 bits has.
pub const LANES: usize = 16;
/// Lane groups of a panel.
const GROUPS: usize = 3;
/// Bytes along k that one instruction multiplies and adds up.
pub const STEP: usize = 4;

/// One call of the innermost loop: `c = a' · b'`, `rows × columns` of it.
///
/// The pointers are valid for what the numbers say: `a` for `rows` rows of `steps · STEP` bytes, `stride_a`
/// apart; `b` for `steps` lines of `GROUPS · LANES · STEP` bytes; `c` for `rows` rows of `columns` elements.
#[derive(Clone, Copy)]
pub struct Call {
    pub steps: usize,
    pub a: *const u8,
    pub stride_a: usize,
    pub b: *const i8,
    pub c: *mut i32,
    pub stride_c: usize,
    pub rows: usize,
    /// At most the panel's width.
    pub columns: usize,
}

/// The innermost loop in a form that the machine runs, and the rows that one call may take.
#[derive(Clone, Copy)]
pub struct Tile {
    pub rows: usize,
    run: unsafe fn(&Call),
}

/// Every form that this machine can run, the fastest first. Without any, products go through float32.
pub fn tiles() -> &'static [Tile] {
    static FOUND: OnceLock<Vec<Tile>> = OnceLock::new();
    FOUND.get_or_init(|| {
        #[allow(unused_mut)]
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            let has_512 = std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vnni");
            if has_512 {
                all.push(avx512::TILE);
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("avxvnni") {
                all.push(avx_vnni::TILE);
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                all.push(avx2::TILE);
            }
        }
        all
    })
}

/// The elements of a tensor of 8-bit integers, moved to unsigned ones, and by how much; `None` for other
/// types.
pub(super) fn unsigned(x: &Tensor) -> Option<(&[u8], u8, i32)> {
    match x.dtype() {
        DType::U8 => Some((x.bytes(), 0, 0)),
        DType::I8 => Some((x.bytes(), 0x80, 128)),
        _ => None,
    }
}

/// Rows of a left-hand matrix, each padded to whole steps.
pub struct Rows {
    pub k: usize,
    data: Vec<u8>,
    /// The sum of each row as it is packed.
    sums: Vec<i32>,
    /// What was added to each element.
    shift: i32,
}

impl Rows {
    /// The rows of `[…, k]`. `None` for other types than those of 8 bits.
    pub fn of(x: &Tensor, k: usize) -> Result<Option<Self>> {
        let Some((from, flip, shift)) = unsigned(x) else { return Ok(None) };
        let mut rows = Self::new(from.len() / k.max(1), k, shift)?;
        let stride = rows.stride();
        let sums = Elements(rows.sums.as_mut_ptr());
        crate::threads::chunks(&mut rows.data, stride.max(1), |row, to| {
            let from = &from[row * k..][..k];
            to.iter_mut().zip(from).for_each(|(to, &x)| *to = x ^ flip);
            // SAFETY: there is a sum for each row, and each chunk is one row.
            unsafe { *sums.at(row) = to.iter().map(|&x| x as i32).sum() };
        });
        Ok(Some(rows))
    }

    /// Rows of zeros, to be filled by [`Rows::fill`].
    pub fn new(count: usize, k: usize, shift: i32) -> Result<Self> {
        let stride = k.next_multiple_of(STEP);
        Ok(Self { k, data: zeros(element_count(&[count, stride])?)?, sums: zeros(count)?, shift })
    }

    /// Fills the first `count` rows: `work` writes the k elements of one, as they are packed.
    pub fn fill(&mut self, count: usize, work: impl Fn(usize, &mut [u8]) + Sync) {
        let (k, stride, sums) = (self.k, self.stride(), Elements(self.sums.as_mut_ptr()));
        let count = count.min(self.sums.len());
        crate::threads::chunks(&mut self.data[..count * stride], stride.max(1), |row, to| {
            work(row, &mut to[..k]);
            // SAFETY: there is a sum for each row, and each chunk is one row.
            unsafe { *sums.at(row) = to.iter().map(|&x| x as i32).sum() };
        });
    }

    /// The same on this thread.
    pub fn fill_here(&mut self, count: usize, work: impl Fn(usize, &mut [u8])) {
        let (k, stride) = (self.k, self.stride().max(1));
        for ((row, to), sum) in self.data.chunks_exact_mut(stride).take(count).enumerate().zip(&mut self.sums)
        {
            work(row, &mut to[..k]);
            *sum = to.iter().map(|&x| x as i32).sum();
        }
    }

    fn stride(&self) -> usize {
        self.k.next_multiple_of(STEP)
    }
}

/// B `[k, n]` in panels `[⌈n / width⌉][⌈k / 4⌉][width][4]`, what lies beyond k and n zero.
pub struct BytePanels {
    pub k: usize,
    pub n: usize,
    data: Vec<Line>,
    /// The sum of each column as it is packed.
    sums: Vec<i32>,
    /// What was taken off each element.
    shift: i32,
}

/// A cache line.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([[i8; 32]; 2]);

const WIDTH: usize = GROUPS * LANES;

impl BytePanels {
    /// Panels of a matrix whose element (row, column) is `x[start + row · strides[0] + column · strides[1]]`.
    /// `None` for other types than those of 8 bits.
    pub fn pack(x: &Tensor, start: usize, [k, n]: [usize; 2], strides: [usize; 2]) -> Result<Option<Self>> {
        let Some((from, flip, _)) = unsigned(x) else { return Ok(None) };
        // Signed is what is wanted here.
        let (flip, shift) = (flip ^ 0x80, if flip == 0 { 128 } else { 0 });
        let steps = k.div_ceil(STEP);
        let lines = element_count(&[n.div_ceil(WIDTH), steps, WIDTH * STEP])? / size_of::<Line>();
        let mut data: Vec<Line> = allocate(lines)?;
        data.resize(lines, Line::default());
        let mut sums: Vec<i32> = zeros(n)?;
        let bytes: &mut [i8] = bytemuck::cast_slice_mut(&mut data);
        for (column, sum) in sums.iter_mut().enumerate() {
            let panel = &mut bytes[column / WIDTH * steps * WIDTH * STEP..];
            for row in 0..k {
                let value = (from[start + row * strides[0] + column * strides[1]] ^ flip) as i8;
                panel[(row / STEP * WIDTH + column % WIDTH) * STEP + row % STEP] = value;
                *sum = sum.wrapping_add(value as i32);
            }
        }
        Ok(Some(Self { k, n, data, sums, shift }))
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&self.data[..]) + size_of_val(&self.sums[..])
    }

    fn panel(&self, index: usize) -> &[i8] {
        let size = self.k.div_ceil(STEP) * WIDTH * STEP;
        &bytemuck::cast_slice(&self.data)[index * size..][..size]
    }
}

/// `(rows − a_zero) · (panels − b_zeros)` of the first `m` rows, row-major, wrapping. `b_zeros`: none, one,
/// or one a column. `scaled`: the sums are made float32, whose bits are written.
///
/// Panics where there are fewer rows or sums than that, or k differs.
pub fn product(
    tile: Tile,
    rows: &Rows,
    m: usize,
    panels: &BytePanels,
    zeros: (i32, &[i64]),
    scaled: Option<&Scaled>,
    out: &mut [i32],
) {
    assert!(rows.k == panels.k && m <= rows.sums.len() && out.len() >= m * panels.n);
    if m == 0 || panels.n == 0 {
        return;
    }
    // A few tiles of rows share a panel while it is in cache.
    let block = tile.rows * 4;
    let (blocks, count) = (m.div_ceil(block), panels.n.div_ceil(WIDTH));
    let all = Elements(out.as_mut_ptr());
    parallel_for(blocks * count, |part| {
        let first = part / count * block;
        let lines = first..m.min(first + block);
        let corrections = Corrections::new(rows, panels, part % count, zeros, scaled);
        // SAFETY: the lines are rows of the result, which has `m` of them; no other part writes this panel's
        // columns of theirs.
        unsafe { panel_product(tile, rows, lines, panels, &corrections, &all) };
    });
}

/// The same of the first rows, on this thread.
///
/// Panics as [`product`] does.
pub fn product_here(
    tile: Tile,
    rows: &Rows,
    m: usize,
    panels: &BytePanels,
    zeros: (i32, &[i64]),
    out: &mut [i32],
) {
    assert!(rows.k == panels.k && m <= rows.sums.len() && out.len() >= m * panels.n);
    let all = Elements(out.as_mut_ptr());
    for panel in 0..panels.n.div_ceil(WIDTH) {
        let corrections = Corrections::new(rows, panels, panel, zeros, None);
        // SAFETY: the rows of the result, which has `m` of them.
        unsafe { panel_product(tile, rows, 0..m, panels, &corrections, &all) };
    }
}

/// The columns of one panel, of some rows.
///
/// # Safety
/// `out` has a row of `panels.n` elements for each of the lines, and nobody else writes those of this panel.
/// The machine has what the tile needs; the rows have the panels' k, and there are as many as the lines say.
unsafe fn panel_product(
    tile: Tile,
    rows: &Rows,
    lines: std::ops::Range<usize>,
    panels: &BytePanels,
    corrections: &Corrections,
    out: &Elements<i32>,
) {
    let (n, stride, end) = (panels.n, rows.stride(), lines.end);
    let (panel, column) = (panels.panel(corrections.panel), corrections.panel * WIDTH);
    for row in lines.step_by(tile.rows) {
        let rows_here = tile.rows.min(end - row);
        let call = Call {
            steps: rows.k.div_ceil(STEP),
            a: rows.data[row * stride..].as_ptr(),
            stride_a: stride,
            b: panel.as_ptr(),
            c: out.at(row * n + column),
            stride_c: n,
            rows: rows_here,
            columns: corrections.columns,
        };
        // SAFETY: the caller's promise: `rows_here` rows from `row` on and `columns` from `column` on lie
        // inside the result.
        unsafe { (tile.run)(&call) };
        for r in row..row + rows_here {
            // SAFETY: as above.
            let line = unsafe { std::slice::from_raw_parts_mut(out.at(r * n + column), corrections.columns) };
            corrections.apply(line, rows.sums[r]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    /// Every form of this machine gives what the definition says, for all four pairs of types and odd sizes.
    #[test]
    fn products_are_exact() {
        let mut random = SplitMix64(7);
        let mut draw = |count: usize| (0..count).map(|_| random.next() as u8).collect::<Vec<u8>>();
        for [m, k, n] in [[1, 1, 1], [3, 5, 7], [9, 64, 48], [33, 131, 50], [2, 1024, 97]] {
            let (a, b, b_zeros) = (draw(m * k), draw(k * n), draw(n));
            for (a_type, b_type) in [
                (DType::U8, DType::I8),
                (DType::I8, DType::I8),
                (DType::U8, DType::U8),
                (DType::I8, DType::U8),
            ] {
                let value = |dtype: DType, byte: u8| {
                    if dtype == DType::I8 { (byte as i8) as i64 } else { byte as i64 }
                };
                let x = Tensor::from_bytes(a_type, [m, k], &a).unwrap();
                let y = Tensor::from_bytes(b_type, [k, n], &b).unwrap();
                let rows = Rows::of(&x, k).unwrap().unwrap();
                let panels = BytePanels::pack(&y, 0, [k, n], [n, 1]).unwrap().unwrap();
                let (a_zero, zeros) =
                    (value(a_type, 200), b_zeros.iter().map(|&zero| value(b_type, zero)).collect::<Vec<_>>());
                let expected: Vec<i32> = (0..m * n)
                    .map(|at| {
                        let term = |t: usize| {
                            (value(a_type, a[at / n * k + t]) - a_zero)
                                * (value(b_type, b[t * n + at % n]) - zeros[at % n])
                        };
                        (0..k).map(term).sum::<i64>() as i32
                    })
                    .collect();
                for &tile in tiles() {
                    let mut out = vec![0; m * n];
                    product(tile, &rows, m, &panels, (a_zero as i32, &zeros), None, &mut out);
                    assert_eq!(out, expected, "{m}×{k}×{n}, {a_type} by {b_type}");
                    let (scales, bias) = (vec![0.3; n], vec![-7.5; n]);
                    let scaled = Scaled::new(n, [&[0.11], &scales], Some(&bias)).unwrap().unwrap();
                    product(tile, &rows, m, &panels, (a_zero as i32, &zeros), Some(&scaled), &mut out);
                    let floats = |&sum: &i32| (sum as f32 * (0.11 * 0.3) - 7.5).to_bits() as i32;
                    assert_eq!(out, expected.iter().map(floats).collect::<Vec<_>>());
                }
            }
        }
    }
}
