//! One vector of float32 lanes of the width that the machine has, for loops that the compiler doesn't
//! vectorise by itself.

/// A register of float32 lanes.
///
/// Every function is inlined into a [`Kernel`] that was compiled for the lanes' instructions, and must be
/// called from there alone.
pub trait Vector: Copy {
    const LANES: usize;
    fn splat(x: f32) -> Self;
    /// # Safety
    /// `count` floats, at most `LANES`, can be read at `from`; the lanes beyond are 0.
    unsafe fn load(from: *const f32, count: usize) -> Self;
    /// # Safety
    /// `count` floats, at most `LANES`, can be written at `to`.
    unsafe fn store(self, to: *mut f32, count: usize);
    /// `self · by + to`
    fn mul_add(self, by: Self, to: Self) -> Self;
    /// The larger of each two lanes, NaN where one is NaN.
    fn larger(self, other: Self) -> Self;
    fn plus(self, other: Self) -> Self;
    fn over(self, divisor: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    /// The sum of all lanes.
    fn sum(self) -> f32;
    /// The bits `shift..` of each word under a mask below 2²⁴, as numbers.
    ///
    /// # Safety
    /// `LANES` words can be read at `from`; `shift` is below 32.
    unsafe fn codes(from: *const u32, shift: u32, mask: u32) -> Self;
}

/// A computation over vectors of any width.
pub trait Kernel {
    /// Mark the implementation `#[inline(always)]`.
    fn run<V: Vector>(self);
}

/// Runs a kernel with the widest vectors of this machine.
pub fn dispatch<K: Kernel>(kernel: K) {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was found.
            return unsafe { x86::avx512(kernel) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the features were found.
            return unsafe { x86::avx2(kernel) };
        }
    }
    kernel.run::<Plain>();
}

/// Eight lanes in plain Rust.
#[derive(Clone, Copy)]
struct Plain([f32; 8]);

impl Vector for Plain {
    const LANES: usize = 8;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 8];
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count.min(8)) };
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count.min(8)) };
    }
    #[inline(always)]
    fn mul_add(self, by: Self, to: Self) -> Self {
        let mut sums = to.0;
        for (sum, (x, y)) in sums.iter_mut().zip(self.0.iter().zip(by.0)) {
            *sum += x * y;
        }
        Self(sums)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            let (x, y) = (self.0[lane], other.0[lane]);
            if x > y || x.is_nan() { x } else { y }
        }))
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    fn over(self, divisor: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] / divisor.0[lane]))
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self.0.iter().sum()
    }
    #[inline(always)]
    unsafe fn codes(from: *const u32, shift: u32, mask: u32) -> Self {
        // SAFETY: the caller's promise. The codes are below 2²⁴, which int32 and float32 both hold.
        Self(std::array::from_fn(|lane| ((unsafe { from.add(lane).read() } >> shift & mask) as i32) as f32))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Vector};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub fn avx512<K: Kernel>(kernel: K) {
        kernel.run::<__m512>();
    }
    #[target_feature(enable = "avx2,fma")]
    pub fn avx2<K: Kernel>(kernel: K) {
        kernel.run::<__m256>();
    }

    // SAFETY of every intrinsic below: it is inlined into one of the two functions above, whose features it
    // needs; addresses are the caller's promise.
    impl Vector for __m512 {
        const LANES: usize = 16;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32, count: usize) -> Self {
            if count >= 16 {
                unsafe { _mm512_loadu_ps(from) }
            } else {
                unsafe { _mm512_maskz_loadu_ps((1 << count) - 1, from) }
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, count: usize) {
            if count >= 16 {
                unsafe { _mm512_storeu_ps(to, self) }
            } else {
                unsafe { _mm512_mask_storeu_ps(to, (1 << count) - 1, self) }
            }
        }
        #[inline(always)]
        fn mul_add(self, by: Self, to: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, by, to) }
        }
        #[inline(always)]
        fn larger(self, other: Self) -> Self {
            // The instruction gives its second operand where one is NaN; where that is the first, it is put
            // back.
            unsafe {
                _mm512_mask_mov_ps(
                    _mm512_max_ps(self, other),
                    _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self),
                    self,
                )
            }
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        fn over(self, divisor: Self) -> Self {
            unsafe { _mm512_div_ps(self, divisor) }
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            unsafe { _mm512_mul_ps(self, other) }
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            unsafe { _mm512_sub_ps(self, other) }
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self) }
        }
        #[inline(always)]
        unsafe fn codes(from: *const u32, shift: u32, mask: u32) -> Self {
            unsafe {
                let words = _mm512_loadu_si512(from.cast());
                let codes = _mm512_srlv_epi32(words, _mm512_set1_epi32(shift as i32));
                _mm512_cvtepi32_ps(_mm512_and_si512(codes, _mm512_set1_epi32(mask as i32)))
            }
        }
    }

    #[inline(always)]
    fn mask(count: usize) -> __m256i {
        unsafe {
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
        }
    }

    impl Vector for __m256 {
        const LANES: usize = 8;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32, count: usize) -> Self {
            if count >= 8 {
                unsafe { _mm256_loadu_ps(from) }
            } else {
                unsafe { _mm256_maskload_ps(from, mask(count)) }
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, count: usize) {
            if count >= 8 {
                unsafe { _mm256_storeu_ps(to, self) }
            } else {
                unsafe { _mm256_maskstore_ps(to, mask(count), self) }
            }
        }
        #[inline(always)]
        fn mul_add(self, by: Self, to: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, by, to) }
        }
        #[inline(always)]
        fn larger(self, other: Self) -> Self {
            unsafe {
                _mm256_blendv_ps(_mm256_max_ps(self, other), self, _mm256_cmp_ps::<_CMP_UNORD_Q>(self, self))
            }
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        fn over(self, divisor: Self) -> Self {
            unsafe { _mm256_div_ps(self, divisor) }
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            unsafe { _mm256_mul_ps(self, other) }
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            unsafe { _mm256_sub_ps(self, other) }
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }
        #[inline(always)]
        unsafe fn codes(from: *const u32, shift: u32, mask: u32) -> Self {
            unsafe {
                let words = _mm256_loadu_si256(from.cast());
                let codes = _mm256_srlv_epi32(words, _mm256_set1_epi32(shift as i32));
                _mm256_cvtepi32_ps(_mm256_and_si256(codes, _mm256_set1_epi32(mask as i32)))
            }
        }
    }
}
