// Normalisation of runs of elements (layers, instances, groups), in float32: a workgroup makes one run in three walks over
// it: the mean, the variance around that mean, the result. ALONE: each invocation makes one, without barriers.
//
// A run is `items` groups of 4: item i lies at base + (i / inner) · step + i % inner.
// Prelude: Stored4, load4, store4, CENTRED (else the mean is taken as 0), LANES (each lane is a run of its own), GATHERED
// (scale and bias by element / scale_divisor, lane by lane), TAIL (the last group of each `inner` is partly padding), FLAT
// (inner is items), ALONE, WIDTH; shaders/lib/normalize.wgsl.

var<workgroup> partial: array<vec4<f32>, WIDTH>;

// The sum over the workgroup; over the lanes too unless they are runs of their own.
fn total(value: vec4<f32>, local: u32) -> vec4<f32> {
    var all = value;
    if !ALONE {
        partial[local] = value;
        workgroupBarrier();
        for (var width = WIDTH / 2u; width > 0u; width /= 2u) {
            if local < width { partial[local] += partial[local + width]; }
            workgroupBarrier();
        }
        all = partial[0];
        workgroupBarrier();
    }
    return select(vec4(all.x + all.y + all.z + all.w), all, vec4(LANES));
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = group.y * p.per_row + group.x;
    let run = select(index, index * WIDTH + local, ALONE);
    let first = select(local, 0u, ALONE);
    let stride = select(WIDTH, 1u, ALONE);
    if run >= p.runs { return; }
    let column = run % p.columns;
    let base = (run / p.columns) * p.outer + column * p.column;

    var mean = vec4(0.0);
    if CENTRED {
        var sum = vec4(0.0);
        for (var i = first; i < p.items; i += stride) { sum += select(vec4(0.0), load4(input[address(base, i)]), valid(i)); }
        mean = total(sum, local) / p.count;
    }
    var squares = vec4(0.0);
    for (var i = first; i < p.items; i += stride) {
        let d = select(vec4(0.0), load4(input[address(base, i)]) - mean, valid(i));
        squares += d * d;
    }
    let deviation = sqrt(total(squares, local) / p.count + p.epsilon);
    for (var i = first; i < p.items; i += stride) {
        let at = address(base, i);
        output[at] = store4(scaled((load4(input[at]) - mean) / deviation, column, i));
    }
}
