// TopK along rows: the first elements in order and their int64 indices.
//
// Grid: an invocation makes a row: of the elements that come after the one it took last it takes the first
// in order, so that nothing is sorted or kept.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; before(a, b), whether a comes before b; WIDTH,
// invocations of a workgroup.

// length: elements of a row; wanted: k; step, output_step: from one row to the next, in groups of 4.
struct Params {
    rows: u32, per_row: u32, length: u32, wanted: u32,
    step: u32, output_step: u32, spare0: u32, spare1: u32
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> values: array<Stored4>;
@group(0) @binding(2) var<storage, read_write> places: array<array<vec2<u32>, 4>>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = (group.y * p.per_row + group.x) * WIDTH + local;
    if row >= p.rows { return; }
    var taken: Lane;
    var taken_at = 0u;
    for (var k = 0u; k < p.output_step; k++) {
        var found: array<Lane, 4>;
        var found_at: array<vec2<u32>, 4>;
        for (var lane = 0u; lane < 4u; lane++) {
            let rank = k * 4u + lane;
            if rank >= p.wanted { break; }
            var best: Lane;
            var best_at = p.length;
            for (var e = 0u; e < p.length; e++) {
                let x = lane_of(input[row * p.step + (e >> 2u)], e & 3u);
                // Of equal elements the lower index comes first.
                let left = rank == 0u || before(taken, x) || (!before(x, taken) && e > taken_at);
                if left && (best_at == p.length || before(x, best)) {
                    best = x;
                    best_at = e;
                }
            }
            taken = best;
            taken_at = best_at;
            found[lane] = best;
            found_at[lane] = vec2<u32>(best_at, 0u);
        }
        values[row * p.output_step + k] = pack4(found[0], found[1], found[2], found[3]);
        places[row * p.output_step + k] = found_at;
    }
}
