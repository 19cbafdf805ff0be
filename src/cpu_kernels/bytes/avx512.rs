//! AVX-512 VNNI: 24 registers hold sums of 8 rows by three lane groups.

use super::{Call, GROUPS, LANES, STEP, Tile};
use crate::cpu_kernels::tile::by_rows;
use std::arch::x86_64::*;

pub const TILE: Tile = Tile { rows: 8, run };

unsafe fn run(call: &Call) {
    by_rows!(tile, GROUPS, call, 1 2 3 4 5 6 7 8)
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(clippy::needless_range_loop)] // two arrays by one index
unsafe fn tile<const N: usize, const ROWS: usize>(call: &Call) {
    // SAFETY: every address is one that the call promises; lanes beyond `columns` are masked out of stores.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); N]; ROWS];
        let (mut b, mut a) = (call.b, call.a);
        for _ in 0..call.steps {
            let mut line = [_mm512_setzero_si512(); N];
            for g in 0..N {
                line[g] = _mm512_load_si512(b.add(g * LANES * STEP).cast());
            }
            for r in 0..ROWS {
                let four = a.add(r * call.stride_a).cast::<i32>().read_unaligned();
                let x = _mm512_set1_epi32(four);
                for g in 0..N {
                    sums[r][g] = _mm512_dpbusd_epi32(sums[r][g], x, line[g]);
                }
            }
            b = b.add(N * LANES * STEP);
            a = a.add(STEP);
        }
        for g in 0..N {
            let left = call.columns.saturating_sub(g * LANES);
            let mask: __mmask16 = if left >= LANES { !0 } else { (1 << left) - 1 };
            for r in 0..ROWS {
                _mm512_mask_storeu_epi32(
                    call.c.wrapping_add(r * call.stride_c + g * LANES),
                    mask,
                    sums[r][g],
                );
            }
        }
    }
}
