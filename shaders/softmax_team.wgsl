// Softmax and LogSoftmax along one axis, in float32, for graphics cards: the same as softmax.wgsl.
//
// Grid: a team of TEAM invocations makes one row, whose items are groups of 4, or, with ACROSS (the axis is
// not the innermost), 4 neighbouring columns; a workgroup has WIDTH / TEAM teams. An invocation keeps HELD
// items in registers, so that the input is read once. STREAMED: a row or column is too long for that and is
// read twice, the first time with the largest element and the sum so far (Milakov and Gimelshein, 2018).
// Bindings and parameters: lib/lines.wgsl. Sums over a team: lib/team.wgsl, lib/team_lines.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; ACROSS, LOGARITHM; STREAMED, HELD; WIDTH, TEAM, STRIDE.

// Below every finite element, yet finite.
const LOWEST: f32 = -LARGEST;

fn highest(x: vec4<f32>, at: Member) -> vec4<f32> {
    if ACROSS { return team_max4(x, at); }
    return vec4(team_max(max(max(x.x, x.y), max(x.z, x.w)), at));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Member) {
    // All of a workgroup make sums together: a team beyond the last line repeats that and stores nothing.
    let index = (group.y * p.per_row + group.x) * (WIDTH / TEAM) + team_index(at);
    let made = min(index, p.count - 1u);
    let first = team_lane(at);
    let line = line_at(made);

    if STREAMED {
        var high = vec4(LOWEST);
        var sum = vec4(0.0);
        for (var i = first; i < line.items; i += TEAM) {
            let x = select(vec4(LOWEST), load4(input[line.base + i * line.step]), line_lanes(i));
            let larger = max(high, x);
            sum = sum * exp_below4(high - larger) + select(vec4(0.0), exp_below4(x - larger), line_lanes(i));
            high = larger;
        }
        let top = highest(high, at);
        let total = line_sum(sum * exp_below4(high - top), at);
        if index < p.count {
            for (var i = first; i < line.items; i += TEAM) {
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

    var held: array<vec4<f32>, HELD>;
    var high = vec4(LOWEST);
    for (var k = 0u; k < HELD; k++) {
        let i = first + k * TEAM;
        held[k] = vec4(LOWEST);
        if i < line.items {
            held[k] = select(vec4(LOWEST), load4(input[line.base + i * line.step]), line_lanes(i));
        }
        high = max(high, held[k]);
    }
    let top = highest(high, at);
    var sum = vec4(0.0);
    for (var k = 0u; k < HELD; k++) {
        let distance = held[k] - top;
        let weight = select(vec4(0.0), exp_below4(distance), line_lanes(first + k * TEAM));
        sum += weight;
        held[k] = select(weight, distance, vec4(LOGARITHM));
    }
    let total = line_sum(sum, at);
    if index >= p.count { return; }
    for (var k = 0u; k < HELD; k++) {
        let i = first + k * TEAM;
        if i < line.items {
            if LOGARITHM {
                output[line.base + i * line.step] = store4(held[k] - log4(total));
            } else {
                output[line.base + i * line.step] = store4(shares4(held[k], total));
            }
        }
    }
}
