//! Plain Rust, which the compiler vectorises with what the target always has (SSE2, NEON).

use super::{Call, LANES, RegisterTile};

pub const TILE: RegisterTile = RegisterTile { rows: [ROWS, 0, 0, 0], run, run_alone: run };

const ROWS: usize = 3;

unsafe fn run(call: &Call, _groups: usize) {
    match call.rows {
        1 => unsafe { tile::<1>(call) },
        2 => unsafe { tile::<2>(call) },
        _ => unsafe { tile::<ROWS>(call) },
    }
}

unsafe fn tile<const ROWS: usize>(call: &Call) {
    let mut sums = [[0f32; LANES]; ROWS];
    for k in 0..call.k {
        // SAFETY: a line of the panel, which is LANES wide.
        let line = unsafe { &*call.b.add(k * LANES).cast::<[f32; LANES]>() };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row r of A, element k.
            let x = unsafe { *call.a.add(r * call.stride_a + k) };
            for (sum, &y) in sums.iter_mut().zip(line) {
                *sum += x * y;
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (column, &sum) in sums.iter().enumerate().take(call.columns) {
            // SAFETY: a column that the call promises, of `c`, of `residual` and of `bias`.
            unsafe {
                let at = r * call.stride_c + column;
                let mut sum = sum;
                if !call.bias.is_null() {
                    sum += *call.bias.add(column);
                }
                if call.add {
                    sum += *call.c.add(at);
                }
                if !call.residual.is_null() {
                    sum += *call.residual.add(at);
                }
                if let Some(bounds) = call.bounds {
                    sum = if sum < bounds.low { bounds.low } else { sum };
                    sum = if sum > bounds.high { bounds.high } else { sum };
                }
                *call.c.add(at) = sum;
            }
        }
    }
}
