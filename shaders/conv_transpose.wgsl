// Transposed convolution in two dimensions on channels-last groups of 4.
//
// Grid: an invocation gathers 4 output channels of PIXELS pixels of a row that lie stride_w apart, so that
// the same taps reach all of them and a tap's weights are loaded once; x runs over groups of channels, (z,
// y) over blocks of pixels.
// The weights are [tap][input channel of a group][output channel]. The epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; PIXELS; WIDTH, invocations of a workgroup; GENERATED,
// generated4.

// in_…, out_…: the input's and the output's sizes; names ending in 4 count groups of 4 channels.
// in_group: input channels that one output channel reads; a phase is the pixels of a row with one remainder
// by stride_w, in phase_blocks blocks; row_groups: how blocks are numbered; offset, step: where the
// output lies and how far apart its pixels are. window: lib/window.wgsl; epilogue: lib/finish.wgsl.
struct Params {
    window: Window,
    epilogue: Epilogue,
    in_h: u32, in_w: u32, in_c4: u32, out_h: u32,
    out_w: u32, out_c4: u32, blocks: u32, phase_blocks: u32,
    in_group: u32, out_group4: u32, row_groups: u32, offset: u32,
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
    if channel >= p.out_c4 || block >= p.blocks { return; }
    // A row of blocks: phase by phase, each of phase_blocks blocks.
    let row_blocks = p.phase_blocks * p.window.stride_w;
    let row = block / row_blocks;
    let in_row = block - row * row_blocks;
    let phase = in_row / p.phase_blocks;
    let first = phase + (in_row - phase * p.phase_blocks) * PIXELS * p.window.stride_w;
    let n = row / p.out_h;
    let y_padded = (row - n * p.out_h) + u32(p.window.pad_h);

    var sum: array<vec4<f32>, PIXELS>;
    for (var r = 0u; r < PIXELS; r++) { sum[r] = vec4(0.0); }
    let first_in = (channel / p.out_group4) * (p.in_group / 4u);
    let in_group4 = (p.in_group + 3u) / 4u;
    for (var ky = 0u; ky < p.window.kernel_h; ky++) {
        let reach = ky * p.window.dilation_h;
        if y_padded < reach || (y_padded - reach) % p.window.stride_h != 0u { continue; }
        let y = (y_padded - reach) / p.window.stride_h;
        if y >= p.in_h { continue; }
        let line = (n * p.in_h + y) * p.in_w;
        for (var kx = 0u; kx < p.window.kernel_w; kx++) {
            // The first pixel's source may lie left of the input while the others' lie inside.
            let wanted = i32(first + u32(p.window.pad_w)) - i32(kx * p.window.dilation_w);
            let stride = i32(p.window.stride_w);
            let x0 = select(wanted / stride, -((stride - 1 - wanted) / stride), wanted < 0);
            if x0 * stride != wanted { continue; }
            var base: array<u32, PIXELS>;
            var inside: array<bool, PIXELS>;
            for (var r = 0u; r < PIXELS; r++) {
                let x = x0 + i32(r);
                inside[r] = (x >= 0) & (x < i32(p.in_w));
                base[r] = select(0u, (line + u32(x)) * p.in_c4, inside[r]) + first_in;
            }
            var weight = (ky * p.window.kernel_w + kx) * p.in_group * p.out_c4 + channel;
            for (var c = 0u; c < in_group4; c++) {
                // The last group's lanes beyond the channels are padding, which may hold anything.
                let lanes = min(4u, p.in_group - c * 4u);
                for (var lane = 0u; lane < lanes; lane++) {
                    let w = load4(weights[weight]);
                    weight += p.out_c4;
                    for (var r = 0u; r < PIXELS; r++) {
                        sum[r] += select(0.0, load4(input[base[r] + c])[lane], inside[r]) * w;
                    }
                }
            }
        }
    }
    let offset = bias4(channel);
    for (var r = 0u; r < PIXELS; r++) {
        let x = first + r * p.window.stride_w;
        if x < p.out_w {
            let pixel = row * p.out_w + x;
            // The residual is contiguous, whatever the output is a part of.
            output[p.offset + pixel * p.step + channel] =
                store4(finish(sum[r], offset, pixel * p.out_c4 + channel));
        }
    }
}
