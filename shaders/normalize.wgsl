// Normalisation of runs of elements (LayerNormalization, InstanceNormalization, GroupNormalization,
// RMSNormalization), in float32, for software adapters.
//
// Grid: an invocation makes one run, reading it three times: for the mean, for the variance around that
// mean, and for the result.
//
// A run is `items` groups of 4: item i lies at base + (i / inner) · step + i % inner.
// Bindings and parameters: lib/normalize.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; CENTRED, else the mean is taken as 0 (RMS
// normalisation); LANES, each lane is a run of its own; GATHERED, scale and bias are found by element /
// scale_divisor, lane by lane; TAIL, the last group of each `inner` is partly padding; FLAT, inner is items;
// WIDTH, invocations of a workgroup.

// The sum over the lanes, unless they are runs of their own.
fn total(value: vec4<f32>) -> vec4<f32> {
    return select(vec4(value.x + value.y + value.z + value.w), value, vec4(LANES));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let run = (group.y * p.per_row + group.x) * WIDTH + local;
    if run >= p.runs { return; }
    let column = run % p.columns;
    let base = (run / p.columns) * p.outer + column * p.column;

    var mean = vec4(0.0);
    if CENTRED {
        var sum = vec4(0.0);
        for (var i = 0u; i < p.items; i++) {
            sum += select(vec4(0.0), load4(input[address(base, i)]), valid(i));
        }
        mean = total(sum) / p.count;
    }
    var squares = vec4(0.0);
    for (var i = 0u; i < p.items; i++) {
        let d = select(vec4(0.0), load4(input[address(base, i)]) - mean, valid(i));
        squares += d * d;
    }
    let deviation = sqrt(total(squares) / p.count + p.epsilon);
    for (var i = 0u; i < p.items; i++) {
        let at = address(base, i);
        output[at] = store4(scaled((load4(input[at]) - mean) / deviation, column, i));
    }
}
