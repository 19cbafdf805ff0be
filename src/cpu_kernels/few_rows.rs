//! Products of a few rows with a matrix that is read where it lies: with its rows (A·Bᵀ), and with its
//! columns (A·B). For attention of one query after another, where packing the matrix would take longer than
//! the sums; what limits them is the memory that the matrix is read from, once for all rows.

use crate::simd::vector::{Kernel, Vector, dispatch};

/// Rows whose sums a loop keeps in registers.
const TOGETHER: usize = 4;
/// Rows of the matrix whose products are added before a sum is stored again.
const DEEP: usize = 4;

/// Rows of a matrix, each `width` elements `stride` behind the last.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub width: usize,
}

impl Strided<'_> {
    /// Whether the data reaches to the last row's end.
    fn holds(&self) -> bool {
        let last = self.rows.saturating_sub(1).checked_mul(self.stride);
        last.and_then(|last| last.checked_add(self.width)).is_some_and(|end| end <= self.data.len())
    }
}

/// A·Bᵀ: the product of each row of `a`, `[rows, b.width]`, with each row of B, to `y`, `[rows, b.rows]`.
/// Lists of other lengths are left as they are.
pub fn by_rows(a: &[f32], b: Strided<'_>, y: &mut [f32]) {
    if b.width == 0 || b.rows == 0 || !b.holds() || a.len() / b.width != y.len() / b.rows {
        return;
    }
    let each = (TOGETHER * b.width, TOGETHER * b.rows);
    for (a, y) in a.chunks(each.0).zip(y.chunks_mut(each.1)) {
        dispatch(ByRows { a, b, y });
    }
}

struct ByRows<'a> {
    a: &'a [f32],
    b: Strided<'a>,
    y: &'a mut [f32],
}

impl Kernel for ByRows<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        // SAFETY: `by_rows` looked at all three lengths.
        unsafe {
            match self.a.len() / self.b.width {
                4 => self.together::<V, 4>(),
                3 => self.together::<V, 3>(),
                2 => self.together::<V, 2>(),
                _ => self.together::<V, 1>(),
            }
        }
    }
}

impl ByRows<'_> {
    /// # Safety
    /// `a` and `y` hold R rows, and B its own.
    #[inline(always)]
    unsafe fn together<V: Vector, const R: usize>(self) {
        let Self { a, b, y } = self;
        let mut row = 0;
        while row < b.rows {
            // Two rows of B at a time, so that one of A is loaded once for both; the last may be by itself.
            let next = if row + 1 < b.rows { b.stride } else { 0 };
            let mut sums = [[V::splat(0.0); 2]; R];
            let mut at = 0;
            while at < b.width {
                let count = V::LANES.min(b.width - at);
                // SAFETY: `at + count` elements of each row are there.
                unsafe {
                    let from = b.data.as_ptr().add(row * b.stride + at);
                    let (first, second) = (V::load(from, count), V::load(from.add(next), count));
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let own = V::load(a.as_ptr().add(r * b.width + at), count);
                        sums[0] = own.mul_add(first, sums[0]);
                        sums[1] = own.mul_add(second, sums[1]);
                    }
                }
                at += count;
            }
            for (r, sums) in sums.iter().enumerate() {
                // SAFETY: row `r` of `y` has an element for each row of B.
                unsafe {
                    *y.get_unchecked_mut(r * b.rows + row) = sums[0].sum();
                    if next > 0 {
                        *y.get_unchecked_mut(r * b.rows + row + 1) = sums[1].sum();
                    }
                }
            }
            row += 2;
        }
    }
}

/// A·B: the sum of B's rows times the elements of each row of `a`, `[rows, b.rows]`, to `y`, `[rows,
/// b.width]`. Lists of other lengths are left as they are.
pub fn by_columns(a: &[f32], b: Strided<'_>, y: &mut [f32]) {
    if b.width == 0 || b.rows == 0 || !b.holds() || a.len() / b.rows != y.len() / b.width {
        return;
    }
    y.fill(0.0);
    let each = (TOGETHER * b.rows, TOGETHER * b.width);
    for (a, y) in a.chunks(each.0).zip(y.chunks_mut(each.1)) {
        dispatch(ByColumns { a, b, y });
    }
}

