// Buffers, parameters and terms of reduce.wgsl and reduce_group.wgsl.

// The address of a term: offset + Σ kept coordinate · stride + i · step0 + j · step1, in elements, i
// below length0 and j below length1. `groups`, `elements`: of the output; `count`: the number of terms;
// `items`: what a walk over j takes, terms or groups of 4; `terms`: the count again, for
// reduce_integer.wgsl, which has the same block.
struct Params {
    groups: u32, per_row: u32, elements: u32, offset: u32,
    length0: u32, step0: u32, length1: u32, step1: u32,
    sizes: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
    count: f32, items: u32, terms: u32, spare: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// A term of each of the 4 elements.
fn terms(at: vec4<u32>) -> vec4<f32> {
    if TOGETHER { return load4(input[at.x >> 2u]); }
    return vec4(load4(input[at.x >> 2u])[at.x & 3u], load4(input[at.y >> 2u])[at.y & 3u],
                load4(input[at.z >> 2u])[at.z & 3u], load4(input[at.w >> 2u])[at.w & 3u]);
}
