// Trilu: the triangle of matrices on one side of a diagonal, zeros elsewhere.
//
// Grid: an invocation makes 4 consecutive elements.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; UPPER; WIDTH, invocations of a workgroup.

struct Params {
    groups: u32, per_row: u32, rows: u32, columns: u32,
    diagonal: i32, spare0: u32, spare1: u32, spare2: u32
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let x = input[index];
    var lanes: array<Lane, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        let row = (index * 4u + lane) / p.columns;
        let diagonal = i32(index * 4u + lane - row * p.columns) - i32(row % p.rows);
        if select(diagonal <= p.diagonal, diagonal >= p.diagonal, UPPER) { lanes[lane] = lane_of(x, lane); }
    }
    output[index] = pack4(lanes[0], lanes[1], lanes[2], lanes[3]);
}
