// Normalisation of runs of elements (layers, instances, groups), in float32: a workgroup makes one run in three walks over
// it: the mean, the variance around that mean, the result. ALONE: each invocation makes one, without barriers.
//
// A run is `items` groups of 4: item i lies at base + (i / inner) · step + i % inner.
// Prelude: Stored4, load4, store4, CENTRED (else the mean is taken as 0), LANES (each lane is a run of its own), GATHERED
// (scale and bias by element / scale_divisor, lane by lane), TAIL (the last group of each `inner` is partly padding), FLAT
// (inner is items), ALONE, WIDTH.

// Strides in groups of 4. `tail`: valid lanes of the last group; `count`: elements of a run.
struct Params {
    runs: u32, per_row: u32, columns: u32, outer: u32,
    column: u32, items: u32, inner: u32, step: u32,
    tail: u32, scale_step: u32, scale_divisor: u32, has_bias: u32,
    count: f32, epsilon: f32, spare0: u32, spare1: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> scale: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

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

fn address(base: u32, i: u32) -> u32 {
    if FLAT { return base + i; }
    let block = i / p.inner;
    return base + block * p.step + (i - block * p.inner);
}

fn within(i: u32) -> u32 {
    if FLAT { return i; }
    return i % p.inner;
}

fn valid(i: u32) -> vec4<bool> {
    if !TAIL { return vec4(true); }
    return vec4(0u, 1u, 2u, 3u) < vec4(select(4u, p.tail, within(i) + 1u == p.inner));
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
        let normal = (load4(input[at]) - mean) / deviation;
        var s = vec4(0.0);
        var b = vec4(0.0);
        if GATHERED {
            for (var lane = 0u; lane < 4u; lane++) {
                // Lanes of padding read the last element's channel.
                let c = column * p.scale_step + min(i * 4u + lane, u32(p.count) - 1u) / p.scale_divisor;
                s[lane] = load4(scale[c >> 2u])[c & 3u];
                if p.has_bias != 0u { b[lane] = load4(bias[c >> 2u])[c & 3u]; }
            }
        } else {
            let c = column * p.scale_step + within(i);
            s = load4(scale[c]);
            if p.has_bias != 0u { b = load4(bias[c]); }
        }
        output[at] = store4(normal * s + b);
    }
}
