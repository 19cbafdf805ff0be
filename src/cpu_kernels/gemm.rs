//! Matrix products on the CPU, by the `gemm` crate: blocked sums, threads by rayon.

use crate::tensor::Real;

/// A matrix in a slice, with strides in elements.
#[derive(Clone, Copy)]
pub struct MatrixRef<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<T> MatrixRef<'_, T> {
    /// Whether every element lies in the slice.
    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride < self.data.len()
    }
}

/// `c = a · b`; `c` is row-major, `a.rows × b.columns`. Panics where the slices are shorter than the sizes
/// say.
pub fn gemm<T: Real>(a: MatrixRef<'_, T>, b: MatrixRef<'_, T>, c: &mut [T]) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(
        a.fits() && b.fits() && k == b.rows && c.len() == m * n,
        "a matrix product with sizes that don't agree"
    );
    if k == 0 || m == 0 || n == 0 {
        c.fill(T::default());
        return;
    }
    let parallelism = if m.saturating_mul(n).saturating_mul(k) > 1 << 16 {
        gemm::Parallelism::Rayon(0)
    } else {
        gemm::Parallelism::None
    };
    // SAFETY: the assertion above holds every address that the strides reach within the slices; c is
    // exclusive.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::default(),
            T::of(1.0),
            false,
            false,
            false,
            parallelism,
        );
    }
}
