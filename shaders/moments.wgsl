// The mean of rows and their inverse standard deviation, 1/√(variance + epsilon), in float32, for software
// adapters: the optional outputs of LayerNormalization.
//
// Grid: an invocation makes those of 4 rows, reading each twice.
// Bindings and parameters: lib/moments.wgsl.
// Prelude (docs/shaders.md): Stored4, load4; MStored4, Mpack4 of the results; WIDTH, invocations of a
// workgroup.

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    var mean: vec4<f32>;
    var inverse: vec4<f32>;
    for (var lane = 0u; lane < 4u; lane++) {
        let base = min(index * 4u + lane, p.rows - 1u) * p.step;
        var sum = vec4(0.0);
        for (var k = 0u; k < p.step; k++) { sum += centred4(base, k, 0.0); }
        mean[lane] = (sum.x + sum.y + sum.z + sum.w) / f32(p.length);
        var squares = vec4(0.0);
        for (var k = 0u; k < p.step; k++) {
            let d = centred4(base, k, mean[lane]);
            squares += d * d;
        }
        inverse[lane] =
            1.0 / sqrt((squares.x + squares.y + squares.z + squares.w) / f32(p.length) + p.epsilon);
    }
    means[index] = Mpack4(mean.x, mean.y, mean.z, mean.w);
    inverses[index] = Mpack4(inverse.x, inverse.y, inverse.z, inverse.w);
}
