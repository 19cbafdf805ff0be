// An elementwise expression over up to 7 operands with broadcasting.
//
// Grid: an invocation makes one group of 4 elements of the output.
// The bindings, `evaluate(group)`, which makes a group, and what it calls are generated
// (src/kernels/pointwise.rs, from the table in src/ops/pointwise).
// Prelude (docs/shaders.md): these; RANK, the dimensions that broadcasting leaves after neighbours are
// merged; WIDTH, invocations of a workgroup.

// Sizes are the output's, in the order of its buffer; an operand's address is its offset plus Σ coordinate ·
// stride. An operand's strides are two vectors of `strides`. numbers: constants of the expression that are no
// part of the text (src/expression/numbers.rs).
struct Params {
    groups: u32, per_row: u32, spare0: u32, spare1: u32,
    sizes: array<vec4<u32>, 2>,
    offsets: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 14>,
    numbers: array<vec4<f32>, 2>,
}

@group(1) @binding(0) var<uniform> p: Params;

// The address of operand `k` at element `index` of the output.
fn address(k: u32, index: u32) -> u32 {
    var rest = index;
    var at = p.offsets[k >> 2u][k & 3u];
    for (var d = RANK; d > 0u; d--) {
        let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
        let quotient = rest / size;
        at += (rest - quotient * size) * p.strides[2u * k + ((d - 1u) >> 2u)][(d - 1u) & 3u];
        rest = quotient;
    }
    return at;
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = (group.y * p.per_row + group.x) * WIDTH + local;
    if at >= p.groups { return; }
    result[at] = evaluate(at);
}
