// A convolution of each channel by itself over what lies before: y[t] = Σ w[j] · line[t + j] + bias, where a
// line is the state before, of taps − 1 elements, and the data behind it.
//
// Grid: an invocation makes 4 consecutive elements of a row.
// Prelude (docs/shaders.md): Stored4, load4, store4; BIASED; PAST, there is a state before, which is 0
// otherwise; SILU, a result x becomes x · sigmoid(x); WIDTH, invocations of a workgroup.

// Rows of `length` elements in row_groups groups, one for each sample and channel; weights and states are
// dense.
struct Params {
    groups: u32, per_row: u32, row_groups: u32, length: u32,
    channels: u32, taps: u32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> weights: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> past: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// Element `at` of a row's line.
fn seen(row: u32, at: u32) -> f32 {
    let kept = p.taps - 1u;
    if at >= kept {
        let place = at - kept;
        return load4(input[row * p.row_groups + (place >> 2u)])[place & 3u];
    }
    if !PAST { return 0.0; }
    let place = row * kept + at;
    return load4(past[place >> 2u])[place & 3u];
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let row = index / p.row_groups;
    let first = (index - row * p.row_groups) * 4u;
    let channel = row % p.channels;
    // Lanes beyond the row's end repeat its last element: anything may lie there.
    let last = p.length - 1u;
    var sum = vec4(0.0);
    for (var j = 0u; j < p.taps; j++) {
        let at = channel * p.taps + j;
        let weight = load4(weights[at >> 2u])[at & 3u];
        sum += weight * vec4(
            seen(row, first + j),
            seen(row, min(first + 1u, last) + j),
            seen(row, min(first + 2u, last) + j),
            seen(row, min(first + 3u, last) + j));
    }
    if BIASED { sum += vec4(load4(bias[channel >> 2u])[channel & 3u]); }
    if SILU {
        sum = vec4(
            sum.x * sigmoid(sum.x),
            sum.y * sigmoid(sum.y),
            sum.z * sigmoid(sum.z),
            sum.w * sigmoid(sum.w));
    }
    output[index] = store4(sum);
}
