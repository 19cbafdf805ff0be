// ArgMax and ArgMin along one axis, for software adapters.
//
// Grid: an invocation makes 4 neighbouring int64 elements of the output and walks the axis for each.
// Bindings and parameters: lib/arg_reduce.wgsl. Addresses: lib/address.wgsl.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of; better(x, best), whether a later element replaces the
// best so far; RANK, the dimensions that are kept; WIDTH, invocations of a workgroup.

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    var result: array<vec2<u32>, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        var at = base_address(min(index * 4u + lane, p.elements - 1u));
        var best = lane_of(input[at >> 2u], at & 3u);
        var chosen = 0u;
        for (var k = 1u; k < p.length; k++) {
            at += p.step;
            let x = lane_of(input[at >> 2u], at & 3u);
            if better(x, best) {
                best = x;
                chosen = k;
            }
        }
        result[lane] = vec2<u32>(chosen, 0u);
    }
    output[index] = result;
}
