// Batched matrix product with epilogue, C[b] = finish(A[b] · B[b]), by tiles in workgroup memory, for
// graphics cards.
//
// Grid: a workgroup of TX × TY invocations makes a tile of C, each invocation ROWS rows of COLUMNS groups
// of 4 columns; (x, y) number the tiles, z the batches.
//
// A tile of A and one of B pass through workgroup memory, DEPTH groups of 4 along k at a time; the next ones
// are being loaded into registers while these are multiplied. With SLICES, as many such workgroups in one
// take turns along k and add up at the end (split-K): where C is small and k long, they fill the device.
// PIXELS: A is an image, read where it lies (implicit GEMM): its rows are output pixels, and k runs over
// taps and their input channels.
// Bindings, parameters, loads: lib/tiles.wgsl. The epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; TX, TY, ROWS, COLUMNS, DEPTH, SLICES; PIXELS; TAIL, the
// last group of k is partly padding; UNROLLED, opaque_bound; GENERATED, generated4.

const THREADS: u32 = TX * TY;
const TILE_M: u32 = TY * ROWS;
const TILE_N4: u32 = TX * COLUMNS;
const A_TILE: u32 = TILE_M * DEPTH;                 // [row][group of k]
const B_TILE: u32 = 4u * DEPTH * TILE_N4;           // [k][group of columns]
const A_LOADS: u32 = A_TILE / THREADS;
const B_LOADS: u32 = B_TILE / THREADS;
const SUMS: u32 = ROWS * COLUMNS;

alias Held4 = vec4<f32>;
fn held4(v: Stored4) -> Held4 { return load4(v); }

var<workgroup> shared4: array<vec4<f32>, SLICES * (A_TILE + B_TILE)>;

@compute @workgroup_size(THREADS * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = group.y * p.per_row + group.x;
    if index >= p.tiles_m * p.tiles_n { return; }
    let corner = corner_of(index, group.z);

    let slice = local / THREADS;
    let id = local % THREADS;
    let a_tile = slice * (A_TILE + B_TILE);
    let b_tile = a_tile + A_TILE;
    let a_mine = a_tile + (id / TX) * ROWS * DEPTH;
    let b_mine = b_tile + id % TX;

    var rows: array<Row, A_LOADS>;
    for (var i = 0u; i < A_LOADS; i++) {
        rows[i] = row_of(corner.row + (id + i * THREADS) / DEPTH, corner.a);
    }
    let parts = (p.groups + DEPTH - 1u) / DEPTH;
    var steps = parts;
    if PIXELS { steps *= p.window.kernel_h * p.window.kernel_w; }
    let turns = (steps + SLICES - 1u) / SLICES;

    var next_a: array<Held4, A_LOADS>;
    var next_b: array<Held4, B_LOADS>;
    var at = ahead(Place(0u, 0u, 0u), slice, parts);
    var sum: array<vec4<f32>, SUMS>;
    for (var i = 0u; i < SUMS; i++) { sum[i] = vec4(0.0); }
    for (var turn = 0u; turn <= turns; turn++) {
        if turn < turns {
            for (var i = 0u; i < opaque_bound(A_LOADS); i++) {
                next_a[i] = load_a(rows[i], at, at.part * DEPTH + id % DEPTH);
            }
            for (var i = 0u; i < opaque_bound(B_LOADS); i++) {
                let item = id + i * THREADS;
                next_b[i] = load_b(corner.b, at, item / TILE_N4, corner.column + item % TILE_N4);
            }
            at = ahead(at, SLICES, parts);
        }
        if turn > 0u {
            // The step before this one, which lies in workgroup memory.
            for (var k = 0u; k < opaque_bound(DEPTH); k++) {
                var x: array<vec4<f32>, ROWS>;
                for (var r = 0u; r < ROWS; r++) { x[r] = shared4[a_mine + r * DEPTH + k]; }
                for (var i = 0u; i < COLUMNS; i++) {
                    let w_at = b_mine + k * 4u * TILE_N4 + i * TX;
                    let w0 = shared4[w_at];
                    let w1 = shared4[w_at + TILE_N4];
                    let w2 = shared4[w_at + 2u * TILE_N4];
                    let w3 = shared4[w_at + 3u * TILE_N4];
                    for (var r = 0u; r < ROWS; r++) {
                        var s = sum[r * COLUMNS + i];
                        s = fma(vec4(x[r].x), w0, s);
                        s = fma(vec4(x[r].y), w1, s);
                        s = fma(vec4(x[r].z), w2, s);
                        sum[r * COLUMNS + i] = fma(vec4(x[r].w), w3, s);
                    }
                }
            }
        }
        workgroupBarrier();
        for (var i = 0u; i < A_LOADS; i++) { shared4[a_tile + id + i * THREADS] = next_a[i]; }
        for (var i = 0u; i < B_LOADS; i++) { shared4[b_tile + id + i * THREADS] = next_b[i]; }
        workgroupBarrier();
    }
    if SLICES > 1u {
        for (var i = 0u; i < SUMS; i++) { shared4[i * (THREADS * SLICES) + local] = sum[i]; }
        workgroupBarrier();
        if slice > 0u { return; }
        for (var i = 0u; i < SUMS; i++) {
            for (var other = 1u; other < SLICES; other++) {
                sum[i] += shared4[i * (THREADS * SLICES) + other * THREADS + id];
            }
        }
    }
    for (var i = 0u; i < COLUMNS; i++) {
        let column = corner.column + id % TX + i * TX;
        let offset = bias4(min(column, p.n4 - 1u));
        for (var r = 0u; r < ROWS; r++) {
            let row = corner.row + (id / TX) * ROWS + r;
            if row < p.m && column < p.n4 {
                // The residual is contiguous, whatever C is a part of.
                let value = finish(sum[r * COLUMNS + i], offset, (group.z * p.m + row) * p.n4 + column);
                c[p.c_offset + group.z * p.c_batch + row * p.c_row + column] = store4(value);
            }
        }
    }
}
