//! AVX-VNNI, the form for vectors of 256 bits: 12 registers hold sums of 6 rows by a lane group, group by group.

use super::half::{HALF, HALVES, by_groups, store};
use super::{Call, GROUPS, LANES, STEP, Tile};
use crate::cpu_kernels::tile::by_rows;
use std::arch::x86_64::*;

pub const TILE: Tile = Tile { rows: 6, run };

unsafe fn run(call: &Call) {
    by_groups(call, |call| by_rows!(tile, HALVES, call, 1 2 3 4 5 6));
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
            for r in 0..ROWS {
                store(call, r, h, sums[r][h]);
            }
        }
    }
}
