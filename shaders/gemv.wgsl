// Batched product of few rows with a matrix, C[b] = finish(A[b] · B[b]), for graphics cards. What it takes
// is the time to read B, so B is read once, by enough invocations to fill the device.
//
// Grid: a workgroup makes ROWS rows of COLUMNS groups of 4 columns; SLICES invocations share k for each
// group, and their sums are added in workgroup memory. x runs over columns, y over rows, z over batches.
// ROWS is at most SLICES.
// Bindings and parameters: lib/product.wgsl. The loads of B: lib/b_rows.wgsl or lib/b_nbits.wgsl. The
// epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; ROWS, COLUMNS, SLICES; TAIL, k % 4 ≠ 0; GENERATED,
// generated4; StoredB, B_PARTS, b_column, b_group, b_steps, b_held, b_part,
// b_rows, b_row.

const THREADS: u32 = COLUMNS * SLICES;

var<workgroup> partial: array<vec4<f32>, ROWS * THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let slice = local / COLUMNS;
    let column = group.x * COLUMNS + local % COLUMNS;
    let outer = group.z / p.inner;
    let inner = group.z % p.inner;
    // A column beyond the last repeats it and isn't stored: everyone has to reach the barrier.
    let b_start = p.b_offset + outer * p.b_outer + inner * p.b_inner 
        + b_column(min(column, p.n4 - 1u), p.b_row);
    let first = group.y * ROWS;

    var sum: array<vec4<f32>, ROWS>;
    var a_at: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        sum[r] = vec4(0.0);
        a_at[r] = p.a_offset + outer * p.a_outer + inner * p.a_inner + min(first + r, p.m - 1u) * p.a_row;
    }
    let whole = p.k >> 2u;
    let order = vec4(0u, 1u, 2u, 3u);
    for (var load = slice; load < whole / B_PARTS; load += SLICES) {
        let held = b_held(b_group(b_start, load * B_PARTS, p.b_row), p.b_row);
        for (var part = 0u; part < B_PARTS; part++) {
            let k = load * B_PARTS + part;
            let w = b_part(held, part, b_steps(order, p.b_row));
            for (var r = 0u; r < ROWS; r++) {
                let x = load4(a[a_at[r] + k]);
                var s = fma(vec4(x.x), w[0], sum[r]);
                s = fma(vec4(x.y), w[1], s);
                s = fma(vec4(x.z), w[2], s);
                sum[r] = fma(vec4(x.w), w[3], s);
            }
        }
    }
    if B_PARTS > 1u && slice == 0u {
        // Groups beyond the last whole load.
        for (var k = whole - whole % B_PARTS; k < whole; k++) {
            let w = b_rows(b_group(b_start, k, p.b_row), p.b_row);
            for (var r = 0u; r < ROWS; r++) {
                let x = load4(a[a_at[r] + k]);
                sum[r] += x.x * w[0] + x.y * w[1] + (x.z * w[2] + x.w * w[3]);
            }
        }
    }
    if TAIL && whole % SLICES == slice {
        // The last k % 4 rows of B: the lanes of A beyond them are padding, which may hold anything.
        for (var k = whole * 4u; k < p.k; k++) {
            let w = b_row(b_group(b_start, whole, p.b_row), p.b_row, k & 3u);
            for (var r = 0u; r < ROWS; r++) {
                sum[r] += load4(a[a_at[r] + whole])[k & 3u] * w;
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) { partial[r * THREADS + local] = sum[r]; }
    workgroupBarrier();
    // Slice r adds up row r.
    let row = first + slice;
    if slice >= ROWS || row >= p.m || column >= p.n4 { return; }
    var total = vec4(0.0);
    for (var s = 0u; s < SLICES; s++) { total += partial[slice * THREADS + s * COLUMNS + local % COLUMNS]; }
    // The residual is contiguous, whatever C is a part of.
    let value = finish(total, bias4(column), (group.z * p.m + row) * p.n4 + column);
    c[p.c_offset + group.z * p.c_batch + row * p.c_row + column] = store4(value);
}
