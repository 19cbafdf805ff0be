// ArgMax and ArgMin along one axis, for graphics cards: the same as arg_reduce.wgsl.
//
// Grid: a group of GROUP invocations makes 4 neighbouring int64 elements of the output, each invocation
// walking a share of the axis for each of them; a workgroup has WIDTH / GROUP groups.
// Bindings and parameters: lib/arg_reduce.wgsl. Addresses: lib/address.wgsl. Groups:
// lib/reduction_group.wgsl. Prelude (docs/shaders.md): Stored4, Lane, lane_of; better(x, best), whether a
// later element replaces the best so far; RANK, the dimensions that are kept; WIDTH, GROUP, STRIDE.

var<workgroup> values: array<Lane, WIDTH>;
var<workgroup> places: array<u32, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Invocation) {
    // All of a workgroup meet at its barriers: a group beyond the last group repeats that and stores nothing.
    let index = (group.y * p.per_row + group.x) * (WIDTH / GROUP) + group_index(at);
    let made = min(index, p.groups - 1u);
    let own = group_lane(at);
    var result: array<vec2<u32>, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        let start = base_address(min(made * 4u + lane, p.elements - 1u));
        // Everyone begins with an element of the axis, which may be taken twice.
        var chosen = min(own, p.length - 1u);
        var from_ = start + chosen * p.step;
        var best = lane_of(input[from_ >> 2u], from_ & 3u);
        for (var k = own + GROUP; k < p.length; k += GROUP) {
            from_ = start + k * p.step;
            let x = lane_of(input[from_ >> 2u], from_ & 3u);
            if better(x, best) {
                best = x;
                chosen = k;
            }
        }
        values[at.local] = best;
        places[at.local] = chosen;
        for (var width = GROUP / 2u; width > 0u; width /= 2u) {
            workgroupBarrier();
            if own < width {
                let other = at.local + width * STRIDE;
                // Of two the later one has to be better.
                let later = places[other] >= places[at.local];
                var takes_over = better(values[other], values[at.local]);
                if !later { takes_over = !better(values[at.local], values[other]); }
                if takes_over {
                    values[at.local] = values[other];
                    places[at.local] = places[other];
                }
            }
        }
        result[lane] = vec2<u32>(places[at.local], 0u);
        workgroupBarrier();
    }
    if own == 0u && index < p.groups { output[index] = result; }
}
