// Softmax and LogSoftmax along one axis, in float32, for graphics cards: the same as softmax.wgsl.
//
// Grid: a group of GROUP invocations makes one row, whose items are groups of 4, or, with ACROSS (the axis is
// not the innermost), 4 neighbouring columns; a workgroup has WIDTH / GROUP groups. An invocation keeps
// CACHED items in registers, so that the input is read once. STREAMED: a row or column is too long for that
// and is read twice, the first time with the largest element and the sum so far (Milakov and Gimelshein,
// 2018). Bindings and parameters: lib/lines.wgsl. Sums over a group: lib/reduction_group.wgsl,
// lib/group_lines.wgsl. Prelude (docs/shaders.md): Stored4, load4, store4; ACROSS, LOGARITHM; STREAMED,
// CACHED; WIDTH, GROUP, STRIDE.

// Below every finite element, yet finite.
const LOWEST: f32 = -LARGEST;

fn highest(x: vec4<f32>, at: Invocation) -> vec4<f32> {
    if ACROSS { return group_max4(x, at); }
    return vec4(group_max(max(max(x.x, x.y), max(x.z, x.w)), at));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Invocation) {
    // All of a workgroup make sums together: a group beyond the last line repeats that and stores nothing.
    let index = (group.y * p.per_row + group.x) * (WIDTH / GROUP) + group_index(at);
    let made = min(index, p.count - 1u);
    let first = group_lane(at);
    let line = line_at(made);

    if STREAMED {
        var high = vec4(LOWEST);
        var sum = vec4(0.0);
        for (var i = first; i < line.items; i += GROUP) {
            let x = select(vec4(LOWEST), load4(input[line.base + i * line.step]), line_lanes(i));
            let larger = max(high, x);
            sum = sum * exp_below4(high - larger) + select(vec4(0.0), exp_below4(x - larger), line_lanes(i));
            high = larger;
        }
        let top = highest(high, at);
        let total = line_sum(sum * exp_below4(high - top), at);
        if index < p.count {
            for (var i = first; i < line.items; i += GROUP) {
                let at_item = line.base + i * line.step;
                let distance = load4(input[at_item]) - top;
                if LOGARITHM {
                    output[at_item] = store4(distance - log4(total));
                } else {
                    output[at_item] = store4(shares4(exp_below4(distance), total));
                }
            }
        }
        return;
    }

    var cached: array<vec4<f32>, CACHED>;
    var high = vec4(LOWEST);
    for (var k = 0u; k < CACHED; k++) {
        let i = first + k * GROUP;
        cached[k] = vec4(LOWEST);
        if i < line.items {
            cached[k] = select(vec4(LOWEST), load4(input[line.base + i * line.step]), line_lanes(i));
        }
        high = max(high, cached[k]);
    }
    let top = highest(high, at);
    var sum = vec4(0.0);
    for (var k = 0u; k < CACHED; k++) {
        let distance = cached[k] - top;
        let weight = select(vec4(0.0), exp_below4(distance), line_lanes(first + k * GROUP));
        sum += weight;
        cached[k] = select(weight, distance, vec4(LOGARITHM));
    }
    let total = line_sum(sum, at);
    if index >= p.count { return; }
    for (var k = 0u; k < CACHED; k++) {
        let i = first + k * GROUP;
        if i < line.items {
            if LOGARITHM {
                output[line.base + i * line.step] = store4(cached[k] - log4(total));
            } else {
                output[line.base + i * line.step] = store4(shares4(cached[k], total));
            }
        }
    }
}
