// ArgMax and ArgMin: an invocation makes 4 int64 neighbours of the output and walks the axis for each.
// Prelude: Stored4, Lane, lane_of; better(x, best), whether a later element takes over; RANK, kept dimensions; WIDTH.

// The address of a term: offset + Σ kept coordinate · stride + k · step.
struct Params {
    groups: u32, per_row: u32, elements: u32, offset: u32,
    length: u32, step: u32, spare0: u32, spare1: u32,
    sizes: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<array<vec2<u32>, 4>>;
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

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    var result: array<vec2<u32>, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        var at = base(min(index * 4u + lane, p.elements - 1u));
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
