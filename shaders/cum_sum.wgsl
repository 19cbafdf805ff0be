// CumSum and CumProd: running sums or products along one axis.
//
// Grid: an invocation walks one row of the axis, or, with ACROSS (the axis is not the innermost), 4
// neighbouring columns.
// Bindings and parameters: lib/lines.wgsl.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; join(a, x), wrapping at the type's width, and
// first(), from where it begins; ACROSS, EXCLUSIVE, REVERSE; WIDTH, invocations of a workgroup.

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.count { return; }
    var sums = array<Lane, 4>(first(), first(), first(), first());
    var made: array<Lane, 4>;
    if ACROSS {
        let base = (index / p.columns) * p.outer + index % p.columns;
        for (var k = 0u; k < p.length; k++) {
            let at = base + select(k, p.length - 1u - k, REVERSE) * p.step;
            let x = input[at];
            for (var lane = 0u; lane < 4u; lane++) {
                made[lane] = sums[lane];
                sums[lane] = join(sums[lane], lane_of(x, lane));
                if !EXCLUSIVE { made[lane] = sums[lane]; }
            }
            output[at] = pack4(made[0], made[1], made[2], made[3]);
        }
    } else {
        let base = index * p.step;
        let groups = (p.length + 3u) / 4u;
        for (var k = 0u; k < groups; k++) {
            let place = select(k, groups - 1u - k, REVERSE);
            let x = input[base + place];
            for (var step = 0u; step < 4u; step++) {
                let lane = select(step, 3u - step, REVERSE);
                // Lanes beyond the row's end hold anything.
                if place * 4u + lane >= p.length { continue; }
                made[lane] = sums[0];
                sums[0] = join(sums[0], lane_of(x, lane));
                if !EXCLUSIVE { made[lane] = sums[0]; }
            }
            output[base + place] = pack4(made[0], made[1], made[2], made[3]);
        }
    }
}
