// MaxPool, AveragePool, LpPool and the global ones in two dimensions on channels-last groups of 4.
//
// Grid: an invocation makes 4 channels of one output pixel.
// Prelude (docs/shaders.md): Stored4, load4, store4; WIDTH, invocations of a workgroup; MODE: 0 maximum, 1
// average, 2 p-norm.

// in_…, out_…: the input's and the output's sizes; c4: groups of 4 channels. count_all: the divisor of
// an average counts the padding too (count_include_pad), within limit_h and limit_w, the padded input;
// exponent: of a p-norm; offset, step: where the output lies and how far apart its pixels are, in groups of
// 4. window: lib/window.wgsl.
struct Params {
    window: Window,
    in_h: u32, in_w: u32, c4: u32, out_h: u32,
    out_w: u32, groups: u32, per_row: u32, count_all: u32,
    limit_h: i32, limit_w: i32, exponent: f32, offset: u32,
    step: u32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

fn power4(v: vec4<f32>, y: f32) -> vec4<f32> {
    return vec4(pow_(v.x, y), pow_(v.y, y), pow_(v.z, y), pow_(v.w, y));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let channel = index % p.c4;
    let pixel = index / p.c4;
    let ox = pixel % p.out_w;
    let row = pixel / p.out_w;
    let oy = row % p.out_h;
    let image = (row / p.out_h) * p.in_h;
    let corner_y = i32(oy * p.window.stride_h) - p.window.pad_h;
    let corner_x = i32(ox * p.window.stride_w) - p.window.pad_w;

    var value = vec4(0.0);
    var seen = false;
    var count = 0u;
    for (var ky = 0u; ky < p.window.kernel_h; ky++) {
        let y = corner_y + i32(ky * p.window.dilation_h);
        for (var kx = 0u; kx < p.window.kernel_w; kx++) {
            let x = corner_x + i32(kx * p.window.dilation_w);
            if y < 0 || x < 0 || y >= i32(p.in_h) || x >= i32(p.in_w) {
                if y < p.limit_h && x < p.limit_w { count += p.count_all; }
                continue;
            }
            count += 1u;
            let v = load4(input[((image + u32(y)) * p.in_w + u32(x)) * p.c4 + channel]);
            if MODE == 0u {
                // The first value is taken as it is: it may be −∞. A NaN stays.
                value = select(value, v, ((v > value) & !is_nan4(value)) | is_nan4(v) | vec4(!seen));
                seen = true;
            } else if MODE == 1u {
                value += v;
            } else {
                value += power4(abs(v), p.exponent);
            }
        }
    }
    if MODE == 1u { value /= f32(max(count, 1u)); }
    if MODE == 2u { value = power4(value, 1.0 / p.exponent); }
    output[p.offset + pixel * p.step + channel] = store4(value);
}
