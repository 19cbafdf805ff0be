// The mean of rows and their inverse standard deviation, 1/√(variance + epsilon), in float32, for graphics
// cards: the same as moments.wgsl.
//
// Grid: a group of GROUP invocations makes those of 4 rows, reading each twice; a workgroup has WIDTH / GROUP
// groups.
// Bindings and parameters: lib/moments.wgsl. Sums over a group: lib/reduction_group.wgsl.
// Prelude (docs/shaders.md): Stored4, load4; MStored4, Mpack4 of the results; WIDTH, GROUP, STRIDE.

// Each row's sum over its 4 lanes.
fn over_lanes(x: mat4x4<f32>) -> vec4<f32> {
    let lanes = transpose(x);
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Invocation) {
    // All of a workgroup make sums together: a group beyond the last group repeats that and stores nothing.
    let index = (group.y * p.per_row + group.x) * (WIDTH / GROUP) + group_index(at);
    let made = min(index, p.groups - 1u);
    let base = min(vec4(made * 4u) + vec4(0u, 1u, 2u, 3u), vec4(p.rows - 1u)) * p.step;
    let lane = group_lane(at);
    var sum = mat4x4<f32>();
    for (var k = lane; k < p.step; k += GROUP) {
        sum += mat4x4<f32>(
            centred4(base.x, k, 0.0),
            centred4(base.y, k, 0.0),
            centred4(base.z, k, 0.0),
            centred4(base.w, k, 0.0));
    }
    let mean = group_sum4(over_lanes(sum), at) / f32(p.length);
    var squares = mat4x4<f32>();
    for (var k = lane; k < p.step; k += GROUP) {
        let x = centred4(base.x, k, mean.x);
        let y = centred4(base.y, k, mean.y);
        let z = centred4(base.z, k, mean.z);
        let w = centred4(base.w, k, mean.w);
        squares += mat4x4<f32>(x * x, y * y, z * z, w * w);
    }
    let inverse = 1.0 / sqrt(group_sum4(over_lanes(squares), at) / f32(p.length) + p.epsilon);
    if lane == 0u && index < p.groups {
        means[index] = Mpack4(mean.x, mean.y, mean.z, mean.w);
        inverses[index] = Mpack4(inverse.x, inverse.y, inverse.z, inverse.w);
    }
}
