// Reductions over any axes, in float32, for graphics cards: the same as reduce.wgsl.
//
// Grid: a group of GROUP invocations makes 4 neighbouring elements of the output, each invocation walking a
// share of the terms; a workgroup has WIDTH / GROUP groups. ROWS: terms are neighbours in memory, so an
// invocation reads groups of 4 of them, for each of the 4 elements by itself; otherwise the elements are
// neighbours.
// Bindings and parameters: lib/reduce.wgsl. Addresses: lib/address.wgsl. Sums over a group:
// lib/reduction_group.wgsl. Prelude (docs/shaders.md): Stored4, load4, store4; first, next, prepare and last,
// the reduction's start, step, what becomes of a term before it, and end (src/kernels/reduce.rs); RANK, the
// dimensions that are kept; TWO_PASSES, a maximum comes first; ADDS, next is a sum; EXTREME, next is
// a choice; TOGETHER, the 4 elements lie in one group of the input at every step; ROWS; WIDTH, GROUP, STRIDE.

// Steps of a walk whose terms are summed by themselves.
const BLOCK: u32 = 32u;

// LogSumExp takes the maximum first, so that no exponential overflows.
fn more(part: vec4<f32>, x: vec4<f32>, high: vec4<f32>, largest: bool) -> vec4<f32> {
    if largest { return max(part, x); }
    return next(part, prepare(x - high));
}

// `part` with those of a row's terms that lie in its group `k`, lane by lane.
fn more_of_row(part: vec4<f32>, row: u32, k: u32, high: f32, largest: bool) -> vec4<f32> {
    let end = row + p.length1;
    let group = (row >> 2u) + k;
    let element = vec4(4u * group) + vec4(0u, 1u, 2u, 3u);
    let x = load4(input[min(group, (end - 1u) >> 2u)]);
    return select(part, more(part, x, vec4(high), largest), (element >= vec4(row)) & (element < vec4(end)));
}

// An invocation's share of a walk over all terms of the 4 elements, which begin at `start`.
fn walk(lane: u32, start: vec4<u32>, high: vec4<f32>, largest: bool) -> vec4<f32> {
    // Extremes begin with a term, which may be taken twice.
    var begin = first();
    if EXTREME || largest { begin = terms(start); }
    var place = vec2(lane / p.items, lane % p.items);
    let ahead = vec2(GROUP / p.items, GROUP % p.items);
    var total = mat4x4<f32>(begin, begin, begin, begin);
    if ROWS { total = transpose(total); }
    while place.x < p.length0 {
        var part = mat4x4<f32>(begin, begin, begin, begin);
        if ROWS { part = transpose(part); }
        for (var step = 0u; step < BLOCK && place.x < p.length0; step++) {
            if ROWS {
                let row = start + vec4(place.x * p.step0);
                part[0] = more_of_row(part[0], row.x, place.y, high.x, largest);
                part[1] = more_of_row(part[1], row.y, place.y, high.y, largest);
                part[2] = more_of_row(part[2], row.z, place.y, high.z, largest);
                part[3] = more_of_row(part[3], row.w, place.y, high.w, largest);
            } else {
                part[0] =
                    more(part[0], terms(start + vec4(place.x * p.step0 + place.y * p.step1)), high, largest);
            }
            place += ahead;
            if place.y >= p.items { place = vec2(place.x + 1u, place.y - p.items); }
        }
        total[0] = joined(total[0], part[0], largest);
        if ROWS {
            total[1] = joined(total[1], part[1], largest);
            total[2] = joined(total[2], part[2], largest);
            total[3] = joined(total[3], part[3], largest);
        }
    }
    if !ROWS { return total[0]; }
    let lanes = transpose(total);
    return joined(joined(lanes[0], lanes[1], largest), joined(lanes[2], lanes[3], largest), largest);
}

fn joined(a: vec4<f32>, b: vec4<f32>, largest: bool) -> vec4<f32> {
    if largest { return max(a, b); }
    return next(a, b);
}

// The reduction of a group's parts.
fn folded(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    if ADDS { return group_sum4(value, at); }
    if GROUP == 1u { return value; }
    let lane = group_lane(at);
    group_memory4[at.local] = value;
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            group_memory4[at.local] = next(group_memory4[at.local], group_memory4[at.local + width * STRIDE]);
        }
    }
    return group_memory4[at.local];
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Invocation) {
    // All of a workgroup meet at its barriers: a group beyond the last group repeats that and stores nothing.
    let index = (group.y * p.per_row + group.x) * (WIDTH / GROUP) + group_index(at);
    let made = min(index, p.groups - 1u);
    let end = p.elements - 1u;
    var start = vec4(base_address(made * 4u));
    if !TOGETHER { start = base_addresses(made * 4u, end); }
    var high = vec4(0.0);
    if TWO_PASSES {
        high = group_max4(walk(group_lane(at), start, high, true), at);
        high = select(high, vec4(0.0), abs(high) > vec4(LARGEST));
    }
    let total = folded(walk(group_lane(at), start, high, false), at);
    if group_lane(at) == 0u && index < p.groups { output[index] = store4(last(total, high)); }
}
