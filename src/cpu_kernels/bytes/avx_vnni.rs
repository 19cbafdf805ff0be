//! AVX-VNNI, the form for vectors of 256 bits: 12 registers hold sums of 6 rows by a lane group, group by group.

use super::{Call, GROUPS, LANES, STEP, Tile};
use crate::cpu_kernels::tile::by_rows;
use std::arch::x86_64::*;

pub const TILE: Tile = Tile { rows: 6, run };

const HALF: usize = LANES / 2;
const HALVES: usize = 2;

unsafe fn run(call: &Call) {
    for group in 0..call.columns.div_ceil(LANES) {
        let own = Call {
            b: call.b.wrapping_add(group * LANES * STEP),
            c: call.c.wrapping_add(group * LANES),
            columns: LANES.min(call.columns - group * LANES),
            ..*call
        };
        let call = &own;
        by_rows!(tile, HALVES, call, 1 2 3 4 5 6)
    }
}

#[target_feature(enable = "avx2,avxvnni")]
#[allow(clippy::needless_range_loop)] // two arrays by one index
unsafe fn tile<const N: usize, const ROWS: usize>(call: &Call) {
    // SAFETY: every address is one that the call promises; lanes beyond `columns` are masked out of stores.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); N]; ROWS];
        let (mut b, mut a) = (call.b, call.a);
        for _ in 0..call.steps {
            let mut line = [_mm256_setzero_si256(); N];
            for h in 0..N {
                line[h] = _mm256_load_si256(b.add(h * HALF * STEP).cast());
            }
            for r in 0..ROWS {
                let four = a.add(r * call.stride_a).cast::<i32>().read_unaligned();
                let x = _mm256_set1_epi32(four);
                for h in 0..N {
                    sums[r][h] = _mm256_dpbusd_avx_epi32(sums[r][h], x, line[h]);
                }
            }
            b = b.add(GROUPS * LANES * STEP);
            a = a.add(STEP);
        }
        for h in 0..N {
            let left = call.columns.saturating_sub(h * HALF).min(HALF) as i32;
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
            for r in 0..ROWS {
                _mm256_maskstore_epi32(call.c.wrapping_add(r * call.stride_c + h * HALF), mask, sums[r][h]);
            }
        }
    }
}
