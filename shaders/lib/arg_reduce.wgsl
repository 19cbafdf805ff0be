// Buffers and parameters of arg_reduce.wgsl and arg_reduce_group.wgsl.

// The address of element k of the reduced axis, which has `length`: offset + Σ kept coordinate · stride +
// k · step. `groups`, `elements`: of the output.
struct Params {
    groups: u32, per_row: u32, elements: u32, offset: u32,
    length: u32, step: u32, spare0: u32, spare1: u32,
    sizes: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<array<vec2<u32>, 4>>;
@group(1) @binding(0) var<uniform> p: Params;
