// Softmax and LogSoftmax along one axis, in float32, for software adapters.
//
// Grid: an invocation makes one row, or, with ACROSS (the axis is not the innermost), 4 neighbouring
// columns, reading it three times: for the maximum, the sum and the result.
// Bindings and parameters: lib/lines.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; ACROSS, LOGARITHM; WIDTH, invocations of a workgroup.

// Group `k` of a row, lanes beyond the row's end replaced.
fn row4(base: u32, k: u32, otherwise: f32) -> vec4<f32> {
    let x = load4(input[base + k]);
    return select(vec4(otherwise), x, vec4(0u, 1u, 2u, 3u) + vec4(4u * k) < vec4(p.length));
}

fn result4(x: vec4<f32>, high: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    if LOGARITHM { return x - high - log4(sum); }
    return shares4(exp_below4(x - high), sum);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.count { return; }
    let lowest = -LARGEST;
    if ACROSS {
        let base = (index / p.columns) * p.outer + index % p.columns;
        var high = vec4(lowest);
        for (var k = 0u; k < p.length; k++) { high = max(high, load4(input[base + k * p.step])); }
        var sum = vec4(0.0);
        for (var k = 0u; k < p.length; k++) { sum += exp_below4(load4(input[base + k * p.step]) - high); }
        for (var k = 0u; k < p.length; k++) {
            output[base + k * p.step] = store4(result4(load4(input[base + k * p.step]), high, sum));
        }
    } else {
        let base = index * p.step;
        let groups = (p.length + 3u) / 4u;
        var high4 = vec4(lowest);
        for (var k = 0u; k < groups; k++) { high4 = max(high4, row4(base, k, lowest)); }
        let high = vec4(max(max(high4.x, high4.y), max(high4.z, high4.w)));
        var sum4 = vec4(0.0);
        for (var k = 0u; k < groups; k++) {
            let lanes = vec4(0u, 1u, 2u, 3u) + vec4(4u * k) < vec4(p.length);
            sum4 += select(vec4(0.0), exp_below4(row4(base, k, lowest) - high), lanes);
        }
        let sum = vec4(sum4.x + sum4.y + sum4.z + sum4.w);
        for (var k = 0u; k < groups; k++) {
            output[base + k] = store4(result4(row4(base, k, 0.0), high, sum));
        }
    }
}
