// Buffers, parameters and terms of moments.wgsl and moments_group.wgsl.

// `rows` rows are `step` groups of 4 apart and hold `length` elements; `groups`: of 4 rows.
struct Params {
    groups: u32, per_row: u32, rows: u32, length: u32,
    step: u32, epsilon: f32, spare0: u32, spare1: u32
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> means: array<MStored4>;
@group(0) @binding(2) var<storage, read_write> inverses: array<MStored4>;
@group(1) @binding(0) var<uniform> p: Params;

// Group `k` of a row less the mean; lanes beyond the row's end are 0.
fn centred4(base: u32, k: u32, mean: f32) -> vec4<f32> {
    let inside = vec4(0u, 1u, 2u, 3u) + vec4(4u * k) < vec4(p.length);
    return select(vec4(0.0), load4(input[base + k]) - vec4(mean), inside);
}
