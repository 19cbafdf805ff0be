// Reductions over any axes, in float32: an invocation makes 4 neighbouring elements of the output and walks the reduced
// dimensions, two of which are left after neighbours are merged.
// Prelude: Stored4, load4, store4, first, next, last, prepare; RANK, kept dimensions; TWO_PASSES; TOGETHER, the 4 elements lie in one
// group of the input at every step; WIDTH.

// The address of a term: base + Σ kept coordinate · stride + i · step0 + j · step1.
struct Params {
    groups: u32, per_row: u32, elements: u32, offset: u32,
    length0: u32, step0: u32, length1: u32, step1: u32,
    sizes: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
    count: f32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

fn base(index: u32) -> u32 {
    var rest = index;
    var at = p.offset;
    for (var d = RANK; d > 0u; d--) {
        let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
        let quotient = rest / size;
        at += (rest - quotient * size) * p.strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        rest = quotient;
    }
    return at;
}

fn terms(at: vec4<u32>) -> vec4<f32> {
    if TOGETHER { return load4(input[at.x >> 2u]); }
    return vec4(load4(input[at.x >> 2u])[at.x & 3u], load4(input[at.y >> 2u])[at.y & 3u],
                load4(input[at.z >> 2u])[at.z & 3u], load4(input[at.w >> 2u])[at.w & 3u]);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let end = p.elements - 1u;
    var start = vec4(base(index * 4u));
    if !TOGETHER {
        start.y = base(min(index * 4u + 1u, end));
        start.z = base(min(index * 4u + 2u, end));
        start.w = base(min(index * 4u + 3u, end));
    }
    // LogSumExp takes the maximum first, so that no exponential overflows.
    var high = vec4(0.0);
    if TWO_PASSES {
        high = terms(start);
        for (var i = 0u; i < p.length0; i++) {
            for (var j = 0u; j < p.length1; j++) { high = max(high, terms(start + vec4(i * p.step0 + j * p.step1))); }
        }
        high = select(high, vec4(0.0), abs(high) > vec4(3.4028235e38));
    }
    // Blocks of a row are summed by themselves: the error grows with length0 + length1, not their product.
    var total = first();
    for (var i = 0u; i < p.length0; i++) {
        var part = first();
        for (var j = 0u; j < p.length1; j++) {
            part = next(part, prepare(terms(start + vec4(i * p.step0 + j * p.step1)) - high));
        }
        total = next(total, part);
    }
    output[index] = store4(last(total, high));
}
