// Convolution in two dimensions, and its transpose, in groups of any number of channels.
//
// Grid: an invocation makes 4 output channels of one pixel; each of the 4 finds its own input channels.
// The weights are [tap][input channel of a group][output channel]. The epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; TRANSPOSED; WIDTH, invocations of a workgroup;
// GENERATED, generated4.

// in_…, out_…: the input's and the output's sizes; in_c4, out_c4 in groups of 4. pixels: of all output
// images; in_group, out_group: channels of a group; offset, step: where the output lies and how far
// apart its pixels are, in groups of 4. window: lib/window.wgsl; epilogue: lib/finish.wgsl.
struct Params {
    window: Window,
    epilogue: Epilogue,
    in_h: u32, in_w: u32, in_c4: u32, out_h: u32,
    out_w: u32, out_c4: u32, pixels: u32, per_row: u32,
    in_group: u32, out_group: u32, out_c: u32, offset: u32,
    step: u32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> weights: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> residual: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// The input coordinate that a tap reads for an output coordinate; `size` or more where there is none.
fn source(out: u32, tap: u32, stride: u32, pad: u32, dilation: u32, size: u32) -> u32 {
    if TRANSPOSED {
        let ahead = out + pad;
        let reach = tap * dilation;
        if ahead < reach || (ahead - reach) % stride != 0u { return size; }
        return (ahead - reach) / stride;
    }
    let ahead = out * stride + tap * dilation;
    return select(ahead - pad, size, ahead < pad);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    let pixel = index / p.out_c4;
    if pixel >= p.pixels { return; }
    let channel = index - pixel * p.out_c4;
    let row = pixel / p.out_w;
    let n = row / p.out_h;
    // Lanes beyond the last channel repeat it.
    let lanes = min(vec4(channel * 4u) + vec4(0u, 1u, 2u, 3u), vec4(p.out_c - 1u));
    let first_in = lanes / p.out_group * p.in_group;

    let w = p.window;
    var sum = vec4(0.0);
    for (var ky = 0u; ky < w.kernel_h; ky++) {
        let y = source(row - n * p.out_h, ky, w.stride_h, u32(w.pad_h), w.dilation_h, p.in_h);
        if TRANSPOSED && y >= p.in_h { continue; }
        for (var kx = 0u; kx < w.kernel_w; kx++) {
            let x = source(pixel - row * p.out_w, kx, w.stride_w, u32(w.pad_w), w.dilation_w, p.in_w);
            if TRANSPOSED && x >= p.in_w { continue; }
            // Padding is multiplied as what else is 0: by an infinite weight it is NaN.
            let inside = TRANSPOSED || (y < p.in_h && x < p.in_w);
            let base = ((n * p.in_h + min(y, p.in_h - 1u)) * p.in_w + min(x, p.in_w - 1u)) * p.in_c4;
            let weight = (ky * w.kernel_w + kx) * p.in_group * p.out_c4 + channel;
            for (var c = 0u; c < p.in_group; c++) {
                let own = first_in + vec4(c);
                let value = vec4(
                    load4(input[base + (own.x >> 2u)])[own.x & 3u],
                    load4(input[base + (own.y >> 2u)])[own.y & 3u],
                    load4(input[base + (own.z >> 2u)])[own.z & 3u],
                    load4(input[base + (own.w >> 2u)])[own.w & 3u]);
                sum += select(vec4(0.0), value, inside) * load4(weights[weight + c * p.out_c4]);
            }
        }
    }
    // The residual is contiguous, whatever the output is a part of.
    output[p.offset + pixel * p.step + channel] = store4(finish(sum, bias4(channel), index));
}
