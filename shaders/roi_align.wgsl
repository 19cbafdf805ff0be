// RoiAlign: cells of regions of an image, each from interpolated samples, on channels-last groups of 4.
//
// Grid: an invocation makes 4 channels of one cell.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4 of the image; RStored4, Rlane_of of the regions;
// IStored4, Ilane_of, index_value and outside (src/kernels/indices.rs) of their images; MAXIMUM, whether a
// cell is the largest weighted element rather than the mean; WIDTH, invocations of a workgroup.

// sampling: samples of a cell along an axis, 0: one for each element that the cell spans; offset: where the
// centre of an element lies; least: the shortest region, or 0; images: of the batch; report: the number by which
// outside() names this dispatch.
struct Params {
    height: u32, width: u32, c4: u32, images: u32,
    out_height: u32, out_width: u32, groups: u32, per_row: u32,
    sampling: u32, scale: f32, offset: f32, least: f32,
    report: u32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> regions: array<RStored4>;
@group(0) @binding(2) var<storage, read> images: array<IStored4>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// A cell's samples along an axis: where the cell begins, how far apart they are, how many there are, and
// which of them may lie inside.
struct Line { base: f32, step: f32, count: f32, first: i32, end: i32 }

// x held between 0 and the last sample; NaN is 0.
fn held(x: f32, count: f32) -> f32 { return select(clamp(x, 0.0, count), 0.0, is_nan(x)); }

fn line(from_: f32, to: f32, cell_at: u32, cells: u32, size: u32) -> Line {
    let start = from_ * p.scale - p.offset;
    var length = to * p.scale - p.offset - start;
    // The larger of the two, which is no NaN.
    if p.least > 0.0 && (is_nan(length) || length < p.least) { length = p.least; }
    let cell = length / f32(cells);
    let base = start + f32(cell_at) * cell;
    if p.sampling > 0u {
        let count = f32(p.sampling);
        return Line(base, cell / count, count, 0, i32(p.sampling));
    }
    let count = ceil(cell);
    if is_nan(count) || count <= 0.0 { return Line(base, 0.0, 0.0, 0, 0); }
    // A region far larger than the image has samples without end outside.
    let step = cell / count;
    let first = floor(held((-2.0 - base) / step - 0.5, count));
    let end = ceil(held((f32(size) + 1.0 - base) / step - 0.5, count));
    return Line(base, step, count, f32_to_i32(first), f32_to_i32(end));
}

// A sample: the elements around it, the share of the upper one, and whether it is near enough to the image.
struct Sampled { low: u32, high: u32, share: f32, there: bool }

fn sampled(along: Line, k: i32, size: u32) -> Sampled {
    let x = along.base + (f32(k) + 0.5) * along.step;
    if is_nan(x) || x < -1.0 || x > f32(size) { return Sampled(0u, 0u, 0.0, false); }
    let inside = max(x, 0.0);
    let low = u32(inside);
    if low + 1u >= size { return Sampled(size - 1u, size - 1u, 0.0, true); }
    return Sampled(low, low + 1u, inside - f32(low), true);
}

fn numbers(at: u32) -> vec4<f32> { return lanes4(input[at]); }
fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return select(a, b, b > a); }

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let channel = index % p.c4;
    let cell = index / p.c4;
    let column = cell % p.out_width;
    let row = cell / p.out_width % p.out_height;
    let region = cell / p.out_width / p.out_height;

    let named = Ilane_of(images[region >> 2u], region & 3u);
    let raw = index_value(named);
    if raw < 0 || raw >= i32(p.images) { outside(0u, named); }
    let image = u32(clamp(raw, 0, i32(p.images) - 1)) * p.height * p.width * p.c4 + channel;
    let corners = regions[region];
    let across = line(Rlane_of(corners, 0u), Rlane_of(corners, 2u), column, p.out_width, p.width);
    let down = line(Rlane_of(corners, 1u), Rlane_of(corners, 3u), row, p.out_height, p.height);

    var sum = vec4(0.0);
    var greatest = vec4(from_bits(0xff800000u));
    var inside = 0.0;
    for (var ky = down.first; ky < down.end; ky++) {
        let y = sampled(down, ky, p.height);
        if !y.there { continue; }
        for (var kx = across.first; kx < across.end; kx++) {
            let x = sampled(across, kx, p.width);
            if !x.there { continue; }
            let upper = image + y.low * p.width * p.c4;
            let lower = image + y.high * p.width * p.c4;
            let a = (1.0 - y.share) * (1.0 - x.share) * numbers(upper + x.low * p.c4);
            let b = (1.0 - y.share) * x.share * numbers(upper + x.high * p.c4);
            let c = y.share * (1.0 - x.share) * numbers(lower + x.low * p.c4);
            let d = y.share * x.share * numbers(lower + x.high * p.c4);
            if MAXIMUM {
                greatest = larger(larger(larger(larger(greatest, a), b), c), d);
            } else {
                sum += a + b + c + d;
            }
            inside += 1.0;
        }
    }
    let all = down.count * across.count;
    var value = sum / max(all, 1.0);
    if MAXIMUM {
        // What lies outside is 0.
        value = select(larger(greatest, vec4(0.0)), greatest, inside > 0.0 && inside >= all);
    }
    output[index] = pack4(value.x, value.y, value.z, value.w);
}
