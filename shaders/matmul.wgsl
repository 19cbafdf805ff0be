// Batched matrix product with epilogue, C[b] = finish(A[b] · B[b]).
//
// Grid: an invocation makes a block of ROWS rows × 4 columns of C. WIDTH groups of 4 columns are a
// workgroup; with rows_first x runs over blocks of rows and y over columns, else the other way; z runs over
// batches.
//
// Rows come from workgroup_id alone, so that A's loads are uniform: one transaction on a graphics card; one
// scalar load and a broadcast on a software adapter, which has to be told so: see uniform_index. B's groups
// of 4 columns lie side by side across the workgroup.
// Bindings and parameters: lib/product.wgsl. The loads of B: lib/b_rows.wgsl, lib/b_panels.wgsl or
// lib/b_nbits.wgsl. The loads of A: lib/shared_*.wgsl. The epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; uniform_index, uniform_small; order4, ordered4,
// uniform4, QUADS; UNROLLED, opaque_index; ROWS, WIDTH; TAIL, k % 4 ≠ 0; GENERATED, generated4;
// StoredB, B_PARTS, b_column, b_group, b_steps, b_held, b_part, b_ordered, b_row.

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    // Which of rows and columns neighbouring workgroups share: the larger matrix is then read once.
    let row_block = select(group.y, group.x, p.rows_first != 0u);
    let own = select(group.x, group.y, p.rows_first != 0u) * WIDTH + local;
    if !QUADS && own >= p.n4 { return; }
    // Beyond the last group of columns an invocation helps to load A, and stores nothing.
    let column = min(own, p.n4 - 1u);
    let outer = group.z / p.inner;
    let inner = group.z % p.inner;
    let b_start = p.b_offset + outer * p.b_outer + inner * p.b_inner + b_column(column, p.b_row);
    let a_base = uniform_index(p.a_offset + outer * p.a_outer + inner * p.a_inner);
    let a_row = uniform_index(p.a_row);
    let last = uniform_index(p.m - 1u);
    let first = uniform_index(row_block) * ROWS;

    var sum: array<vec4<f32>, ROWS>;
    var a_at: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        sum[r] = vec4(0.0);
        // A row beyond the last repeats it and isn't stored.
        a_at[r] = a_base + min(first + r, last) * a_row;
    }
    let steps = b_steps(order4(local), p.b_row);
    let whole = p.k >> 2u;
    // uniform_small takes numbers below 64.
    for (var block = 0u; block < whole; block += 64u) {
        let ahead = uniform_index(block);
        let count = min(64u, whole - block) / B_PARTS;
        for (var k = 0u; k < count; k++) {
            let held = b_held(b_group(b_start, block + k * B_PARTS, p.b_row), p.b_row);
            for (var part = 0u; part < B_PARTS; part++) {
                let a_k = ahead + uniform_small(k * B_PARTS + part);
                let w = b_part(held, part, steps);
                for (var r = 0u; r < ROWS; r++) {
                    let x = ordered4(a_at[r] + a_k, local);
                    sum[r] += x.x * w[0] + x.y * w[1] + (x.z * w[2] + x.w * w[3]);
                }
            }
        }
    }
    if B_PARTS > 1u {
        // Groups beyond the last whole load.
        for (var k = whole - whole % B_PARTS; k < whole; k++) {
            let a_k = uniform_index(k);
            let w = b_ordered(b_group(b_start, k, p.b_row), steps);
            for (var r = 0u; r < ROWS; r++) {
                let x = ordered4(a_at[r] + a_k, local);
                sum[r] += x.x * w[0] + x.y * w[1] + (x.z * w[2] + x.w * w[3]);
            }
        }
    }
    if TAIL {
        // The last k % 4 rows of B: the lanes of A beyond them are padding, which may hold anything.
        let behind = uniform_index(whole);
        for (var k = whole * 4u; k < p.k; k++) {
            let w = b_row(b_group(b_start, whole, p.b_row), p.b_row, k & 3u);
            for (var r = 0u; r < ROWS; r++) {
                sum[r] += uniform4(a_at[r] + behind, local)[k & 3u] * w;
            }
        }
    }
    if QUADS && own >= p.n4 { return; }
    let c_base = p.c_offset + group.z * p.c_batch + column;
    let residual_base = group.z * p.m * p.n4 + column;  // contiguous, whatever C is a part of
    let end = select(min(p.count, p.m - row_block * ROWS), ROWS, UNROLLED);
    let offset = bias4(column);
    var made = sum;                             // indexed by a variable, which `sum` should not be
    for (var r = 0u; r < end; r++) {
        if !UNROLLED || row_block * ROWS + r < p.m {
            let row = row_block * ROWS + r;
            let value = finish(made[opaque_index(r)], offset, residual_base + row * p.n4);
            c[c_base + row * p.c_row] = store4(value);
        }
    }
}
