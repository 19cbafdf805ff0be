// RotaryEmbedding: pairs (a, b) of a head's elements become (a·cos − b·sin, b·cos + a·sin).
//
// Grid: an invocation makes 4 elements.
//
// Rows are (outer, middle, inner), of which each operand has its own strides.
// Prelude (docs/shaders.md): Stored4, load4, store4; IStored4, Ilane_of of positions; index_value and
// outside (src/kernels/indices.rs); INTERLEAVED, pairs are neighbours, else half of `dim` apart; ALIGNED,
// they lie in the same lane of another group; WHOLE, an angle for each element, else for each pair;
// POSITIONS, rows of angles are looked up; WIDTH, invocations of a workgroup.

// Strides and offsets in groups of 4, those of positions in elements; head4: groups of a row; dim: elements
// of a row that are rotated; angles: rows of angles; report: the number by which outside() names this
// dispatch.
struct Params {
    groups: u32, per_row: u32, head4: u32, dim: u32,
    middle: u32, inner: u32, angles: i32, report: u32,
    x: Rows, cos: Rows, sin: Rows, positions: Rows,
    cos_row: u32, sin_row: u32, spare0: u32, spare1: u32,
}
struct Rows { offset: u32, outer: u32, middle: u32, inner: u32 }

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read> cosines: array<Stored4>;
@group(0) @binding(2) var<storage, read> sines: array<Stored4>;
@group(0) @binding(3) var<storage, read> positions: array<IStored4>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

fn begin(rows: Rows, row: vec3<u32>) -> u32 {
    return rows.offset + row.x * rows.outer + row.y * rows.middle + row.z * rows.inner;
}

fn element(at: u32, k: u32) -> f32 { return load4(input[at + (k >> 2u)])[k & 3u]; }

// The angle of an element of `pair`.
fn angle(element: u32, pair: u32) -> u32 { return select(pair, element, WHOLE); }

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    var rest = index / p.head4;
    let g = index - rest * p.head4;
    let inner = rest % p.inner;
    rest /= p.inner;
    let row = vec3(rest / p.middle, rest % p.middle, inner);
    let at = begin(p.x, row);
    var cos_at = begin(p.cos, row);
    var sin_at = begin(p.sin, row);
    if POSITIONS {
        let place = begin(p.positions, row);
        let position = Ilane_of(positions[place >> 2u], place & 3u);
        let id = index_value(position);
        // A position outside the angles is reported, and clamped.
        if id < -p.angles || id >= p.angles { outside(0u, position); }
        let from_ = u32(clamp(select(id, id + p.angles, id < 0), 0, p.angles - 1));
        cos_at += from_ * p.cos_row;
        sin_at += from_ * p.sin_row;
    }
    let own = load4(input[at + g]);
    let half_ = p.dim / 2u;
    if ALIGNED {
        let half4 = half_ / 4u;
        var made = own;
        if g < 2u * half4 {
            let first = g < half4;
            let k = select(g - half4, g, first);
            let other = load4(input[at + select(k, g + half4, first)]);
            let c = angle(g, k);
            made = own * load4(cosines[cos_at + c]) + select(other, -other, first) * load4(sines[sin_at + c]);
        }
        output[index] = store4(made);
        return;
    }
    var made = own;
    for (var lane = 0u; lane < 4u; lane++) {
        let k = g * 4u + lane;
        if k >= p.dim { continue; }
        var first = k < half_;
        var pair = select(k - half_, k, first);
        var other = select(pair, k + half_, first);
        if INTERLEAVED {
            first = k % 2u == 0u;
            pair = k / 2u;
            other = k ^ 1u;
        }
        let c = angle(k, pair);
        let across = element(at, other) * load4(sines[sin_at + (c >> 2u)])[c & 3u];
        made[lane] = own[lane] * load4(cosines[cos_at + (c >> 2u)])[c & 3u] + select(across, -across, first);
    }
    output[index] = store4(made);
}
