// Resize: interpolation over the two spatial axes of channels-last groups of 4. Which pixels it reads and
// with what weights, whatever the mode, is in a table made with the plan.
//
// Grid: an invocation makes 4 channels of one pixel.
// Prelude (docs/shaders.md): Stored4, load4, store4; WIDTH, invocations of a workgroup.

// in_…, out_…: the input's and the output's sizes; c4: groups of 4 channels; taps_h, taps_w: rows and
// columns of the input that one of the output reads; extrapolation: the value of what lies outside the
// input.
struct Params {
    in_h: u32, in_w: u32, c4: u32, out_h: u32,
    out_w: u32, groups: u32, per_row: u32, taps_h: u32,
    taps_w: u32, extrapolation: f32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
// taps_h entries for each output row, then taps_w for each column: index (−1: outside the input) and the
// weight's bits.
@group(0) @binding(1) var<storage, read> taps: array<vec2<i32>>;
@group(0) @binding(2) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let pixel = index / p.c4;
    let channel = index - pixel * p.c4;
    let row = pixel / p.out_w;
    let n = row / p.out_h;
    let first_y = (row - n * p.out_h) * p.taps_h;
    let first_x = p.out_h * p.taps_h + (pixel - row * p.out_w) * p.taps_w;
    if taps[first_y].x < 0 || taps[first_x].x < 0 {
        output[index] = store4(vec4(p.extrapolation));
        return;
    }
    var sum = vec4(0.0);
    for (var i = 0u; i < p.taps_h; i++) {
        let ty = taps[first_y + i];
        let line = (n * p.in_h + u32(ty.x)) * p.in_w;
        var part = vec4(0.0);
        for (var j = 0u; j < p.taps_w; j++) {
            let tx = taps[first_x + j];
            part += bitcast<f32>(tx.y) * load4(input[(line + u32(tx.x)) * p.c4 + channel]);
        }
        sum += bitcast<f32>(ty.y) * part;
    }
    output[index] = store4(sum);
}
