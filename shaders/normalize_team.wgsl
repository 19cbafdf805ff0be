// Normalisation of runs of elements (layers, instances, groups), in float32, as normalize.wgsl, for hardware: a team of invocations
// makes a run and keeps it in registers, so that it is read once for the mean, the variance around that mean and the result.
// STREAMED: a run is too long for that and is read three times.
//
// A run is `items` groups of 4: item i lies at base + (i / inner) · step + i % inner.
// Prelude: Stored4, load4, store4, CENTRED (else the mean is taken as 0), LANES (each lane is a run of its own), GATHERED
// (scale and bias by element / scale_divisor, lane by lane), TAIL (the last group of each `inner` is partly padding), FLAT
// (inner is items); STREAMED, HELD (items of an invocation), WIDTH and TEAM with shaders/lib/team.wgsl.

// Strides in groups of 4. `tail`: valid lanes of the last group; `count`: elements of a run.
struct Params {
    runs: u32, per_row: u32, columns: u32, outer: u32,
    column: u32, items: u32, inner: u32, step: u32,
    tail: u32, scale_step: u32, scale_divisor: u32, has_bias: u32,
    count: f32, epsilon: f32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> scale: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// The sum over the team; over the lanes too unless they are runs of their own.
fn total(value: vec4<f32>, at: Member) -> vec4<f32> {
    if LANES { return team_sum4(value, at); }
    return vec4(team_sum((value.x + value.y) + (value.z + value.w), at));
}

fn address(base: u32, i: u32) -> u32 {
    if FLAT { return base + i; }
    let block = i / p.inner;
    return base + block * p.step + (i - block * p.inner);
}

fn within(i: u32) -> u32 {
    if FLAT { return i; }
    return i % p.inner;
}

// Item `i` less the mean; what lies beyond the run's end is 0.
fn centred(x: vec4<f32>, mean: vec4<f32>, i: u32) -> vec4<f32> {
    var valid = vec4(i < p.items);
    if TAIL { valid = valid & (vec4(0u, 1u, 2u, 3u) < vec4(select(4u, p.tail, within(i) + 1u == p.inner))); }
    return select(vec4(0.0), x - mean, valid);
}

fn finish(normal: vec4<f32>, column: u32, i: u32) -> vec4<f32> {
    var s = vec4(0.0);
    var b = vec4(0.0);
    if GATHERED {
        for (var lane = 0u; lane < 4u; lane++) {
            // Lanes of padding read the last element's channel.
            let c = column * p.scale_step + min(i * 4u + lane, u32(p.count) - 1u) / p.scale_divisor;
            s[lane] = load4(scale[c >> 2u])[c & 3u];
            if p.has_bias != 0u { b[lane] = load4(bias[c >> 2u])[c & 3u]; }
        }
    } else {
        let c = column * p.scale_step + within(i);
        s = load4(scale[c]);
        if p.has_bias != 0u { b = load4(bias[c]); }
    }
    return normal * s + b;
}

@compute @workgroup_size(WIDTH)
fn main(at: Member) {
    // All of a workgroup make sums together: a team beyond the last run repeats that and stores nothing.
    let run = (at.group.y * p.per_row + at.group.x) * (WIDTH / TEAM) + team_index(at);
    let made = min(run, p.runs - 1u);
    let first = team_lane(at);
    let column = made % p.columns;
    let base = (made / p.columns) * p.outer + column * p.column;
    var mean = vec4(0.0);

    if STREAMED {
        if CENTRED {
            var sum = vec4(0.0);
            for (var i = first; i < p.items; i += TEAM) { sum += centred(load4(input[address(base, i)]), mean, i); }
            mean = total(sum, at) / p.count;
        }
        var squares = vec4(0.0);
        for (var i = first; i < p.items; i += TEAM) {
            let d = centred(load4(input[address(base, i)]), mean, i);
            squares += d * d;
        }
        let deviation = sqrt(total(squares, at) / p.count + p.epsilon);
        if run >= p.runs { return; }
        for (var i = first; i < p.items; i += TEAM) {
            let a = address(base, i);
            output[a] = store4(finish((load4(input[a]) - mean) / deviation, column, i));
        }
        return;
    }

    var held: array<vec4<f32>, HELD>;
    var sum = vec4(0.0);
    for (var k = 0u; k < HELD; k++) {
        let i = first + k * TEAM;
        held[k] = vec4(0.0);
        if i < p.items { held[k] = load4(input[address(base, i)]); }
        sum += centred(held[k], vec4(0.0), i);
    }
    if CENTRED { mean = total(sum, at) / p.count; }
    var squares = vec4(0.0);
    for (var k = 0u; k < HELD; k++) {
        let d = centred(held[k], mean, first + k * TEAM);
        squares += d * d;
    }
    let deviation = sqrt(total(squares, at) / p.count + p.epsilon);
    if run >= p.runs { return; }
    for (var k = 0u; k < HELD; k++) {
        let i = first + k * TEAM;
        if i < p.items { output[address(base, i)] = store4(finish((held[k] - mean) / deviation, column, i)); }
    }
}
