// Buffers and parameters of gemm.wgsl and gemm_cooperative.wgsl, which tile of C a workgroup makes, and how
// the two walk along k and read A; B's loads: lib/tiles_rows.wgsl, lib/tiles_nbits.wgsl. A tile has TILE_M
// rows and TILE_N4 groups of columns; a step along k is DEPTH groups. The shader defines Held4, a group of 4
// as it is on its way to workgroup memory, and held4, which makes it of a stored one.

// C is m rows of n4 groups of columns, tiles_m × tiles_n tiles. Strides and offsets in groups of 4
// elements. groups: of 4 along k, with PIXELS in each tap; b_rows: rows of B likewise; tail: valid lanes of
// the last group along k. A batch is (outer, inner), of `inner`; epilogue: lib/finish.wgsl;
// opaque_zero: lib/opaque.wgsl. With PIXELS: window, lib/window.wgsl; from in_h on the image's sizes
// (limit_w: its columns that exist; out_pixels: output pixels of an image).
struct Params {
    window: Window,
    epilogue: Epilogue,
    m: u32, n4: u32, groups: u32, tail: u32,
    a_offset: u32, a_row: u32, a_outer: u32, a_inner: u32,
    b_offset: u32, b_row: u32, b_outer: u32, b_inner: u32,
    c_row: u32, c_batch: u32, inner: u32, tiles_m: u32,
    tiles_n: u32, per_row: u32, b_rows: u32, in_h: i32,
    in_w: i32, limit_w: i32, out_w: u32, out_pixels: u32,
    opaque_zero: u32, c_offset: u32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> residual: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> c: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// The tile that a workgroup makes: its first row and first group of columns, and where its batch's operands
// begin. Workgroups are numbered in bands of 4 tiles of rows, down each column of a band, so that what
// neighbouring ones read stays in a cache.
struct Corner { row: u32, column: u32, a: u32, b: u32 }

fn corner_of(index: u32, batch: u32) -> Corner {
    let band = index / (4u * p.tiles_n);
    let height = min(4u, p.tiles_m - band * 4u);
    let within = index - band * 4u * p.tiles_n;
    let outer = batch / p.inner;
    let inner = batch % p.inner;
    return Corner(
        (band * 4u + within % height) * TILE_M,
        (within / height) * TILE_N4,
        p.a_offset + outer * p.a_outer + inner * p.a_inner,
        p.b_offset + outer * p.b_outer + inner * p.b_inner,
    );
}

// Where along k a step is: a tap, and DEPTH groups of it.
struct Place { part: u32, kx: u32, ky: u32 }

fn ahead(start: Place, steps: u32, parts: u32) -> Place {
    var at = start;
    at.part += steps;
    if PIXELS {
        while at.part >= parts {
            at.part -= parts;
            at.kx++;
            if at.kx == p.window.kernel_w { at.kx = 0u; at.ky++; }
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
    return Row(
        image * u32(p.in_h),
        i32(line * p.window.stride_h) - p.window.pad_h,
        i32((pixel - line * p.out_w) * p.window.stride_w) - p.window.pad_w);
}

fn load_a(row: Row, at: Place, group: u32) -> Held4 {
    var index = row.start + group;
    var inside = group < p.groups;
    if PIXELS {
        let y = row.y + i32(at.ky * p.window.dilation_h);
        let x = row.x + i32(at.kx * p.window.dilation_w);
        inside = inside && at.ky < p.window.kernel_h && y >= 0 && y < p.in_h && x >= 0 && x < p.limit_w;
        index = p.a_offset + ((row.start + u32(y)) * u32(p.in_w) + u32(x)) * p.a_row + group;
    }
    var value = Held4();
    if inside { value = held4(a[index]); }
    if TAIL {
        // The lanes behind the last element are padding, which may hold anything.
        value = select(
            Held4(),
            value,
            vec4(0u, 1u, 2u, 3u) < vec4(select(4u, p.tail, group + 1u == p.groups)));
    }
    return value;
}
