//! AVX-512: 32 registers of 16 floats. 24 hold sums; a panel's line and one element of A fill the rest.

use super::{Call, LANES, RegisterTile, by_rows};
use std::arch::x86_64::*;

pub const TILE: RegisterTile = RegisterTile { rows: [14, 12, 8, 6], run, run_alone: run };

unsafe fn run(call: &Call, groups: usize) {
    match groups {
        1 => by_rows!(tile, 1, call, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        2 => by_rows!(tile, 2, call, 1 2 3 4 5 6 7 8 9 10 11 12),
        3 => by_rows!(tile, 3, call, 1 2 3 4 5 6 7 8),
        _ => by_rows!(tile, 4, call, 1 2 3 4 5 6),
    }
}

#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop)] // two arrays by one index
unsafe fn tile<const GROUPS: usize, const ROWS: usize>(call: &Call) {
    // SAFETY: every address is one that the call promises; lanes beyond `columns` are masked out of loads and
    // stores.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); GROUPS]; ROWS];
        let (mut b, mut a, stride) = (call.b, call.a, call.stride_a);
        for _ in 0..call.k {
            // Plain loops: a closure would be called, not inlined, since what calls it isn't compiled for
            // AVX-512.
            let mut line = [_mm512_setzero_ps(); GROUPS];
            for g in 0..GROUPS {
                line[g] = _mm512_load_ps(b.add(g * LANES));
            }
            for r in 0..ROWS {
                let x = _mm512_set1_ps(*a.add(r * stride));
                for g in 0..GROUPS {
                    sums[r][g] = _mm512_fmadd_ps(x, line[g], sums[r][g]);
                }
            }
            b = b.add(GROUPS * LANES);
            a = a.add(1);
        }
        // Stored once, for what indexes them in loops: an array that is indexed lies in memory, and the sums
        // above must not.
        let mut done = [[_mm512_setzero_ps(); GROUPS]; ROWS];
        for r in 0..ROWS {
            for g in 0..GROUPS {
                std::ptr::write_volatile(&mut done[r][g], sums[r][g]);
            }
        }
        for g in 0..GROUPS {
            let left = call.columns.saturating_sub(g * LANES);
            let mask: __mmask16 = if left >= LANES { !0 } else { (1 << left) - 1 };
            let bias = if call.bias.is_null() {
                _mm512_setzero_ps()
            } else {
                _mm512_maskz_loadu_ps(mask, call.bias.wrapping_add(g * LANES))
            };
            for r in 0..ROWS {
                let at = call.c.wrapping_add(r * call.stride_c + g * LANES);
                let mut sum = _mm512_add_ps(done[r][g], bias);
                if call.add {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at));
                }
                if !call.residual.is_null() {
                    sum = _mm512_add_ps(
                        sum,
                        _mm512_maskz_loadu_ps(
                            mask,
                            call.residual.wrapping_add(r * call.stride_c + g * LANES),
                        ),
                    );
                }
                if let Some(bounds) = call.bounds {
                    // The second operand is what max and min give where one is NaN.
                    sum = _mm512_min_ps(
                        _mm512_set1_ps(bounds.high),
                        _mm512_max_ps(_mm512_set1_ps(bounds.low), sum),
                    );
                }
                _mm512_mask_storeu_ps(at, mask, sum);
            }
        }
    }
}
