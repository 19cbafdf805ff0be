// Normalisation of runs of elements, in float32, for graphics cards: the same as normalize.wgsl.
//
// Grid: a group of GROUP invocations makes one run and keeps it in registers, CACHED items an invocation, so
// that it is read once; a workgroup has WIDTH / GROUP groups. STREAMED: a run is too long for that and is
// read three times, for the mean, the variance around that mean and the result.
//
// A run is `items` groups of 4: item i lies at base + (i / inner) · step + i % inner.
// Bindings and parameters: lib/normalize.wgsl. Sums over a group: lib/reduction_group.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; CENTRED, else the mean is taken as 0 (RMS
// normalisation); LANES, each lane is a run of its own; GATHERED, scale and bias are found by element /
// scale_divisor, lane by lane; TAIL, the last group of each `inner` is partly padding; FLAT, inner is items;
// STREAMED, CACHED; WIDTH, GROUP, STRIDE.

// The sum over the group; over the lanes too unless they are runs of their own.
fn total(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    if LANES { return group_sum4(value, at); }
    return vec4(group_sum((value.x + value.y) + (value.z + value.w), at));
}

// Item `i` less the mean; what lies beyond the run's end is 0.
fn centred(x: vec4<f32>, mean: vec4<f32>, i: u32) -> vec4<f32> {
    return select(vec4(0.0), x - mean, vec4(i < p.items) & valid(i));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Invocation) {
    // All of a workgroup make sums together: a group beyond the last run repeats that and stores nothing.
    let run = (group.y * p.per_row + group.x) * (WIDTH / GROUP) + group_index(at);
    let made = min(run, p.runs - 1u);
    let first = group_lane(at);
    let column = made % p.columns;
    let base = (made / p.columns) * p.outer + column * p.column;
    var mean = vec4(0.0);

    if STREAMED {
        if CENTRED {
            var sum = vec4(0.0);
            for (var i = first; i < p.items; i += GROUP) {
                sum += centred(load4(input[address(base, i)]), mean, i);
            }
            mean = total(sum, at) / p.count;
        }
        var squares = vec4(0.0);
        for (var i = first; i < p.items; i += GROUP) {
            let d = centred(load4(input[address(base, i)]), mean, i);
            squares += d * d;
        }
        let deviation = sqrt(total(squares, at) / p.count + p.epsilon);
        if run < p.runs {
            for (var i = first; i < p.items; i += GROUP) {
                let a = address(base, i);
                output[a] = store4(scaled((load4(input[a]) - mean) / deviation, column, i));
            }
        }
        return;
    }

    var cached: array<vec4<f32>, CACHED>;
    var sum = vec4(0.0);
    for (var k = 0u; k < CACHED; k++) {
        let i = first + k * GROUP;
        cached[k] = vec4(0.0);
        if i < p.items { cached[k] = load4(input[address(base, i)]); }
        sum += centred(cached[k], vec4(0.0), i);
    }
    if CENTRED { mean = total(sum, at) / p.count; }
    var squares = vec4(0.0);
    for (var k = 0u; k < CACHED; k++) {
        let d = centred(cached[k], mean, first + k * GROUP);
        squares += d * d;
    }
    let deviation = sqrt(total(squares, at) / p.count + p.epsilon);
    if run >= p.runs { return; }
    for (var k = 0u; k < CACHED; k++) {
        let i = first + k * GROUP;
        if i < p.items {
            output[address(base, i)] = store4(scaled((cached[k] - mean) / deviation, column, i));
        }
    }
}
