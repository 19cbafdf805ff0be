// Convolution in two dimensions on channels-last groups of 4.
//
// Grid: an invocation makes 4 output channels of PIXELS neighbouring pixels of a row. WIDTH groups of
// channels are a workgroup; with rows_first x runs over blocks of pixels and y over channels, else x over
// channels and (z, y) over blocks.
//
// Pixels come from workgroup_id alone, so that the loads of the input are uniform across the workgroup
// (which a software adapter has to be told: see uniform_index); the weights are a matrix of (tap, input
// channel) rows and output channel columns. Padding is a test in the load, not a copy; rows of it are left
// out, unless ANY_WEIGHTS: 0 times an infinite weight is NaN. The epilogue: lib/finish.wgsl. The weights:
// lib/b_rows.wgsl or lib/b_panels.wgsl. Shared loads: lib/shared_*.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; uniform_index, uniform_small; order4, ordered4_if,
// QUADS; UNROLLED, opaque_index; PIXELS, WIDTH; GROUPED, more than one group of channels; TAIL, the last
// group of input channels is partly padding; ANY_WEIGHTS; FEW_TAPS, at most 64 in a row; GENERATED,
// generated4, StoredB, b_column, b_group, b_ordered.

// in_…, out_…: the input's and the output's sizes; names ending in 4 count groups of 4 channels.
// in_group4, out_group4: channels of a group of the convolution, read and made; limit_w: columns of the
// input that exist; rows: output rows of all images; row_groups, blocks_w: how blocks of pixels are
// numbered; tail: valid lanes of the last input group; b_row: the step of lib/b_*.wgsl;
// offset, step: where the output lies and how far apart its pixels are; opaque_zero, count: lib/opaque.wgsl.
// window: lib/window.wgsl; epilogue: lib/finish.wgsl.
struct Params {
    window: Window,
    epilogue: Epilogue,
    in_h: u32, in_w: u32, in_c4: u32, out_h: u32,
    out_w: u32, out_c4: u32, rows: u32, in_group4: u32,
    out_group4: u32, tail: u32, limit_w: u32, row_groups: u32,
    blocks_w: u32, b_row: u32, rows_first: u32, opaque_zero: u32,
    count: u32, offset: u32, step: u32, spare: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> b: array<StoredB>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> residual: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    // Which of pixels and channels neighbouring workgroups share: see matmul.wgsl.
    let block = select(group.z * p.row_groups + group.y, group.x, p.rows_first != 0u);
    let own = select(group.x, group.y, p.rows_first != 0u) * WIDTH + local;
    if !QUADS && own >= p.out_c4 { return; }
    // Beyond the last group of channels an invocation helps to load the input, and stores nothing.
    let channel = min(own, p.out_c4 - 1u);
    let row = block / p.blocks_w;                               // of all images' output rows
    if row >= p.rows { return; }
    let first = (block - row * p.blocks_w) * PIXELS;
    let n = row / p.out_h;
    let corner_y = i32((row - n * p.out_h) * p.window.stride_h) - p.window.pad_h;
    let corner_x = i32(uniform_index(first * p.window.stride_w)) - i32(uniform_index(u32(p.window.pad_w)));
    let stride = i32(uniform_index(p.window.stride_w));
    let dilation = uniform_index(p.window.dilation_w);
    let in_c4 = uniform_index(p.in_c4);
    let limit = i32(uniform_index(p.limit_w));
    let last = i32(uniform_index(p.in_w - 1u));
    let b_start = b_column(channel, p.b_row);
    let steps = order4(local) * p.b_row;
    var first_in = 0u;
    if GROUPED { first_in = (channel / p.out_group4) * p.in_group4; }

    var sum: array<vec4<f32>, PIXELS>;
    for (var r = 0u; r < PIXELS; r++) { sum[r] = vec4(0.0); }
    for (var ky = 0u; ky < p.window.kernel_h; ky++) {
        let y = corner_y + i32(ky * p.window.dilation_h);
        let padding = y < 0 || y >= i32(p.in_h);
        if !ANY_WEIGHTS && padding { continue; }
        let there = !padding;
        let line = uniform_index((n * p.in_h + u32(clamp(y, 0, i32(p.in_h) - 1))) * p.in_w);
        // The next group of 4 input channels among the weights'.
        var b_next = ky * p.window.kernel_w * p.in_group4;
        for (var kx = 0u; kx < p.window.kernel_w; kx++) {
            var ahead = i32(uniform_small(kx) * dilation);
            if !FEW_TAPS { ahead = i32(uniform_index(kx * p.window.dilation_w)); }
            var base: array<u32, PIXELS>;
            var inside: array<bool, PIXELS>;
            for (var r = 0u; r < PIXELS; r++) {
                let x = corner_x + ahead + i32(r) * stride;
                inside[r] = (x >= 0) & (x < limit) & there;
                base[r] = (line + u32(clamp(x, 0, last))) * in_c4 + first_in;
            }
            // uniform_small takes numbers below 64.
            for (var part = 0u; part < p.in_group4; part += 64u) {
                let from_part = uniform_index(part);
                let count = min(64u, p.in_group4 - part);
                for (var k = 0u; k < count; k++) {
                    let c = from_part + uniform_small(k);
                    let w = b_ordered(b_group(b_start, b_next, p.b_row), steps);
                    b_next++;
                    for (var r = 0u; r < PIXELS; r++) {
                        var x = ordered4_if(base[r] + c, local, inside[r]);
                        if TAIL {
                            // The last group's lanes beyond the channels are padding, which may hold
                            // anything.
                            let valid = select(4u, p.tail, part + k + 1u == p.in_group4);
                            x = select(vec4(0.0), x, order4(local) < vec4(valid));
                        }
                        sum[r] += x.x * w[0] + x.y * w[1] + (x.z * w[2] + x.w * w[3]);
                    }
                }
            }
        }
    }
    if QUADS && own >= p.out_c4 { return; }
    let end = select(min(p.count, p.out_w - first), PIXELS, UNROLLED);
    let offset = bias4(channel);
    var made = sum;                             // indexed by a variable, which `sum` should not be
    for (var r = 0u; r < end; r++) {
        if !UNROLLED || first + r < p.out_w {
            let pixel = row * p.out_w + first + r;
            output[p.offset + pixel * p.step + channel] =
                store4(finish(made[opaque_index(r)], offset, pixel * p.out_c4 + channel));
        }
    }
}
