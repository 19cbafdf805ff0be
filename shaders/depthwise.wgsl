// Depthwise convolution (one filter a channel) in two dimensions on channels-last groups of 4.
//
// Grid: an invocation makes 4 channels of PIXELS neighbouring pixels of a row, so that a tap's weights are
// loaded once for all of them; x runs over groups of channels, (z, y) over blocks of pixels. With BY_ROWS a
// row's inputs are loaded once too: the SPAN that PIXELS outputs of KERNEL taps with STRIDE reach, without
// dilation.
// The epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; UNROLLED, opaque_index; PIXELS, WIDTH; ANY_WEIGHTS,
// padding is multiplied (see conv.wgsl); BY_ROWS, SPAN, KERNEL, STRIDE; GENERATED, generated4.

// c4: groups of 4 channels. The other members are those of conv.wgsl.
struct Params {
    window: Window,
    epilogue: Epilogue,
    in_h: u32, in_w: u32, c4: u32, out_h: u32,
    out_w: u32, blocks_w: u32, rows: u32, limit_w: u32,
    row_groups: u32, opaque_zero: u32, count: u32, offset: u32,
    step: u32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> weights: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> residual: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let channel = id.x;
    let block = group.z * p.row_groups + group.y;
    let row = block / p.blocks_w;                               // of all images' output rows
    let first = (block % p.blocks_w) * PIXELS;
    if channel >= p.c4 || row >= p.rows { return; }
    let n = row / p.out_h;
    let corner_y = i32((row - n * p.out_h) * p.window.stride_h) - p.window.pad_h;

    var sum: array<vec4<f32>, PIXELS>;
    for (var r = 0u; r < PIXELS; r++) { sum[r] = vec4(0.0); }
    for (var ky = 0u; ky < p.window.kernel_h; ky++) {
        let y = corner_y + i32(ky * p.window.dilation_h);
        let padding = y < 0 || y >= i32(p.in_h);
        if !ANY_WEIGHTS && padding { continue; }
        let there = !padding;
        let line = (n * p.in_h + u32(clamp(y, 0, i32(p.in_h) - 1))) * p.in_w;
        if BY_ROWS {
            let corner_x = i32(first * STRIDE) - p.window.pad_w;
            var window: array<vec4<f32>, SPAN>;
            for (var i = 0u; i < SPAN; i++) {
                let x = corner_x + i32(i);
                let inside = (x >= 0) & (x < i32(p.limit_w)) & there;
                window[i] = select(
                    vec4(0.0),
                    load4(input[select(0u, (line + u32(x)) * p.c4, inside) + channel]),
                    inside);
            }
            for (var kx = 0u; kx < KERNEL; kx++) {
                let w = load4(weights[(ky * KERNEL + kx) * p.c4 + channel]);
                for (var r = 0u; r < PIXELS; r++) {
                    sum[r] += window[r * STRIDE + kx] * w;
                }
            }
            continue;
        }
        for (var kx = 0u; kx < p.window.kernel_w; kx++) {
            let w = load4(weights[(ky * p.window.kernel_w + kx) * p.c4 + channel]);
            for (var r = 0u; r < PIXELS; r++) {
                let x = i32((first + r) * p.window.stride_w + kx * p.window.dilation_w) - p.window.pad_w;
                let inside = (x >= 0) & (x < i32(p.limit_w)) & there;
                let value = load4(input[select(0u, (line + u32(x)) * p.c4, inside) + channel]);
                sum[r] += select(vec4(0.0), value, inside) * w;
            }
        }
    }
    let end = select(min(p.count, p.out_w - first), PIXELS, UNROLLED);
    let offset = bias4(channel);
    var made = sum;                             // indexed by a variable, which `sum` should not be
    for (var r = 0u; r < end; r++) {
        if !UNROLLED || first + r < p.out_w {
            let pixel = row * p.out_w + first + r;
            output[p.offset + pixel * p.step + channel] =
                store4(finish(made[opaque_index(r)], offset, pixel * p.c4 + channel));
        }
    }
}
