// A strided box copy that transposes two axes, for graphics cards: what is innermost in the target isn't in
// the source. See copy.wgsl.
//
// Grid: a workgroup takes SIDE × SIDE elements through workgroup memory, so that neighbours read neighbours
// and write neighbours; each invocation stores one group of 4.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; RANK, the dimensions but these two; SIDE; WIDTH,
// SIDE · SIDE / 4.

// `inner` elements on the target's innermost axis, source_inner apart in the source; `rows` on the source's,
// row_step apart in the target; `along` and `down` tiles on these axes. The other dimensions are a box of
// `sizes`; the target's address is target_offset + Σ coordinate · target_stride, the source's likewise.
struct Params {
    tiles: u32, per_row: u32, along: u32, down: u32,
    inner: u32, target_offset: u32, source_offset: u32, source_inner: u32,
    rows: u32, row_step: u32, spare0: u32, spare1: u32,
    sizes: array<vec4<u32>, 2>,
    target_strides: array<vec4<u32>, 2>,
    source_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<storage, read> source: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> target_: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// One more element to a line than it holds: lines then begin in different banks of workgroup memory.
const LINE: u32 = SIDE + 1u;
var<workgroup> tile: array<Lane, SIDE * LINE>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = group.y * p.per_row + group.x;
    if index >= p.tiles { return; }
    var rest = index / p.along;
    let first_inner = (index - rest * p.along) * SIDE;
    let outer = rest / p.down;
    let first_row = (rest - outer * p.down) * SIDE;
    rest = outer;
    var to = p.target_offset;
    var source_at = p.source_offset;
    for (var d = RANK; d > 0u; d--) {
        let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
        let quotient = rest / size;
        let coordinate = rest - quotient * size;
        to += coordinate * p.target_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        source_at += coordinate * p.source_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        rest = quotient;
    }
    for (var e = local; e < SIDE * SIDE; e += WIDTH) {
        let row = e % SIDE;
        let line = e / SIDE;
        if first_row + row < p.rows && first_inner + line < p.inner {
            let from_ = source_at + first_row + row + (first_inner + line) * p.source_inner;
            tile[line * LINE + row] = lane_of(source[from_ >> 2u], from_ & 3u);
        }
    }
    workgroupBarrier();
    let column = (local % (SIDE / 4u)) * 4u;
    let row = local / (SIDE / 4u);
    // Lanes behind the last element are padding of the box's own: anything may lie there.
    if first_row + row < p.rows && first_inner + column < p.inner {
        let at = to + (first_row + row) * p.row_step + first_inner + column;
        let from_ = column * LINE + row;
        target_[at >> 2u] =
            pack4(tile[from_], tile[from_ + LINE], tile[from_ + 2u * LINE], tile[from_ + 3u * LINE]);
    }
}
