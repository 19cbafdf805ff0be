// The second dispatch of an attention whose keys were split among workgroups: joins what attention_keys.wgsl
// left of each query, which is for each split the weighted values and, behind them, the largest score and
// the sum of weights.
//
// Grid: an invocation makes one group of 4 elements of the result.
// Prelude (docs/shaders.md): Stored4, store4; WIDTH, invocations of a workgroup.

// `groups`: of the result; `rows`: queries of all heads of a batch; `value4`: groups of a value. Strides and
// the offset of the result (y_…) in groups of 4 elements.
struct Params {
    groups: u32, per_row: u32, splits: u32, value4: u32,
    queries: u32, rows: u32, zero_unseen: u32, spare: u32,
    y_offset: u32, y_batch: u32, y_head: u32, y_row: u32,
}

@group(0) @binding(0) var<storage, read> parts: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let row = index / p.value4;
    let g = index - row * p.value4;
    let step = p.value4 + 1u;
    let base = row * p.splits * step;
    var high = -LARGEST;
    for (var split = 0u; split < p.splits; split++) {
        high = max(high, bitcast<f32>(parts[base + split * step + p.value4].x));
    }
    var sum = 0.0;
    var total = vec4(0.0);
    for (var split = 0u; split < p.splits; split++) {
        let measures = bitcast<vec4<f32>>(parts[base + split * step + p.value4]);
        let shrink = exp_below(measures.x - high);
        sum += measures.y * shrink;
        total += bitcast<vec4<f32>>(parts[base + split * step + g]) * shrink;
    }
    let batch = row / p.rows;
    let within = row - batch * p.rows;
    let head = within / p.queries;
    let to = p.y_offset + batch * p.y_batch + head * p.y_head + (within - head * p.queries) * p.y_row;
    output[to + g] = store4(select(shares4(total, vec4(sum)), vec4(0.0), sum == 0.0 && p.zero_unseen != 0u));
}
