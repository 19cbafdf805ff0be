// OneHot: along a new axis, "on" at the index and "off" elsewhere.
//
// Grid: an invocation makes 4 consecutive elements of the output.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4 of the values; IStored4, ILane, Ilane_of of the
// indices; names(x, k), whether index x means coordinate k; WIDTH, invocations of a workgroup.

// The output is [outer, depth, inner], the indices [outer, inner]; values are off, on.
struct Params {
    groups: u32, per_row: u32, elements: u32, depth: u32,
    inner: u32, spare0: u32, spare1: u32, spare2: u32
}

@group(0) @binding(0) var<storage, read> indices: array<IStored4>;
@group(0) @binding(1) var<storage, read> values: array<Stored4>;
@group(0) @binding(2) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    var lanes: array<Lane, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        let row = min(index * 4u + lane, p.elements - 1u) / p.inner;
        let column = min(index * 4u + lane, p.elements - 1u) - row * p.inner;
        let outer = row / p.depth;
        let at = outer * p.inner + column;
        let hot = names(Ilane_of(indices[at >> 2u], at & 3u), row - outer * p.depth);
        lanes[lane] = lane_of(values[0], select(0u, 1u, hot));
    }
    output[index] = pack4(lanes[0], lanes[1], lanes[2], lanes[3]);
}
