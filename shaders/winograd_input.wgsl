// Winograd's F(4×4, 3×3), first of three steps: tiles of 6 × 6 inputs, 4 apart, taken through Bᵀ d B. Then 36 matrix products with
// the weights, taken through G w Gᵀ when they were packed, and winograd_output.wgsl.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), at the points 0, ±√½, ±√2, ∞: nearer to 1 in
// magnitude than 0, ±1, ±2, ∞, and the rounding errors with them.
// Prelude: Stored4, load4, store4, UNROLLED, kept, WIDTH.

// Channel counts in groups of 4. An invocation makes one group of one tile.
struct Params {
    in_h: i32, in_w: i32, in_c4: u32, tiles_h: u32,
    tiles_w: u32, tiles: u32, pad_h: i32, pad_w: i32,
    per_row: u32, zero: u32, count: u32, spare: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
// [36, tiles, in_c4]
@group(0) @binding(1) var<storage, read_write> transformed: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

alias Six = array<vec4<f32>, 6>;

fn transform(d: Six) -> Six {
    let even = d[4] - 2.0 * d[2];
    let odd = 0.70710678 * (d[3] - 2.0 * d[1]);
    let even2 = d[4] - 0.5 * d[2];
    let odd2 = 1.41421356 * (d[3] - 0.5 * d[1]);
    return Six(d[0] - 2.5 * d[2] + d[4], even + odd, even - odd, even2 + odd2, even2 - odd2, d[1] - 2.5 * d[3] + d[5]);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    let tile = index / p.in_c4;
    if tile >= p.tiles { return; }
    let channel = index - tile * p.in_c4;
    let n = tile / (p.tiles_h * p.tiles_w);
    let of_image = tile - n * p.tiles_h * p.tiles_w;
    let tile_y = of_image / p.tiles_w;
    let y = i32(tile_y * 4u) - p.pad_h;
    let x = i32((of_image - tile_y * p.tiles_w) * 4u) - p.pad_w;
    let image = n * u32(p.in_h * p.in_w);

    var rows: array<Six, 6>;
    let end = select(p.count, 6u, UNROLLED);
    for (var row = 0u; row < end; row++) {
        let i = i32(row);
        let inside_y = y + i >= 0 && y + i < p.in_h;
        let line = image + u32(select(0, (y + i) * p.in_w, inside_y));
        var d: Six;
        for (var j = 0; j < 6; j++) {
            let inside = inside_y && x + j >= 0 && x + j < p.in_w;
            d[j] = select(vec4(0.0), load4(input[(line + u32(select(0, x + j, inside))) * p.in_c4 + channel]), inside);
        }
        rows[kept(row)] = transform(d);
    }
    let step = p.tiles * p.in_c4;
    for (var j = 0u; j < end; j++) {
        let k = kept(j);
        let made = transform(Six(rows[0][k], rows[1][k], rows[2][k], rows[3][k], rows[4][k], rows[5][k]));
        for (var i = 0u; i < 6u; i++) { transformed[(i * 6u + j) * step + index] = store4(made[i]); }
    }
}
