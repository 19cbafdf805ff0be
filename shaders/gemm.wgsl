// C[b] = finish(A[b] · B[b]) by tiles in workgroup memory, for hardware adapters: a workgroup of TX × TY invocations makes a tile
// of C, each invocation ROWS rows of COLUMNS groups of 4 columns.
//
// A tile of A and one of B pass through workgroup memory, DEPTH groups of 4 along k at a time; the next ones are on their way into
// registers while these are multiplied. With SLICES, as many such workgroups in one take turns along k and add up at the end: where
// C is small and k long, they fill the device.
// PIXELS: A is an image, read where it lies: its rows are output pixels, and k runs over taps and their input channels.
// Prelude: Stored4, load4, store4, TX, TY, ROWS, COLUMNS, DEPTH, SLICES, PIXELS, TAIL (the last group of k is partly padding),
// UNROLLED, upto, GENERATED, generated4, accumulate4.

// Strides and offsets in groups of 4 elements. groups: of 4 along k, with PIXELS in each tap; b_rows: rows of B likewise.
struct Params {
    m: u32, n4: u32, groups: u32, tail: u32,
    a_offset: u32, a_row: u32, a_outer: u32, a_inner: u32,
    b_offset: u32, b_row: u32, b_outer: u32, b_inner: u32,
    c_row: u32, c_batch: u32, inner: u32, flags: u32,
    alpha: f32, low: f32, high: f32, tiles_m: u32,
    tiles_n: u32, per_row: u32, b_rows: u32, in_h: i32,
    in_w: i32, limit_w: i32, out_w: u32, out_pixels: u32,
    kernel_h: u32, kernel_w: u32, stride_h: u32, stride_w: u32,
    pad_h: i32, pad_w: i32, dilation_h: u32, dilation_w: u32,
    zero: u32, c_offset: u32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored4>;
@group(0) @binding(1) var<storage, read> b: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> residual: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> c: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

const THREADS: u32 = TX * TY;
const TILE_M: u32 = TY * ROWS;
const TILE_N4: u32 = TX * COLUMNS;
const A_TILE: u32 = TILE_M * DEPTH;                 // [row][group of k]
const B_TILE: u32 = 4u * DEPTH * TILE_N4;           // [k][group of columns]
const A_LOADS: u32 = A_TILE / THREADS;
const B_LOADS: u32 = B_TILE / THREADS;
const SUMS: u32 = ROWS * COLUMNS;

var<workgroup> shared4: array<vec4<f32>, SLICES * (A_TILE + B_TILE)>;

// Where along k a step is: a tap, and DEPTH groups of it.
struct Place { part: u32, kx: u32, ky: u32 }

fn ahead(start: Place, steps: u32, parts: u32) -> Place {
    var at = start;
    at.part += steps;
    if PIXELS {
        while at.part >= parts {
            at.part -= parts;
            at.kx++;
            if at.kx == p.kernel_w { at.kx = 0u; at.ky++; }
        }
    }
    return at;
}

// A row of A: where it begins; with PIXELS the first row of its image, and the corner of its window.
struct Row { start: u32, y: i32, x: i32 }

fn row_of(index: u32, base: u32) -> Row {
    let row = min(index, p.m - 1u);                 // one beyond the last repeats it and isn't stored
    if !PIXELS { return Row(base + row * p.a_row, 0, 0); }
    let image = row / p.out_pixels;
    let pixel = row - image * p.out_pixels;
    let line = pixel / p.out_w;
    return Row(image * u32(p.in_h), i32(line * p.stride_h) - p.pad_h, i32((pixel - line * p.out_w) * p.stride_w) - p.pad_w);
}

fn load_a(row: Row, at: Place, group: u32) -> vec4<f32> {
    var index = row.start + group;
    var inside = group < p.groups;
    if PIXELS {
        let y = row.y + i32(at.ky * p.dilation_h);
        let x = row.x + i32(at.kx * p.dilation_w);
        inside = inside && at.ky < p.kernel_h && y >= 0 && y < p.in_h && x >= 0 && x < p.limit_w;
        index = p.a_offset + ((row.start + u32(y)) * u32(p.in_w) + u32(x)) * p.a_row + group;
    }
    var value = vec4(0.0);
    if inside { value = load4(a[index]); }
    if TAIL {
        // The lanes behind the last element are padding, which may hold anything.
        value = select(vec4(0.0), value, vec4(0u, 1u, 2u, 3u) < vec4(select(4u, p.tail, group + 1u == p.groups)));
    }
    return value;
}

fn load_b(base: u32, at: Place, row: u32, column: u32) -> vec4<f32> {
    let k = at.part * (4u * DEPTH) + row;
    var inside = k < p.b_rows;
    var b_row = k;
    if PIXELS {
        inside = inside && at.ky < p.kernel_h;
        b_row += (at.ky * p.kernel_w + at.kx) * p.b_rows;
    }
    var value = vec4(0.0);
    if inside { value = load4(b[base + b_row * p.b_row + min(column, p.n4 - 1u)]); }
    return value;
}

@compute @workgroup_size(THREADS * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    // Neighbouring workgroups share columns of 4 tiles of rows, so that what they read stays in a cache.
    let index = group.y * p.per_row + group.x;
    if index >= p.tiles_m * p.tiles_n { return; }
    let band = index / (4u * p.tiles_n);
    let height = min(4u, p.tiles_m - band * 4u);
    let within = index - band * 4u * p.tiles_n;
    let first_row = (band * 4u + within % height) * TILE_M;
    let first_column = (within / height) * TILE_N4;
    let outer = group.z / p.inner;
    let inner = group.z % p.inner;
    let a_base = p.a_offset + outer * p.a_outer + inner * p.a_inner;
    let b_base = p.b_offset + outer * p.b_outer + inner * p.b_inner;

    let slice = local / THREADS;
    let id = local % THREADS;
    let a_tile = slice * (A_TILE + B_TILE);
    let b_tile = a_tile + A_TILE;
    let a_mine = a_tile + (id / TX) * ROWS * DEPTH;
    let b_mine = b_tile + id % TX;

    var rows: array<Row, A_LOADS>;
    for (var i = 0u; i < A_LOADS; i++) { rows[i] = row_of(first_row + (id + i * THREADS) / DEPTH, a_base); }
    let parts = (p.groups + DEPTH - 1u) / DEPTH;
    var steps = parts;
    if PIXELS { steps *= p.kernel_h * p.kernel_w; }
    let turns = (steps + SLICES - 1u) / SLICES;

    var next_a: array<vec4<f32>, A_LOADS>;
    var next_b: array<vec4<f32>, B_LOADS>;
    var at = ahead(Place(0u, 0u, 0u), slice, parts);
    var sum: array<vec4<f32>, SUMS>;
    for (var i = 0u; i < SUMS; i++) { sum[i] = vec4(0.0); }
    for (var turn = 0u; turn <= turns; turn++) {
        if turn < turns {
            for (var i = 0u; i < upto(A_LOADS); i++) { next_a[i] = load_a(rows[i], at, at.part * DEPTH + id % DEPTH); }
            for (var i = 0u; i < upto(B_LOADS); i++) {
                let item = id + i * THREADS;
                next_b[i] = load_b(b_base, at, item / TILE_N4, first_column + item % TILE_N4);
            }
            at = ahead(at, SLICES, parts);
        }
        if turn > 0u {
            // The step before this one, which lies in workgroup memory.
            for (var k = 0u; k < upto(DEPTH); k++) {
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
                        sum[r * COLUMNS + i] = accumulate4(fma(vec4(x[r].w), w3, s));
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
            for (var other = 1u; other < SLICES; other++) { sum[i] += shared4[i * (THREADS * SLICES) + other * THREADS + id]; }
        }
    }
    for (var i = 0u; i < COLUMNS; i++) {
        let column = first_column + id % TX + i * TX;
        let offset = bias4(min(column, p.n4 - 1u));
        for (var r = 0u; r < ROWS; r++) {
            let row = first_row + (id / TX) * ROWS + r;
            if row < p.m && column < p.n4 {
                // The residual is contiguous, whatever C is a part of.
                let value = finish(sum[r * COLUMNS + i], offset, (group.z * p.m + row) * p.n4 + column);
                c[p.c_offset + group.z * p.c_batch + row * p.c_row + column] = store4(value);
            }
        }
    }
}
