// DeformConv: what each tap of a moved window reads, as the rows of a matrix that is multiplied by the
// weights.
//
// Grid: an invocation makes 4 neighbours of a row. A row belongs to an output location and a group of
// channels, and has all taps of its first channel, then those of the next.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4, of floats; WIDTH, invocations of a workgroup;
// RANK, spatial axes; CORNERS, elements around a location; MASKED, whether taps are weighted.

// window: lib/window.wgsl. channels: of the input; in_group: of a group; shared_: of those that have the same
// offsets; area: elements of a plane; places: locations of an image; row4: a row in groups of 4.
struct Params {
    window: WindowNd,
    channels: u32, in_group: u32, shared_: u32, area: u32,
    places: u32, taps: u32, row4: u32, groups: u32,
    invocations: u32, per_row: u32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> offsets: array<Stored4>;
@group(0) @binding(2) var<storage, read> mask: array<Stored4>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// What a tap reads of a channel of image `image` at location `place` of the output.
fn moved_tap(image: u32, channel: u32, tap: u32, place: u32) -> f32 {
    let row = (image * (p.channels / p.shared_) + channel / p.shared_) * p.taps + tap;
    // The element below the location on each axis, and how far beyond it that is.
    var below: array<f32, 4>;
    var beyond: array<f32, 4>;
    var there = place;
    var own = tap;
    for (var d = 4u; d > 4u - RANK; d--) {
        let axis = d - 1u;
        let own_at = own % p.window.kernel[axis] * p.window.dilation[axis];
        let at = there % p.window.output[axis] * p.window.stride[axis] + own_at;
        there /= p.window.output[axis];
        own /= p.window.kernel[axis];
        let moved = (row * RANK + axis + RANK - 4u) * p.places + place;
        let x = f32(i32(at) - i32(p.window.pad[axis])) + lane_of(offsets[moved >> 2u], moved & 3u);
        below[axis] = floor(x);
        beyond[axis] = x - floor(x);
    }
    var sum = 0.0;
    for (var corner = 0u; corner < CORNERS; corner++) {
        var weight = 1.0;
        var inside = true;
        var from_ = 0u;
        var scale = 1u;
        for (var d = 4u; d > 4u - RANK; d--) {
            let axis = d - 1u;
            let upper = ((corner >> (4u - d)) & 1u) == 1u;
            let at = below[axis] + select(0.0, 1.0, upper);
            let size = p.window.input[axis];
            inside = inside && !is_nan(at) && at >= 0.0 && at < f32(size);
            weight *= select(1.0 - beyond[axis], beyond[axis], upper);
            if inside { from_ += u32(at) * scale; }
            scale *= size;
        }
        if inside {
            let at = (image * p.channels + channel) * p.area + from_;
            sum += lane_of(input[at >> 2u], at & 3u) * weight;
        }
    }
    if MASKED {
        let at = row * p.places + place;
        sum *= lane_of(mask[at >> 2u], at & 3u);
    }
    return sum;
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.invocations { return; }
    let place = index / p.row4 / p.groups;
    let first = index / p.row4 % p.groups * p.in_group;
    var made: array<f32, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        // Beyond the row's end its last element is repeated.
        let at = min(index % p.row4 * 4u + lane, p.in_group * p.taps - 1u);
        made[lane] = moved_tap(place / p.places, first + at / p.taps, at % p.taps, place % p.places);
    }
    output[index] = pack4(made[0], made[1], made[2], made[3]);
}
