// Reductions of integers and truth values over any axes, in 64 bits. Sums of types up to 32 bits can't
// overflow; those of 64 bits wrap, as does what is stored of any.
//
// Grid: an invocation makes 4 neighbouring elements of the output and walks the reduced dimensions for each,
// two of which are left after neighbours are merged.
// Addresses: lib/address.wgsl.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; wide(x), narrow(a), a lane to 64 bits and back;
// first, next and last, the reduction's start, step and end (src/kernels/reduce_integer.rs); RANK, the
// dimensions that are kept; WIDTH, invocations of a workgroup.

// The address of a term: offset + Σ kept coordinate · stride + i · step0 + j · step1, in elements;
// `terms`: their number. count and items serve the reductions of floats, which have the same block.
struct Params {
    groups: u32, per_row: u32, elements: u32, offset: u32,
    length0: u32, step0: u32, length1: u32, step1: u32,
    sizes: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
    count: f32, items: u32, terms: u32, spare: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    var results: array<Lane, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        let start = base_address(min(index * 4u + lane, p.elements - 1u));
        var total = first();
        for (var i = 0u; i < p.length0; i++) {
            var at = start + i * p.step0;
            for (var j = 0u; j < p.length1; j++) {
                total = next(total, wide(lane_of(input[at >> 2u], at & 3u)));
                at += p.step1;
            }
        }
        results[lane] = narrow(last(total));
    }
    output[index] = pack4(results[0], results[1], results[2], results[3]);
}
