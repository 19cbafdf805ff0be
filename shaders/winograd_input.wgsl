// Winograd's minimal filtering F(m×m, 3×3), first of three steps (Lavin and Gray, "Fast Algorithms for
// Convolutional Neural Networks", 2015): tiles of IN × IN inputs, OUT = m apart, transformed by Bᵀ d B.
// Then IN² matrix products with the weights, which were transformed by G w Gᵀ when they were packed, and
// winograd_output.wgsl.
//
// Grid: an invocation makes 4 channels of one tile.
// The transforms: lib/winograd_2.wgsl or lib/winograd_4.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; UNROLLED, opaque_index; WIDTH, invocations of a
// workgroup; IN, OUT; Line, input_transform.

// in_…: the input's sizes, in_c4 in groups of 4 channels; tiles_h, tiles_w: tiles of an image; tiles: of
// all; opaque_zero: lib/opaque.wgsl; count: IN, as a number that the driver's compiler doesn't know.
struct Params {
    in_h: i32, in_w: i32, in_c4: u32, tiles_h: u32,
    tiles_w: u32, tiles: u32, pad_h: i32, pad_w: i32,
    per_row: u32, opaque_zero: u32, count: u32, spare: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
// [IN², tiles, in_c4]
@group(0) @binding(1) var<storage, read_write> transformed: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    let tile = index / p.in_c4;
    if tile >= p.tiles { return; }
    let channel = index - tile * p.in_c4;
    let n = tile / (p.tiles_h * p.tiles_w);
    let of_image = tile - n * p.tiles_h * p.tiles_w;
    let tile_y = of_image / p.tiles_w;
    let y = i32(tile_y * OUT) - p.pad_h;
    let x = i32((of_image - tile_y * p.tiles_w) * OUT) - p.pad_w;
    let image = n * u32(p.in_h * p.in_w);

    var rows: array<Line, IN>;
    let end = select(p.count, IN, UNROLLED);
    for (var row = 0u; row < end; row++) {
        let i = i32(row);
        let inside_y = (y + i >= 0) & (y + i < p.in_h);
        let line = image + u32(select(0, (y + i) * p.in_w, inside_y));
        var d: Line;
        for (var j = 0; j < i32(IN); j++) {
            let inside = inside_y & (x + j >= 0) & (x + j < p.in_w);
            d[j] = select(
                vec4(0.0),
                load4(input[(line + u32(select(0, x + j, inside))) * p.in_c4 + channel]),
                inside);
        }
        rows[opaque_index(row)] = input_transform(d);
    }
    let step = p.tiles * p.in_c4;
    for (var j = 0u; j < end; j++) {
        var column: Line;
        for (var i = 0u; i < IN; i++) { column[i] = rows[i][opaque_index(j)]; }
        let made = input_transform(column);
        for (var i = 0u; i < IN; i++) { transformed[(i * IN + j) * step + index] = store4(made[i]); }
    }
}
