// Products of integer matrices less their zero points, summed exactly and wrapped at 32 bits.
//
// Grid: an invocation makes ROWS × 4 elements of one product of the batch.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4 of int32; ROWS; WIDTH, invocations of a workgroup.

// n4, k4: columns and terms in groups of 4, how long rows are; a_batch, b_batch: groups from product to
// product, 0 where all have the same. zeros: bits that say which zero points there are and whether B's is
// one for all; a_zero_row, a_zero_batch: elements from row to row and from product to product of A's;
// b_zero_batch: groups of B's.
struct Params {
    m: u32, n4: u32, k: u32, k4: u32,
    a_batch: u32, b_batch: u32, zeros: u32, a_zero_row: u32,
    a_zero_batch: u32, b_zero_batch: u32, blocks: u32, invocations: u32,
    per_row: u32, spare0: u32, spare1: u32, spare2: u32,
}
// Bits of `zeros`.
const HAS_A: u32 = 1u;
const HAS_B: u32 = 2u;
const ONE_B: u32 = 4u;

@group(0) @binding(0) var<storage, read> a: array<Stored4>;
@group(0) @binding(1) var<storage, read> b: array<Stored4>;
@group(0) @binding(2) var<storage, read> a_zeros: array<Stored4>;
@group(0) @binding(3) var<storage, read> b_zeros: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> c: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;


@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.invocations { return; }
    let column = index % p.n4;
    let rest = index / p.n4;
    let first = (rest % p.blocks) * ROWS;
    let batch = rest / p.blocks;

    var b_zero = vec4(0);
    if (p.zeros & HAS_B) != 0u {
        if (p.zeros & ONE_B) != 0u {
            b_zero = vec4(lane_of(b_zeros[0], 0u));
        } else {
            b_zero = lanes4(b_zeros[batch * p.b_zero_batch + column]);
        }
    }
    // Rows beyond the last repeat it.
    var a_zero: array<i32, ROWS>;
    var row: array<u32, ROWS>;
    var sums: array<vec4<i32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let own = min(first + r, p.m - 1u);
        row[r] = batch * p.a_batch + own * p.k4;
        if (p.zeros & HAS_A) != 0u {
            let at = batch * p.a_zero_batch + own * p.a_zero_row;
            a_zero[r] = lane_of(a_zeros[at >> 2u], at & 3u);
        }
    }
    for (var k = 0u; k < p.k; k++) {
        let right = lanes4(b[batch * p.b_batch + k * p.n4 + column]) - b_zero;
        for (var r = 0u; r < ROWS; r++) {
            let left = lane_of(a[row[r] + (k >> 2u)], k & 3u) - a_zero[r];
            sums[r] += left * right;
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        if first + r < p.m {
            let made = sums[r];
            c[(batch * p.m + first + r) * p.n4 + column] = pack4(made.x, made.y, made.z, made.w);
        }
    }
}
