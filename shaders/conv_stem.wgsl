// Convolution of few input channels (an image network's first layer), read as planes.
//
// Grid: an invocation makes 4 output channels of PIXELS neighbouring pixels of a row; x runs over WIDTH
// groups of channels, (z, y) over blocks of pixels.
//
// A row of the input that PIXELS outputs reach is read once, in groups of 4 along the row, for all taps of a
// kernel's row. Pixels come from workgroup_id alone, so that these loads are uniform (see conv.wgsl). The
// input holds its padding already. The epilogue: lib/finish.wgsl. The weights: lib/b_rows.wgsl or
// lib/b_panels.wgsl. Shared loads: lib/shared_*.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; uniform_index; uniform4, QUADS; UNROLLED, opaque_index;
// PIXELS, WIDTH; KERNEL and STRIDE, taps and stride along a row; SPAN4, groups of 4 inputs that PIXELS
// outputs reach; PARTS, groups of 4 taps; GENERATED, generated4; StoredB, b_column, b_group, b_rows.

// Rows of the weights: input channel, kernel row, tap padded to a multiple of 4. in_w4, out_c4: groups of 4.
// The other members are those of conv.wgsl.
struct Params {
    epilogue: Epilogue,
    in_c: u32, in_h: u32, in_w4: u32, out_h: u32,
    out_w: u32, out_c4: u32, rows: u32, blocks_w: u32,
    kernel_h: u32, stride_h: u32, dilation_h: u32, row_groups: u32,
    b_row: u32, offset: u32, opaque_zero: u32, count: u32,
    step: u32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> b: array<StoredB>;
@group(0) @binding(2) var<storage, read> bias: array<Stored4>;
@group(0) @binding(3) var<storage, read> residual: array<Stored4>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let block = group.z * p.row_groups + group.y;
    let own = group.x * WIDTH + local;
    if !QUADS && own >= p.out_c4 { return; }
    // Beyond the last group of channels an invocation helps to load the input, and stores nothing.
    let channel = min(own, p.out_c4 - 1u);
    let row = block / p.blocks_w;                               // of all images' output rows
    if row >= p.rows { return; }
    let first = (block - row * p.blocks_w) * PIXELS;
    let n = row / p.out_h;
    let y = (row - n * p.out_h) * p.stride_h;
    let last = uniform_index(p.in_w4 - 1u);
    let start = uniform_index(first * STRIDE / 4u);             // PIXELS · STRIDE is a multiple of 4
    let b_start = b_column(channel, p.b_row);

    var sum: array<vec4<f32>, PIXELS>;
    for (var r = 0u; r < PIXELS; r++) { sum[r] = vec4(0.0); }
    var b_next = 0u;                                            // groups of 4 taps
    for (var c = 0u; c < p.in_c; c++) {
        for (var ky = 0u; ky < p.kernel_h; ky++) {
            let line = uniform_index(((n * p.in_c + c) * p.in_h + y + ky * p.dilation_h) * p.in_w4);
            var span: array<vec4<f32>, SPAN4>;
            // What lies beyond the row is read by pixels that aren't stored.
            for (var i = 0u; i < SPAN4; i++) { span[i] = uniform4(line + min(start + i, last), local); }
            for (var part = 0u; part < PARTS; part++) {
                let w = b_rows(b_group(b_start, b_next, p.b_row), p.b_row);
                b_next++;
                for (var tap = 0u; tap < 4u; tap++) {
                    if part * 4u + tap < KERNEL {
                        for (var r = 0u; r < PIXELS; r++) {
                            let at = r * STRIDE + part * 4u + tap;
                            sum[r] += span[at / 4u][at % 4u] * w[tap];
                        }
                    }
                }
            }
        }
    }
    if QUADS && own >= p.out_c4 { return; }
    let end = select(min(p.count, p.out_w - first), PIXELS, UNROLLED);
    let offset = bias4(channel);
    var made = sum;                             // indexed by a variable, which `sum` should not be
    for (var r = 0u; r < end; r++) {
        if !UNROLLED || first + r < p.out_w {
            let pixel = row * p.out_w + first + r;
            output[p.offset + pixel * p.step + channel] =
                store4(finish(made[opaque_index(r)], offset, pixel * p.out_c4 + channel));
        }
    }
}
