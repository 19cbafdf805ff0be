// Convolution in two dimensions on channels-last groups of 4: an invocation makes 4 output channels of PIXELS pixels.
//
// Pixels come from workgroup_id alone, so that the loads of the input are uniform across the workgroup; the packed
// weights [tap][input channel][output channel] lie side by side. Padding is a test in the load, not a copy.
// Prelude: Stored4, load4, store4, PIXELS, WIDTH, GROUPED, TAIL, GENERATED, generated4, accumulate4.

// Channel counts ending in 4 are in groups of 4. in_group4: input channels that one output channel reads.
struct Params {
    in_h: u32, in_w: u32, in_c4: u32, out_h: u32,
    out_w: u32, out_c4: u32, pixels: u32, kernel_h: u32,
    kernel_w: u32, stride_h: u32, stride_w: u32, pad_h: i32,
    pad_w: i32, dilation_h: u32, dilation_w: u32, in_group4: u32,
    out_group4: u32, tail: u32, flags: u32, alpha: f32,
    low: f32, high: f32, limit_w: u32, row_groups: u32,
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
    if channel >= p.out_c4 { return; }
    let first = (group.z * p.row_groups + group.y) * PIXELS;
    if first >= p.pixels { return; }

    var sum: array<vec4<f32>, PIXELS>;
    var corner_y: array<i32, PIXELS>;
    var corner_x: array<i32, PIXELS>;
    var image: array<u32, PIXELS>;                  // the first row of the pixel's image
    for (var r = 0u; r < PIXELS; r++) {
        let pixel = min(first + r, p.pixels - 1u);
        let row = pixel / p.out_w;
        let n = row / p.out_h;
        sum[r] = vec4(0.0);
        corner_y[r] = i32((row - n * p.out_h) * p.stride_h) - p.pad_h;
        corner_x[r] = i32((pixel - row * p.out_w) * p.stride_w) - p.pad_w;
        image[r] = n * p.in_h;
    }
    var first_in = 0u;
    if GROUPED { first_in = (channel / p.out_group4) * p.in_group4; }

    var weight = channel;
    for (var ky = 0u; ky < p.kernel_h; ky++) {
        for (var kx = 0u; kx < p.kernel_w; kx++) {
            var base: array<u32, PIXELS>;
            var inside: array<bool, PIXELS>;
            for (var r = 0u; r < PIXELS; r++) {
                let y = corner_y[r] + i32(ky * p.dilation_h);
                let x = corner_x[r] + i32(kx * p.dilation_w);
                inside[r] = y >= 0 && y < i32(p.in_h) && x >= 0 && x < i32(p.limit_w);
                base[r] = select(0u, ((image[r] + u32(y)) * p.in_w + u32(x)) * p.in_c4, inside[r]) + first_in;
            }
            for (var c = 0u; c < p.in_group4; c++) {
                let w0 = load4(weights[weight]);
                let w1 = load4(weights[weight + p.out_c4]);
                let w2 = load4(weights[weight + 2u * p.out_c4]);
                let w3 = load4(weights[weight + 3u * p.out_c4]);
                weight += 4u * p.out_c4;
                for (var r = 0u; r < PIXELS; r++) {
                    var x = select(vec4(0.0), load4(input[base[r] + c]), inside[r]);
                    if TAIL {
                        // The last group's lanes beyond the channels are padding, which may hold anything.
                        let valid = select(4u, p.tail, c + 1u == p.in_group4);
                        x = select(vec4(0.0), x, vec4(0u, 1u, 2u, 3u) < vec4(valid));
                    }
                    sum[r] = accumulate4(sum[r] + x.x * w0 + x.y * w1 + x.z * w2 + x.w * w3);
                }
            }
        }
    }
    for (var r = 0u; r < PIXELS; r++) {
        if first + r < p.pixels {
            let at = (first + r) * p.out_c4 + channel;
            output[at] = store4(finish(sum[r], channel, at));
        }
    }
}
