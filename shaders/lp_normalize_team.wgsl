// LpNormalization along one axis, in float32, as lp_normalize.wgsl, for hardware: a team of invocations makes a line and keeps it in
// registers, so that it is read once. STREAMED: a line is too long for that and is read twice.
//
// ACROSS: the axis is not the innermost; a line is 4 neighbouring columns. Otherwise it is a row, and its items are groups of 4.
// Prelude: Stored4, load4, store4; ACROSS, SQUARES (the 2-norm); STREAMED, HELD (items of an invocation), WIDTH and TEAM with
// shaders/lib/team.wgsl.

// Strides in groups of 4. `count` lines: rows, or (outer, column group) pairs; `length` elements on the axis.
struct Params { count: u32, per_row: u32, length: u32, columns: u32, outer: u32, step: u32, spare0: u32, spare1: u32 }

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// What item `i` adds; lanes beyond the line's end hold anything.
fn term(x: vec4<f32>, i: u32) -> vec4<f32> {
    var inside = vec4(i < p.length);
    if !ACROSS { inside = vec4(0u, 1u, 2u, 3u) + vec4(4u * i) < vec4(p.length); }
    if SQUARES { return select(vec4(0.0), x * x, inside); }
    return select(vec4(0.0), abs(x), inside);
}
fn summed(x: vec4<f32>, at: Member) -> vec4<f32> {
    if ACROSS { return team_sum4(x, at); }
    return vec4(team_sum((x.x + x.y) + (x.z + x.w), at));
}
// Where the norm is 0 so is the result.
fn result4(x: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    var norm = sum;
    if SQUARES { norm = sqrt(sum); }
    return select(x / norm, vec4(0.0), norm == vec4(0.0));
}

@compute @workgroup_size(WIDTH)
fn main(at: Member) {
    // All of a workgroup make sums together: a team beyond the last line repeats that and stores nothing.
    let line = (at.group.y * p.per_row + at.group.x) * (WIDTH / TEAM) + team_index(at);
    let made = min(line, p.count - 1u);
    let first = team_lane(at);
    var base = made * p.step;
    var step = 1u;
    var items = p.step;
    if ACROSS {
        base = (made / p.columns) * p.outer + made % p.columns;
        step = p.step;
        items = p.length;
    }
    var held: array<vec4<f32>, HELD>;
    var sum = vec4(0.0);
    if STREAMED {
        for (var i = first; i < items; i += TEAM) { sum += term(load4(input[base + i * step]), i); }
    } else {
        for (var k = 0u; k < HELD; k++) {
            let i = first + k * TEAM;
            held[k] = vec4(0.0);
            if i < items { held[k] = load4(input[base + i * step]); }
            sum += term(held[k], i);
        }
    }
    let total = summed(sum, at);
    if line >= p.count { return; }
    if STREAMED {
        for (var i = first; i < items; i += TEAM) { output[base + i * step] = store4(result4(load4(input[base + i * step]), total)); }
    } else {
        for (var k = 0u; k < HELD; k++) {
            let i = first + k * TEAM;
            if i < items { output[base + i * step] = store4(result4(held[k], total)); }
        }
    }
}
