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

/// The lanes of a group's vector that lie within the columns.
#[inline]
#[target_feature(enable = "avx2")]
pub fn mask(call: &Call, half: usize) -> __m256i {
    let left = call.columns.saturating_sub(half * HALF).min(HALF) as i32;
    _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}
