// LpNormalization along one axis, in float32, for graphics cards: the same as lp_normalize.wgsl.
//
// Grid: a team of TEAM invocations makes one row, whose items are groups of 4, or, with ACROSS (the axis is
// not the innermost), 4 neighbouring columns; a workgroup has WIDTH / TEAM teams. An invocation keeps HELD
// items in registers, so that the input is read once. STREAMED: a row or column is too long for that and is
// read twice.
// Bindings and parameters: lib/lines.wgsl. Sums over a team: lib/team.wgsl, lib/team_lines.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; ACROSS; SQUARES, the 2-norm; STREAMED, HELD; WIDTH,
// TEAM, STRIDE.

// What item `i` adds; lanes beyond the line's end hold anything.
fn term(x: vec4<f32>, i: u32) -> vec4<f32> {
    if SQUARES { return select(vec4(0.0), x * x, line_lanes(i)); }
    return select(vec4(0.0), abs(x), line_lanes(i));
}
// Where the norm is 0 so is the result.
fn result4(x: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    var norm = sum;
    if SQUARES { norm = sqrt(sum); }
    return select(x / norm, vec4(0.0), norm == vec4(0.0));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Member) {
    // All of a workgroup make sums together: a team beyond the last line repeats that and stores nothing.
    let index = (group.y * p.per_row + group.x) * (WIDTH / TEAM) + team_index(at);
    let made = min(index, p.count - 1u);
    let first = team_lane(at);
    let line = line_at(made);
    var held: array<vec4<f32>, HELD>;
    var sum = vec4(0.0);
    if STREAMED {
        for (var i = first; i < line.items; i += TEAM) {
            sum += term(load4(input[line.base + i * line.step]), i);
        }
    } else {
        for (var k = 0u; k < HELD; k++) {
            let i = first + k * TEAM;
            held[k] = vec4(0.0);
            if i < line.items { held[k] = load4(input[line.base + i * line.step]); }
            sum += term(held[k], i);
        }
    }
    let total = line_sum(sum, at);
    if index >= p.count { return; }
    if STREAMED {
        for (var i = first; i < line.items; i += TEAM) {
            output[line.base + i * line.step] =
                store4(result4(load4(input[line.base + i * line.step]), total));
        }
    } else {
        for (var k = 0u; k < HELD; k++) {
            let i = first + k * TEAM;
            if i < line.items { output[line.base + i * line.step] = store4(result4(held[k], total)); }
        }
    }
}
