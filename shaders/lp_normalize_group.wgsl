// LpNormalization along one axis, in float32, for graphics cards: the same as lp_normalize.wgsl.
//
// Grid: a group of GROUP invocations makes one row, whose items are groups of 4, or, with ACROSS (the axis is
// not the innermost), 4 neighbouring columns; a workgroup has WIDTH / GROUP groups. An invocation keeps
// CACHED items in registers, so that the input is read once. STREAMED: a row or column is too long for that
// and is read twice.
// Bindings and parameters: lib/lines.wgsl. Sums over a group: lib/reduction_group.wgsl, lib/group_lines.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; ACROSS; SQUARES, the 2-norm; STREAMED, CACHED; WIDTH,
// GROUP, STRIDE.

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
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Invocation) {
    // All of a workgroup make sums together: a group beyond the last line repeats that and stores nothing.
    let index = (group.y * p.per_row + group.x) * (WIDTH / GROUP) + group_index(at);
    let made = min(index, p.count - 1u);
    let first = group_lane(at);
    let line = line_at(made);
    var cached: array<vec4<f32>, CACHED>;
    var sum = vec4(0.0);
    if STREAMED {
        for (var i = first; i < line.items; i += GROUP) {
            sum += term(load4(input[line.base + i * line.step]), i);
        }
    } else {
        for (var k = 0u; k < CACHED; k++) {
            let i = first + k * GROUP;
            cached[k] = vec4(0.0);
            if i < line.items { cached[k] = load4(input[line.base + i * line.step]); }
            sum += term(cached[k], i);
        }
    }
    let total = line_sum(sum, at);
    if index >= p.count { return; }
    if STREAMED {
        for (var i = first; i < line.items; i += GROUP) {
            output[line.base + i * line.step] =
                store4(result4(load4(input[line.base + i * line.step]), total));
        }
    } else {
        for (var k = 0u; k < CACHED; k++) {
            let i = first + k * GROUP;
            if i < line.items { output[line.base + i * line.step] = store4(result4(cached[k], total)); }
        }
    }
}
