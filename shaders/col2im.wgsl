// Col2Im: blocks put back where a convolution's windows lie, and added up where they overlap.
//
// Grid: an invocation makes 4 consecutive elements of the image, each of which goes through the taps of a
// block in order and adds what the block that reaches it with this tap has there.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; join(a, x), the sum, wrapping at the type's
// width; RANK, dimensions of the image; WIDTH, invocations of a workgroup.

// The columns are [plane][tap][block]; `area` elements of a plane of the image. Of each of the image's axes:
// its size, a block's, the blocks, and how they lie.
struct Params {
    groups: u32, per_row: u32, elements: u32, area: u32,
    taps: u32, columns: u32, spare0: u32, spare1: u32,
    sizes: vec4<u32>,
    kernel: vec4<u32>,
    blocks: vec4<u32>,
    stride: vec4<u32>,
    pad: vec4<u32>,
    dilation: vec4<u32>,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

fn element(index: u32) -> Lane {
    let plane = index / p.area;
    var rest = index - plane * p.area;
    // Where the element lies on each axis of the padded image.
    var place: array<u32, 4>;
    for (var d = RANK; d > 0u; d--) {
        let quotient = rest / p.sizes[d - 1u];
        place[d - 1u] = rest - quotient * p.sizes[d - 1u] + p.pad[d - 1u];
        rest = quotient;
    }
    var sum: Lane;
    for (var tap = 0u; tap < p.taps; tap++) {
        var taps = tap;
        var block = 0u;
        var step = 1u;
        var reached = true;
        for (var d = RANK; d > 0u; d--) {
            let quotient = taps / p.kernel[d - 1u];
            let reach = (taps - quotient * p.kernel[d - 1u]) * p.dilation[d - 1u];
            let first = place[d - 1u] - min(reach, place[d - 1u]);
            let along = first / p.stride[d - 1u];
            reached = reached && place[d - 1u] >= reach && along * p.stride[d - 1u] == first
                && along < p.blocks[d - 1u];
            block += along * step;
            step *= p.blocks[d - 1u];
            taps = quotient;
        }
        if reached {
            let at = (plane * p.taps + tap) * p.columns + block;
            sum = join(sum, lane_of(input[at >> 2u], at & 3u));
        }
    }
    return sum;
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let last = p.elements - 1u;
    output[index] = pack4(
        element(index * 4u),
        element(min(index * 4u + 1u, last)),
        element(min(index * 4u + 2u, last)),
        element(min(index * 4u + 3u, last)));
}
