// Convolution over up to 4 axes, and its transpose, in groups of any number of channels, of floats or of integers
// less their zero points.
//
// Grid: an invocation makes 4 output channels of one pixel; each of the 4 finds its own input channels.
// The weights are [tap][input channel of a group][output channel].
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; TRANSPOSED; WIDTH, invocations of a workgroup.

// window: lib/window.wgsl. in_c4, out_c4: channels in groups of 4; pixels: of all output images; in_group,
// out_group: channels of a group. given: bits that say what there is of bias and zero points, and whether
// that of the weights is one for all.
struct Params {
    window: WindowNd,
    in_c4: u32, out_c4: u32, pixels: u32, per_row: u32,
    in_group: u32, out_group: u32, out_c: u32, given: u32,
}
// Bits of `given`.
const HAS_BIAS: u32 = 1u;
const HAS_ZERO: u32 = 2u;
const HAS_ZEROS: u32 = 4u;
const ONE_ZERO: u32 = 8u;

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> weights: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> input_zero: array<Stored4>;
@group(0) @binding(4) var<storage, read> weight_zeros: array<Stored4>;
@group(0) @binding(5) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// The input coordinate that a tap reads for an output coordinate along an axis; its size or more where there
// is none.
fn source(axis: u32, out: u32, tap: u32) -> u32 {
    let size = p.window.input[axis];
    let reach = tap * p.window.dilation[axis];
    if TRANSPOSED {
        let ahead = out + p.window.pad[axis];
        if ahead < reach || (ahead - reach) % p.window.stride[axis] != 0u { return size; }
        return (ahead - reach) / p.window.stride[axis];
    }
    let ahead = out * p.window.stride[axis] + reach;
    return select(ahead - p.window.pad[axis], size, ahead < p.window.pad[axis]);
}

fn channel_at(base: u32, channel: u32) -> Lane {
    return lane_of(input[base + (channel >> 2u)], channel & 3u);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    let pixel = index / p.out_c4;
    if pixel >= p.pixels { return; }
    let channel = index - pixel * p.out_c4;
    // Lanes beyond the last channel repeat it.
    let lanes = min(vec4(channel * 4u) + vec4(0u, 1u, 2u, 3u), vec4(p.out_c - 1u));
    let first_in = lanes / p.out_group * p.in_group;

    let place = place_nd(pixel, p.window.output);
    var zero = Lane();
    if (p.given & HAS_ZERO) != 0u { zero = lane_of(input_zero[0], 0u); }
    var zeros = vec4<Lane>();
    if (p.given & ONE_ZERO) != 0u {
        zeros = vec4<Lane>(lane_of(weight_zeros[0], 0u));
    } else if (p.given & HAS_ZEROS) != 0u {
        zeros = lanes4(weight_zeros[channel]);
    }

    var sum = vec4<Lane>();
    let taps = p.window.kernel.x * p.window.kernel.y * p.window.kernel.z * p.window.kernel.w;
    for (var tap = 0u; tap < taps; tap++) {
        var left = tap;
        var inside = true;
        var base = 0u;
        var scale = 1u;
        for (var d = 4u; d > 0u; d--) {
            let size = p.window.input[d - 1u];
            let at = source(d - 1u, place.at[d - 1u], left % p.window.kernel[d - 1u]);
            left /= p.window.kernel[d - 1u];
            inside = inside && at < size;
            base += min(at, size - 1u) * scale;
            scale *= size;
        }
        // What a transposed window doesn't reach is no term.
        if TRANSPOSED && !inside { continue; }
        base = (place.image * scale + base) * p.in_c4;
        let weight = tap * p.in_group * p.out_c4 + channel;
        for (var c = 0u; c < p.in_group; c++) {
            let own = first_in + vec4(c);
            let value = vec4<Lane>(
                channel_at(base, own.x),
                channel_at(base, own.y),
                channel_at(base, own.z),
                channel_at(base, own.w));
            // Padding is multiplied as what else is 0: by an infinite weight it is NaN.
            let term = select(vec4<Lane>(), value - vec4<Lane>(zero), inside);
            sum += term * (lanes4(weights[weight + c * p.out_c4]) - zeros);
        }
    }
    if (p.given & HAS_BIAS) != 0u { sum += lanes4(bias[channel]); }
    output[index] = pack4(sum.x, sum.y, sum.z, sum.w);
}
