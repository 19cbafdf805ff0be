// Elements that labels choose along the second axis, weighted and negated: each by itself, their sum, or
// their mean by weight. Losses of a classification.
//
// Grid: PHASE 0 (each by itself): an invocation makes 4 results. PHASE 1: an invocation adds up a run of
// samples. PHASE 2: one invocation adds up the runs, in order, so that a sum is the same every time.
// Prelude (docs/shaders.md): Stored4, load4, store4 of data, weights and results; IStored4, Ilane_of of the
// labels; index_value and outside (src/kernels/indices.rs); ignored(label), whether a sample doesn't count;
// PHASE; WEIGHTED, there are weights; MEAN; WIDTH, invocations of a workgroup.

// count: groups of results, or runs, by PHASE; `run` samples to each of `runs`. Sample (outer, line, place),
// of `inner` places in all and `across` to a line, lies at outer · outer_step + line · line_step + place ·
// step in the data, its class at class_step. report: the number by which outside() names this dispatch.
struct Params {
    count: u32, per_row: u32, samples: u32, run: u32,
    runs: u32, classes: u32, inner: u32, across: u32,
    outer_step: u32, class_step: u32, line_step: u32, step: u32,
    offset: u32, report: u32, ignored_low: u32, ignored_high: u32,
}

@group(0) @binding(0) var<storage, read> data: array<Stored4>;
@group(0) @binding(1) var<storage, read> labels: array<IStored4>;
@group(0) @binding(2) var<storage, read> weights: array<Stored4>;
// What each run comes to, and its weights, in float32 whatever the results are stored in.
@group(0) @binding(3) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// What a sample comes to, and its weight: nothing where it doesn't count.
fn sample(index: u32) -> vec2<f32> {
    let label = Ilane_of(labels[index >> 2u], index & 3u);
    if ignored(label) { return vec2(0.0); }
    let class_ = index_value(label);
    if class_ < 0 || class_ >= i32(p.classes) {
        outside(0u, label);
        return vec2(0.0);
    }
    let outer = index / p.inner;
    let within = index - outer * p.inner;
    let line = within / p.across;
    let at = p.offset + outer * p.outer_step + u32(class_) * p.class_step + line * p.line_step
        + (within - line * p.across) * p.step;
    let x = load4(data[at >> 2u])[at & 3u];
    if !WEIGHTED { return vec2(-x, 1.0); }
    let weight = load4(weights[u32(class_) >> 2u])[u32(class_) & 3u];
    return vec2(-x * weight, weight);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.count { return; }
    if PHASE == 0u {
        let last = p.samples - 1u;
        output[index] = store4(vec4(
            sample(index * 4u).x,
            sample(min(index * 4u + 1u, last)).x,
            sample(min(index * 4u + 2u, last)).x,
            sample(min(index * 4u + 3u, last)).x));
    } else if PHASE == 1u {
        var sum = vec2(0.0);
        let end = min((index + 1u) * p.run, p.samples);
        for (var k = index * p.run; k < end; k++) { sum += sample(k); }
        sums[index] = sum;
    } else {
        var sum = vec2(0.0);
        for (var k = 0u; k < p.runs; k++) { sum += sums[k]; }
        output[0] = store4(vec4(select(sum.x, div_(sum.x, sum.y), MEAN)));
    }
}
