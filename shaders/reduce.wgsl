// Reductions over any axes, in float32, for software adapters.
//
// Grid: an invocation makes 4 neighbouring elements of the output and walks the reduced dimensions, two of
// which are left after neighbours are merged.
// Bindings and parameters: lib/reduce.wgsl. Addresses: lib/address.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; first, next, prepare and last, the reduction's start,
// step, what becomes of a term before it, and end (src/kernels/reduce.rs); RANK, the dimensions that are
// opaque_index; TWO_PASSES, a maximum comes first; TOGETHER, the 4 elements lie in one group of the input at
// every step; WIDTH, invocations of a workgroup.

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let end = p.elements - 1u;
    var start = vec4(base_address(index * 4u));
    if !TOGETHER { start = base_addresses(index * 4u, end); }
    // LogSumExp takes the maximum first, so that no exponential overflows.
    var high = vec4(0.0);
    if TWO_PASSES {
        high = terms(start);
        for (var i = 0u; i < p.length0; i++) {
            for (var j = 0u; j < p.length1; j++) {
                high = max(high, terms(start + vec4(i * p.step0 + j * p.step1)));
            }
        }
        high = select(high, vec4(0.0), abs(high) > vec4(LARGEST));
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
