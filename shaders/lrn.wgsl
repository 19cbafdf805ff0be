// Local response normalisation across channels (LRN) on channels-last groups of 4.
//
// Grid: an invocation makes 4 channels of a pixel.
// Prelude (docs/shaders.md): Stored4, load4, store4; WIDTH, invocations of a workgroup.

// c4: groups of 4 channels; before, behind: neighbouring channels on either side that count; alpha: ONNX's,
// divided by the size.
struct Params {
    groups: u32, per_row: u32, c4: u32, channels: u32,
    before: u32, behind: u32, alpha: f32, beta: f32,
    bias: f32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let pixel = index / p.c4;
    let base = pixel * p.c4;
    let channel = (index - base) * 4u;
    var sum = vec4(0.0);
    for (var lane = 0u; lane < 4u; lane++) {
        let c = channel + lane;
        let first = max(c, p.before) - p.before;
        let end = min(c + p.behind + 1u, p.channels);
        for (var k = first; k < end; k++) {
            let x = load4(input[base + (k >> 2u)])[k & 3u];
            sum[lane] += x * x;
        }
    }
    let s = vec4(p.bias) + p.alpha * sum;
    let scale = vec4(pow_(s.x, p.beta), pow_(s.y, p.beta), pow_(s.z, p.beta), pow_(s.w, p.beta));
    output[index] = store4(shares4(load4(input[index]), scale));
}