struct ByColumns<'a> {
    a: &'a [f32],
    b: Strided<'a>,
    y: &'a mut [f32],
}

impl Kernel for ByColumns<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        // SAFETY: `by_columns` looked at all three lengths.
        unsafe {
            match self.a.len() / self.b.rows {
                4 => self.together::<V, 4>(),
                3 => self.together::<V, 3>(),
                2 => self.together::<V, 2>(),
                _ => self.together::<V, 1>(),
            }
        }
    }
}

impl ByColumns<'_> {
    /// # Safety
    /// `a` and `y` hold R rows, and B its own.
    #[inline(always)]
    unsafe fn together<V: Vector, const R: usize>(mut self) {
        let mut row = 0;
        while row + DEEP <= self.b.rows {
            // SAFETY: the caller's promise; the rows are B's.
            unsafe { self.add::<V, R, DEEP>(row) };
            row += DEEP;
        }
        while row < self.b.rows {
            // SAFETY: as above.
            unsafe { self.add::<V, R, 1>(row) };
            row += 1;
        }
    }

    /// Adds D rows of B, from `row` on.
    ///
    /// # Safety
    /// As of `together`, and the rows are B's.
    #[inline(always)]
    unsafe fn add<V: Vector, const R: usize, const D: usize>(&mut self, row: usize) {
        let (a, b) = (self.a, self.b);
        let mut at = 0;
        while at < b.width {
            let count = V::LANES.min(b.width - at);
            // SAFETY: `at + count` elements of each row are there, and R rows of `a` and `y`.
            unsafe {
                let from: [V; D] =
                    std::array::from_fn(|d| V::load(b.data.as_ptr().add((row + d) * b.stride + at), count));
                for r in 0..R {
                    let to = self.y.as_mut_ptr().add(r * b.width + at);
                    let mut sum = V::load(to, count);
                    for (d, from) in from.iter().enumerate() {
                        sum = V::splat(*a.get_unchecked(r * b.rows + row + d)).mul_add(*from, sum);
                    }
                    sum.store(to, count);
                }
            }
            at += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, so that every order of sums gives the same bits: rows of every remainder, and gaps
    /// whose NaN nothing may read.
    #[test]
    fn every_size_is_the_plain_sum() {
        let number = |seed: usize| ((seed * 7919 + 13) % 17) as f32 - 8.0;
        for (rows, count, width) in [(1, 1, 1), (2, 3, 7), (3, 9, 64), (4, 5, 33), (5, 8, 16), (9, 6, 20)] {
            let stride = width + 2;
            let data: Vec<f32> = (0..count * stride - 2)
                .map(|at| if at % stride < width { number(at) } else { f32::NAN })
                .collect();
            let b = Strided { data: &data, stride, rows: count, width };
            let a: Vec<f32> = (0..rows * width).map(number).collect();
            let mut y = vec![f32::NAN; rows * count];
            by_rows(&a, b, &mut y);
            for (at, y) in y.iter().enumerate() {
                let (row, key) = (at / count, at % count);
                let sum: f32 = (0..width).map(|k| a[row * width + k] * data[key * stride + k]).sum();
                assert_eq!(*y, sum, "{rows} rows by {count} of {width}");
            }
            let weights: Vec<f32> = (0..rows * count).map(number).collect();
            let mut y = vec![f32::NAN; rows * width];
            by_columns(&weights, b, &mut y);
            for (at, y) in y.iter().enumerate() {
                let (row, k) = (at / width, at % width);
                let sum: f32 =
                    (0..count).map(|key| weights[row * count + key] * data[key * stride + k]).sum();
                assert_eq!(*y, sum, "{rows} rows of {count} by {width}");
            }
        }
    }

    #[test]
    fn a_list_too_short_is_left() {
        let b = Strided { data: &[1.0; 5], stride: 2, rows: 3, width: 2 };
        let mut y = [7.0; 3];
        by_rows(&[1.0; 2], b, &mut y);
        by_columns(&[1.0; 3], b, &mut y[..2]);
        assert_eq!(y, [7.0; 3]);
    }
}
