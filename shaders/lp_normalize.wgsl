// LpNormalization along one axis, in float32, for software adapters: elements divided by their 1- or 2-norm;
// where that is 0 so is the result.
//
// Grid: an invocation makes one row, or, with ACROSS (the axis is not the innermost), 4 neighbouring
// columns.
// Bindings and parameters: lib/lines.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; ACROSS; SQUARES, the 2-norm; WIDTH, invocations of a
// workgroup.

fn term(x: vec4<f32>) -> vec4<f32> {
    if SQUARES { return x * x; }
    return abs(x);
}
fn result4(x: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    var norm = sum;
    if SQUARES { norm = sqrt(sum); }
    return select(x / norm, vec4(0.0), norm == vec4(0.0));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.count { return; }
    var sum = vec4(0.0);
    if ACROSS {
        let base = (index / p.columns) * p.outer + index % p.columns;
        for (var k = 0u; k < p.length; k++) { sum += term(load4(input[base + k * p.step])); }
        for (var k = 0u; k < p.length; k++) {
            let at = base + k * p.step;
            output[at] = store4(result4(load4(input[at]), sum));
        }
    } else {
        let base = index * p.step;
        for (var k = 0u; k < p.step; k++) {
            // Lanes beyond the row's end hold anything.
            let inside = vec4(0u, 1u, 2u, 3u) + vec4(4u * k) < vec4(p.length);
            sum += select(vec4(0.0), term(load4(input[base + k])), inside);
        }
        sum = vec4(sum.x + sum.y + sum.z + sum.w);
        for (var k = 0u; k < p.step; k++) { output[base + k] = store4(result4(load4(input[base + k]), sum)); }
    }
}
