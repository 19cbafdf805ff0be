// MaxPool, with the places of its maxima, AveragePool and LpPool over up to 4 axes on channels-last groups of 4.
//
// Grid: an invocation makes 4 channels of one output pixel.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; WIDTH, invocations of a workgroup; MODE: 0
// maximum, 1 average, 2 p-norm. From src/kernels/pool_nd.rs: nan4, which lanes are NaN; norm4, the power of
// magnitudes; note(at, places), which stores the places of maxima.

// window: lib/window.wgsl. limit: the end of the padded input. scale: what a step along an axis counts in the
// place of a maximum; c, c4: channels, alone and in groups of 4; groups: of the output; area: elements of a
// plane. count_all: the divisor of an average counts the padding too (count_include_pad); exponent: of a
// p-norm.
struct Params {
    window: WindowNd,
    limit: vec4<u32>,
    scale: vec4<u32>,
    c: u32, c4: u32, groups: u32, per_row: u32,
    area: u32, count_all: u32, exponent: f32, spare: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let channel = index % p.c4;
    let place = place_nd(index / p.c4, p.window.output);

    var value = vec4<Lane>();
    var best = vec4(0u);
    var seen = false;
    var count = 0u;
    let taps = p.window.kernel.x * p.window.kernel.y * p.window.kernel.z * p.window.kernel.w;
    for (var tap = 0u; tap < taps; tap++) {
        var left = tap;
        var inside = true;
        var padded = true;
        var base = 0u;
        var where_ = 0u;
        var scale = 1u;
        for (var d = 4u; d > 0u; d--) {
            let size = p.window.input[d - 1u];
            let tap_at = left % p.window.kernel[d - 1u];
            let ahead = place.at[d - 1u] * p.window.stride[d - 1u] + tap_at * p.window.dilation[d - 1u];
            left /= p.window.kernel[d - 1u];
            let before = ahead < p.window.pad[d - 1u];
            let at = select(ahead - p.window.pad[d - 1u], size, before);
            inside = inside && at < size;
            padded = padded && ahead < p.limit[d - 1u];
            base += at * scale;
            where_ += at * p.scale[d - 1u];
            scale *= size;
        }
        if !inside {
            if padded { count += p.count_all; }
            continue;
        }
        count += 1u;
        let v = lanes4(input[(place.image * scale + base) * p.c4 + channel]);
        if MODE == 0u {
            // The first value is taken as it is: it may be the lowest. A NaN stays.
            let nan = nan4(value) & vec4(seen);
            let better = nan4(v) | (!nan & (vec4(!seen) | (v > value)));
            value = select(value, v, better);
            best = select(best, vec4(where_), better);
            seen = true;
        } else if MODE == 1u {
            value += v;
        } else {
            value += norm4(abs(v), p.exponent);
        }
    }
    if MODE == 1u { value /= vec4<Lane>(Lane(max(count, 1u))); }
    if MODE == 2u { value = norm4(value, 1.0 / p.exponent); }
    output[index] = pack4(value.x, value.y, value.z, value.w);
    let plane = place.image * p.c + min(vec4(channel * 4u) + vec4(0u, 1u, 2u, 3u), vec4(p.c - 1u));
    note(index, plane * p.area + best);
}
