// Buffers and parameters of normalize.wgsl and normalize_group.wgsl, where the items of a run lie, and what
// scales them.

// Strides in groups of 4. A run is found by (outer, column) of `columns` columns, which are `column` apart,
// and has `items` groups, `inner` of them contiguous, these `step` apart. `tail`: valid lanes of the last of
// `inner`; `count`: elements of a run; scale_step: from one column's scale to the next's.
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

// Where item `i` of a run that begins at `base` lies, and which of its block it is.
fn address(base: u32, i: u32) -> u32 {
    if FLAT { return base + i; }
    let block = i / p.inner;
    return base + block * p.step + (i - block * p.inner);
}

fn within(i: u32) -> u32 {
    if FLAT { return i; }
    return i % p.inner;
}

// Which lanes of item `i` are a run's.
fn valid(i: u32) -> vec4<bool> {
    if !TAIL { return vec4(true); }
    return vec4(0u, 1u, 2u, 3u) < vec4(select(4u, p.tail, within(i) + 1u == p.inner));
}

// Scale and bias of item `i` of a run in `column`, applied to it.
fn scaled(normal: vec4<f32>, column: u32, i: u32) -> vec4<f32> {
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
    return normal * s + b;
}
