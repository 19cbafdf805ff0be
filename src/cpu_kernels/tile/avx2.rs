//! AVX2 with FMA: 16 registers of 8 floats. 12 hold sums of 6 rows by one lane group.

use super::{Call, LANES, RegisterTile, by_rows};
use std::arch::x86_64::*;

pub const TILE: RegisterTile = RegisterTile { rows: [6, 0, 0, 0], run, run_alone };

const HALF: usize = LANES / 2;

unsafe fn run(call: &Call, _groups: usize) {
    by_rows!(tile, 2, call, 1 2 3 4 5 6)
}

/// Terms of one row that are summed up apart: a sum waits four cycles for the last product that was added to
/// it, in which its two registers could take eight.
const CHAINS: usize = 4;

unsafe fn run_alone(call: &Call, _groups: usize) {
    // SAFETY: the caller's promise.
    unsafe { alone(call) }
}

#[target_feature(enable = "avx2,fma")]
#[allow(clippy::needless_range_loop)] // two arrays by one index
unsafe fn alone(call: &Call) {
    // SAFETY: as of `tile`.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; CHAINS];
        let (mut b, mut a) = (call.b, call.a);
        for _ in 0..call.k / CHAINS {
            for c in 0..CHAINS {
                let x = _mm256_set1_ps(*a.add(c));
                for h in 0..2 {
                    sums[c][h] = _mm256_fmadd_ps(x, _mm256_load_ps(b.add(c * LANES + h * HALF)), sums[c][h]);
                }
            }
            b = b.add(CHAINS * LANES);
            a = a.add(CHAINS);
        }
        for _ in 0..call.k % CHAINS {
            let x = _mm256_set1_ps(*a);
            for h in 0..2 {
                sums[0][h] = _mm256_fmadd_ps(x, _mm256_load_ps(b.add(h * HALF)), sums[0][h]);
            }
            b = b.add(LANES);
            a = a.add(1);
        }
        let mut done = [[_mm256_setzero_ps(); 2]];
        for h in 0..2 {
            let pairs = [_mm256_add_ps(sums[0][h], sums[1][h]), _mm256_add_ps(sums[2][h], sums[3][h])];
            done[0][h] = _mm256_add_ps(pairs[0], pairs[1]);
        }
        store(call, &done);
    }
}

#[target_feature(enable = "avx2,fma")]
#[allow(clippy::needless_range_loop)] // two arrays by one index
unsafe fn tile<const HALVES: usize, const ROWS: usize>(call: &Call) {
    // SAFETY: every address is one that the call promises; lanes beyond `columns` are masked out of loads and
    // stores.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); HALVES]; ROWS];
        let (mut b, mut a, stride) = (call.b, call.a, call.stride_a);
        for _ in 0..call.k {
            let mut line = [_mm256_setzero_ps(); HALVES];
            for h in 0..HALVES {
                line[h] = _mm256_load_ps(b.add(h * HALF));
            }
            for r in 0..ROWS {
                let x = _mm256_set1_ps(*a.add(r * stride));
                for h in 0..HALVES {
                    sums[r][h] = _mm256_fmadd_ps(x, line[h], sums[r][h]);
                }
            }
            b = b.add(LANES);
            a = a.add(1);
        }
        // Stored once, for what indexes them in loops: an array that is indexed lies in memory, and the sums
        // above must not.
        let mut done = [[_mm256_setzero_ps(); HALVES]; ROWS];
        for r in 0..ROWS {
            for h in 0..HALVES {
                std::ptr::write_volatile(&mut done[r][h], sums[r][h]);
            }
        }
        store(call, &done);
    }
}

/// What follows the sums.
///
/// # Safety
/// As of `tile`.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[allow(clippy::needless_range_loop)] // two arrays by one index
unsafe fn store<const HALVES: usize, const ROWS: usize>(call: &Call, done: &[[__m256; HALVES]; ROWS]) {
    // SAFETY: lanes beyond `columns` are masked out of loads and stores.
    unsafe {
        for h in 0..HALVES {
            let left = call.columns.saturating_sub(h * HALF).min(HALF);
            // A masked store takes an AMD machine as long as a dozen plain ones.
            let whole = left == HALF;
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left as i32), lanes);
            let bias = if call.bias.is_null() {
                _mm256_setzero_ps()
            } else {
                _mm256_maskload_ps(call.bias.wrapping_add(h * HALF), mask)
            };
            for r in 0..ROWS {
                let at = call.c.wrapping_add(r * call.stride_c + h * HALF);
                let mut sum = _mm256_add_ps(done[r][h], bias);
                if call.add {
                    sum = _mm256_add_ps(sum, _mm256_maskload_ps(at, mask));
                }
                if !call.residual.is_null() {
                    sum = _mm256_add_ps(
                        sum,
                        _mm256_maskload_ps(call.residual.wrapping_add(r * call.stride_c + h * HALF), mask),
                    );
                }
                if let Some(bounds) = call.bounds {
                    // The second operand is what max and min give where one is NaN.
                    sum = _mm256_min_ps(
                        _mm256_set1_ps(bounds.high),
                        _mm256_max_ps(_mm256_set1_ps(bounds.low), sum),
                    );
                }
                if whole {
                    _mm256_storeu_ps(at, sum);
                } else {
                    _mm256_maskstore_ps(at, mask, sum);
                }
            }
        }
    }
}
