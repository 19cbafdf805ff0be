// Winograd's F(4×4, 3×3), last of three steps: each tile's 36 products taken through Aᵀ m A to 4 × 4 outputs, and the epilogue.
// See winograd_input.wgsl.
// Prelude: Stored4, load4, store4, UNROLLED, kept, WIDTH, GENERATED, generated4.

// Channel counts in groups of 4. An invocation makes one group of one tile.
struct Params {
    out_h: u32, out_w: u32, out_c4: u32, tiles_h: u32,
    tiles_w: u32, tiles: u32, flags: u32, alpha: f32,
    low: f32, high: f32, per_row: u32, zero: u32,
    count: u32, transform_rows: u32, transform_columns: u32, offset: u32,
    step: u32, spare0: u32, spare1: u32, spare2: u32,
}

// [36, tiles, out_c4]
@group(0) @binding(0) var<storage, read> products: array<Stored4>;
@group(0) @binding(1) var<storage, read> bias: array<Stored4>;
@group(0) @binding(2) var<storage, read> residual: array<Stored4>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

alias Four = array<vec4<f32>, 4>;

fn transform(m: array<vec4<f32>, 6>) -> Four {
    let sum = m[1] + m[2];
    let difference = m[1] - m[2];
    let sum2 = m[3] + m[4];
    let difference2 = m[3] - m[4];
    return Four(m[0] + sum + sum2, 0.70710678 * difference + 1.41421356 * difference2, 0.5 * sum + 2.0 * sum2,
        0.35355339 * difference + 2.82842712 * difference2 + m[5]);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    let tile = index / p.out_c4;
    if tile >= p.tiles { return; }
    let channel = index - tile * p.out_c4;
    let n = tile / (p.tiles_h * p.tiles_w);
    let of_image = tile - n * p.tiles_h * p.tiles_w;
    let tile_y = of_image / p.tiles_w;
    let y = tile_y * 4u;
    let x = (of_image - tile_y * p.tiles_w) * 4u;

    let step = p.tiles * p.out_c4;
    var rows: array<Four, 6>;
    let rows_end = select(p.transform_rows, 6u, UNROLLED);
    for (var i = 0u; i < rows_end; i++) {
        var m: array<vec4<f32>, 6>;
        for (var j = 0u; j < 6u; j++) { m[j] = load4(products[(i * 6u + j) * step + index]); }
        rows[kept(i)] = transform(m);
    }
    var made: array<vec4<f32>, 16>;
    let columns_end = select(p.transform_columns, 4u, UNROLLED);
    for (var j = 0u; j < columns_end; j++) {
        let k = kept(j);
        let column = transform(array<vec4<f32>, 6>(rows[0][k], rows[1][k], rows[2][k], rows[3][k], rows[4][k], rows[5][k]));
        for (var i = 0u; i < 4u; i++) { made[i * 4u + k] = column[i]; }
    }
    let offset = bias4(channel);
    let end = select(p.count, 16u, UNROLLED);
    for (var r = 0u; r < end; r++) {
        let out_y = y + r / 4u;
        let out_x = x + r % 4u;
        if out_y < p.out_h && out_x < p.out_w {
            let pixel = (n * p.out_h + out_y) * p.out_w + out_x;
            output[p.offset + pixel * p.step + channel] = store4(finish(made[kept(r)], offset, pixel * p.out_c4 + channel));
        }
    }
}
