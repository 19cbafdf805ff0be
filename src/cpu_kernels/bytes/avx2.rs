//! AVX2, whose only product of bytes saturates: they are made 16-bit integers, pairs of which are multiplied and
//! added exactly. The even and the odd bytes of a lane are such pairs, so that nothing moves between lanes. 8
//! registers hold sums of 4 rows by a lane group, group by group.

use super::half::{HALF, HALVES, by_groups, store};
use super::{Call, GROUPS, LANES, STEP, Tile};
use crate::cpu_kernels::tile::by_rows;
use std::arch::x86_64::*;

pub const TILE: Tile = Tile { rows: 4, run };

unsafe fn run(call: &Call) {
    by_groups(call, |call| by_rows!(tile, HALVES, call, 1 2 3 4));
}

#[target_feature(enable = "avx2")]
#[allow(clippy::needless_range_loop)] // two arrays by one index
unsafe fn tile<const N: usize, const ROWS: usize>(call: &Call) {
    // SAFETY: every address is one that the call promises; lanes beyond `columns` are masked out of stores.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); N]; ROWS];
        let low = _mm256_set1_epi16(0xFF);
        let (mut b, mut a) = (call.b, call.a);
        for _ in 0..call.steps {
            let (mut even, mut odd) = ([_mm256_setzero_si256(); N], [_mm256_setzero_si256(); N]);
            for h in 0..N {
                let bytes = _mm256_load_si256(b.add(h * HALF * STEP).cast());
                even[h] = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes));
                odd[h] = _mm256_srai_epi16::<8>(bytes);
            }
            for r in 0..ROWS {
                let four = a.add(r * call.stride_a).cast::<i32>().read_unaligned();
                let x = _mm256_set1_epi32(four);
                let (x_even, x_odd) = (_mm256_and_si256(x, low), _mm256_srli_epi16::<8>(x));
                for h in 0..N {
                    let pairs = _mm256_add_epi32(
                        _mm256_madd_epi16(x_even, even[h]),
                        _mm256_madd_epi16(x_odd, odd[h]),
                    );
                    sums[r][h] = _mm256_add_epi32(sums[r][h], pairs);
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
