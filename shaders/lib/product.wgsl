// Buffers and parameters of matmul.wgsl and gemv.wgsl.

// C is m rows of n4 groups of columns; k in elements. Strides and offsets in groups of 4 elements (b_row:
// the step of lib/b_*.wgsl). A batch is (outer, inner), of `inner`, with strides for each operand; c_row,
// c_batch, c_offset: C's. epilogue: lib/finish.wgsl; opaque_zero, count: 0 and ROWS, see
// lib/opaque.wgsl.
struct Params {
    epilogue: Epilogue,
    m: u32, n4: u32, k: u32, inner: u32,
    a_offset: u32, a_row: u32, a_outer: u32, a_inner: u32,
    b_offset: u32, b_row: u32, b_outer: u32, b_inner: u32,
    c_row: u32, c_batch: u32, rows_first: u32, opaque_zero: u32,
    count: u32, c_offset: u32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored4>;
@group(0) @binding(1) var<storage, read> b: array<StoredB>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> residual: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> c: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;
