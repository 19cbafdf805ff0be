// GridSample: an input read at the locations of a grid, over up to 3 axes, on channels-last groups of 4.
//
// Grid: an invocation makes 4 channels at one location.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4 of the input; GStored4, Glane_of of the grid; WIDTH,
// invocations of a workgroup; RANK, spatial axes; TAPS, elements that are read along an axis, 1 the nearest, 2
// linear, 4 cubic; COMBINATIONS of them; PADDING: 0 zeros, 1 border, 2 reflection; CORNERS: −1 and 1 are the
// centres of the outermost elements. From src/kernels/grid_sample.rs: numbers(g), the numbers of a group, and
// group_of(v), a group of numbers.

// sizes: of the input's axes, the outermost first; c4: channels in groups of 4; places: locations of an image.
struct Params {
    sizes: vec4<u32>,
    c4: u32, places: u32, groups: u32, per_row: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> grid: array<GStored4>;
@group(0) @binding(2) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// Where the padding mode puts a location on an axis of `size` elements, or an element.
fn inside(x: f32, size: f32) -> f32 {
    let last = size - 1.0;
    let low = select(-0.5, 0.0, CORNERS);
    let high = last - low;
    if is_nan(x) || PADDING == 0u || (x >= low && x <= high) { return x; }
    if PADDING == 1u { return clamp(x, 0.0, last); }
    let span = high - low;
    if span == 0.0 { return low; }
    let before = x < low;
    let beyond = select(x - high, low - x, before);
    let rest = fmod(beyond, span);
    let turns = round((beyond - rest) / span);
    let even = turns == 2.0 * floor(turns / 2.0);
    return select(high - rest, low + rest, even == before);
}

// The element that index `at` of an axis stands for; −1: none.
fn element(at: f32, size: f32) -> i32 {
    let last = size - 1.0;
    if !is_nan(at) && at >= 0.0 && at <= last { return i32(at); }
    if PADDING == 0u { return -1; }
    return clamp(f32_to_i32(inside(at, size)), 0, i32(last));
}

// Keys' cubic kernel with the coefficient −0.75, within 1 of its middle and beyond.
fn near(x: f32) -> f32 { return (1.25 * x - 2.25) * x * x + 1.0; }
fn far(x: f32) -> f32 { return ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0; }

// The weight of tap `k` of a location that lies `t` beyond the element before it.
fn weight(k: u32, t: f32) -> f32 {
    if TAPS == 1u { return 1.0; }
    if TAPS == 2u { return select(t, 1.0 - t, k == 0u); }
    if k == 0u { return far(t + 1.0); }
    if k == 1u { return near(t); }
    return select(far(2.0 - t), near(1.0 - t), k == 2u);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let channel = index % p.c4;
    let location = index / p.c4;

    // Each axis's elements and their weights.
    var at: array<i32, 12>;
    var weights: array<f32, 12>;
    for (var axis = 0u; axis < RANK; axis++) {
        // Coordinates name the innermost axis first.
        let from_ = location * RANK + RANK - 1u - axis;
        let given = Glane_of(grid[from_ >> 2u], from_ & 3u);
        // What is finite stays so: beyond this it is outside whatever it is.
        let finite = (bitcast<u32>(given) & F32_MAGNITUDE) < F32_INFINITY;
        let coordinate = select(given, clamp(given, -1e30, 1e30), finite);
        let size = f32(p.sizes[axis]);
        var x = ((coordinate + 1.0) * size - 1.0) / 2.0;
        if CORNERS { x = (coordinate + 1.0) / 2.0 * (size - 1.0); }
        if TAPS == 1u { x = round(x); }
        x = inside(x, size);
        let below = floor(x);
        let first = below - select(0.0, 1.0, TAPS == 4u);
        for (var k = 0u; k < TAPS; k++) {
            let here = axis * 4u + k;
            at[here] = element(first + f32(k), size);
            // Weights that add up to 1 are no number where the location is none, whatever a compiler makes of
            // their sum.
            weights[here] = select(weight(k, x - below), x - below, is_nan(x - below));
            // One element read several times is read once: a short axis has few.
            for (var other = axis * 4u; other < here; other++) {
                if at[here] >= 0 && at[other] == at[here] {
                    weights[other] += weights[here];
                    at[here] = -1;
                }
            }
        }
    }

    var made = pack4(Lane(), Lane(), Lane(), Lane());
    var sum = vec4(0.0);
    for (var combination = 0u; combination < COMBINATIONS; combination++) {
        var rest = combination;
        var there = true;
        var share = 1.0;
        var base = 0u;
        var scale = 1u;
        for (var axis = RANK; axis > 0u; axis--) {
            let here = (axis - 1u) * 4u + rest % TAPS;
            rest /= TAPS;
            there = there && at[here] >= 0;
            share *= weights[here];
            base += u32(max(at[here], 0)) * scale;
            scale *= p.sizes[axis - 1u];
        }
        if there {
            let read = input[(location / p.places * scale + base) * p.c4 + channel];
            if TAPS == 1u { made = read; } else { sum += numbers(read) * share; }
        }
    }
    if TAPS > 1u { made = group_of(sum); }
    output[index] = made;
}
