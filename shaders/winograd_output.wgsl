// Winograd's minimal filtering F(m×m, 3×3), last of three steps: each tile's IN² products transformed by
// Aᵀ m A to OUT × OUT outputs, and the epilogue. See winograd_input.wgsl.
//
// Grid: an invocation makes 4 channels of one tile.
// The transforms: lib/winograd_2.wgsl or lib/winograd_4.wgsl. The epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; UNROLLED, opaque_index; WIDTH, invocations of a
// workgroup; GENERATED, generated4; IN, OUT; Line, Made, output_transform.

// out_…: the output's sizes, out_c4 in groups of 4 channels; tiles_h, tiles_w: tiles of an image; tiles:
// of all; epilogue: lib/finish.wgsl; offset, step: where the output lies and how far apart
// its pixels are; opaque_zero: lib/opaque.wgsl; count, transform_rows, transform_columns: OUT², IN and OUT,
// as numbers that the driver's compiler doesn't know.
struct Params {
    epilogue: Epilogue,
    out_h: u32, out_w: u32, out_c4: u32, tiles_h: u32,
    tiles_w: u32, tiles: u32, per_row: u32, opaque_zero: u32,
    count: u32, transform_rows: u32, transform_columns: u32, offset: u32,
    step: u32, spare0: u32, spare1: u32, spare2: u32,
}

// [IN², tiles, out_c4]
@group(0) @binding(0) var<storage, read> products: array<Stored4>;
@group(0) @binding(1) var<storage, read> bias: array<Stored4>;
@group(0) @binding(2) var<storage, read> residual: array<Stored4>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    let tile = index / p.out_c4;
    if tile >= p.tiles { return; }
    let channel = index - tile * p.out_c4;
    let n = tile / (p.tiles_h * p.tiles_w);
    let of_image = tile - n * p.tiles_h * p.tiles_w;
    let tile_y = of_image / p.tiles_w;
    let y = tile_y * OUT;
    let x = (of_image - tile_y * p.tiles_w) * OUT;

    let step = p.tiles * p.out_c4;
    var rows: array<Made, IN>;
    let rows_end = select(p.transform_rows, IN, UNROLLED);
    for (var i = 0u; i < rows_end; i++) {
        var m: Line;
        for (var j = 0u; j < IN; j++) { m[j] = load4(products[(i * IN + j) * step + index]); }
        rows[opaque_index(i)] = output_transform(m);
    }
    var made: array<vec4<f32>, OUT * OUT>;
    let columns_end = select(p.transform_columns, OUT, UNROLLED);
    for (var j = 0u; j < columns_end; j++) {
        let k = opaque_index(j);
        var m: Line;
        for (var i = 0u; i < IN; i++) { m[i] = rows[i][k]; }
        let column = output_transform(m);
        for (var i = 0u; i < OUT; i++) { made[i * OUT + k] = column[i]; }
    }
    let offset = bias4(channel);
    let end = select(p.count, OUT * OUT, UNROLLED);
    for (var r = 0u; r < end; r++) {
        let out_y = y + r / OUT;
        let out_x = x + r % OUT;
        if out_y < p.out_h && out_x < p.out_w {
            let pixel = (n * p.out_h + out_y) * p.out_w + out_x;
            output[p.offset + pixel * p.step + channel] =
                store4(finish(made[opaque_index(r)], offset, pixel * p.out_c4 + channel));
        }
    }
}
