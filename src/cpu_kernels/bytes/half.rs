//! What the forms for vectors of 256 bits share: a lane group is two vectors, and groups follow one another.

use super::{Call, LANES, STEP};
use std::arch::x86_64::*;

/// Lanes of a vector, and vectors of a lane group.
pub const HALF: usize = LANES / 2;
pub const HALVES: usize = 2;

/// Calls a tile for each lane group.
pub fn by_groups(call: &Call, tile: impl Fn(&Call)) {
    for group in 0..call.columns.div_ceil(LANES) {
        tile(&Call {
            b: call.b.wrapping_add(group * LANES * STEP),
            c: call.c.wrapping_add(group * LANES),
            columns: LANES.min(call.columns - group * LANES),
            ..*call
        });
    }
}

/// Stores a row's sums in a group's vector, those that lie within the columns.
///
/// # Safety
/// `call.c` is as [`Call`] says, and `row` one of its rows.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn store(call: &Call, row: usize, half: usize, sums: __m256i) {
    let left = call.columns.saturating_sub(half * HALF).min(HALF);
    let to = call.c.wrapping_add(row * call.stride_c + half * HALF);
    // SAFETY: the caller's promise; lanes beyond the columns are masked out.
    unsafe {
        // A masked store takes an AMD machine as long as a dozen plain ones.
        if left == HALF {
            return _mm256_storeu_si256(to.cast(), sums);
        }
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_maskstore_epi32(to, _mm256_cmpgt_epi32(_mm256_set1_epi32(left as i32), lanes), sums);
    }
}
