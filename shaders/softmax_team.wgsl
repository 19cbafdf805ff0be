// Softmax and LogSoftmax along one axis, in float32, as softmax.wgsl, for hardware: a team of invocations makes a line and keeps it
// in registers, so that it is read once. STREAMED: a line is too long for that; it is read twice, the first time with the largest
// element and the sum so far (Milakov and Gimelshein, 2018).
//
// ACROSS: the axis is not the innermost; a line is 4 neighbouring columns. Otherwise it is a row, and its items are groups of 4.
// Prelude: Stored4, load4, store4, ACROSS, LOGARITHM; STREAMED, HELD (items of an invocation), WIDTH and TEAM with shaders/lib/team.wgsl.

// Strides in groups of 4. `count` lines: rows, or (outer, column group) pairs; `length` elements on the axis.
struct Params { count: u32, per_row: u32, length: u32, columns: u32, outer: u32, step: u32, spare0: u32, spare1: u32 }

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

const LOWEST: f32 = -3.4028235e38;

// Which lanes of item `i` are elements.
fn within(i: u32) -> vec4<bool> {
    if ACROSS { return vec4(i < p.length); }
    return vec4(0u, 1u, 2u, 3u) + vec4(4u * i) < vec4(p.length);
}

fn highest(x: vec4<f32>, at: Member) -> vec4<f32> {
    if ACROSS { return team_max4(x, at); }
    return vec4(team_max(max(max(x.x, x.y), max(x.z, x.w)), at));
}
fn summed(x: vec4<f32>, at: Member) -> vec4<f32> {
    if ACROSS { return team_sum4(x, at); }
    return vec4(team_sum((x.x + x.y) + (x.z + x.w), at));
}

@compute @workgroup_size(WIDTH)
fn main(at: Member) {
    // All of a workgroup make sums together: a team beyond the last line repeats that and stores nothing.
    let line = (at.group.y * p.per_row + at.group.x) * (WIDTH / TEAM) + team_index(at);
    let made = min(line, p.count - 1u);
    let first = team_lane(at);
    var base = made * p.step;
    var step = 1u;
    var items = (p.length + 3u) / 4u;
    if ACROSS {
        base = (made / p.columns) * p.outer + made % p.columns;
        step = p.step;
        items = p.length;
    }

    if STREAMED {
        var high = vec4(LOWEST);
        var sum = vec4(0.0);
        for (var i = first; i < items; i += TEAM) {
            let x = select(vec4(LOWEST), load4(input[base + i * step]), within(i));
            let larger = max(high, x);
            sum = sum * exp(high - larger) + select(vec4(0.0), exp(x - larger), within(i));
            high = larger;
        }
        let top = highest(high, at);
        let total = summed(sum * exp(high - top), at);
        if line >= p.count { return; }
        for (var i = first; i < items; i += TEAM) {
            let distance = load4(input[base + i * step]) - top;
            if LOGARITHM { output[base + i * step] = store4(distance - log(total)); } else { output[base + i * step] = store4(exp(distance) / total); }
        }
        return;
    }

    var held: array<vec4<f32>, HELD>;
    var high = vec4(LOWEST);
    for (var k = 0u; k < HELD; k++) {
        let i = first + k * TEAM;
        held[k] = vec4(LOWEST);
        if i < items { held[k] = select(vec4(LOWEST), load4(input[base + i * step]), within(i)); }
        high = max(high, held[k]);
    }
    let top = highest(high, at);
    var sum = vec4(0.0);
    for (var k = 0u; k < HELD; k++) {
        let distance = held[k] - top;
        let weight = select(vec4(0.0), exp(distance), within(first + k * TEAM));
        sum += weight;
        held[k] = select(weight, distance, vec4(LOGARITHM));
    }
    let total = summed(sum, at);
    if line >= p.count { return; }
    for (var k = 0u; k < HELD; k++) {
        let i = first + k * TEAM;
        if i < items {
            if LOGARITHM { output[base + i * step] = store4(held[k] - log(total)); } else { output[base + i * step] = store4(held[k] / total); }
        }
    }
}
