// A strided box copy: Transpose, Slice, Split, Concat, Pad, Expand, Tile and every change of layout.
//
// Grid: an invocation makes one group of 4 elements of the target. Where its box covers only a part of a
// group (Concat of 3 and 5 channels) it reads the group, replaces its lanes and stores.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4; RANK, the box's dimensions but the innermost;
// DENSE, the target is dense and its rows don't fill groups; ROWS_ALIGNED, the box's rows start at a group
// and end at a group or in padding that is the box's own; WHOLE_GROUPS, the source's groups of 4 are the
// target's; WIDTH, invocations of a workgroup.

// A box of `sizes` and, innermost, `inner` elements; the target's address is target_offset + Σ coordinate
// · target_stride, the source's likewise. The innermost target stride is 1; `lead` elements of the first
// group of a row are not the box's; a row takes row_groups groups. With DENSE `inner` is the number of all
// elements.
struct Params {
    groups: u32, per_row: u32, row_groups: u32, lead: u32,
    inner: u32, target_offset: u32, source_offset: u32, source_inner: u32,
    sizes: array<vec4<u32>, 2>,
    target_strides: array<vec4<u32>, 2>,
    source_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<storage, read> source: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> target_: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

fn element(at: u32) -> Lane { return lane_of(source[at >> 2u], at & 3u); }

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    if DENSE {
        // The target is dense and its rows don't fill groups: each lane finds its own coordinates.
        var source_at: array<u32, 4>;
        for (var lane = 0u; lane < 4u; lane++) {
            var rest = min(index * 4u + lane, p.inner - 1u);
            var at = p.source_offset;
            for (var d = RANK; d > 0u; d--) {
                let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
                let quotient = rest / size;
                at += (rest - quotient * size) * p.source_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
                rest = quotient;
            }
            source_at[lane] = at;
        }
        target_[index] = pack4(
            element(source_at[0]),
            element(source_at[1]),
            element(source_at[2]),
            element(source_at[3]));
        return;
    }
    var rest = index / p.row_groups;
    let column = index - rest * p.row_groups;
    var to = p.target_offset;
    var source_base = p.source_offset;
    for (var d = RANK; d > 0u; d--) {
        let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
        let quotient = rest / size;
        let coordinate = rest - quotient * size;
        to += coordinate * p.target_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        source_base += coordinate * p.source_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        rest = quotient;
    }
    let at = (to >> 2u) + column;
    if WHOLE_GROUPS {
        target_[at] = source[(source_base >> 2u) + column];
        return;
    }
    // Element e of the row is lane `lead + e` counted from the row's first group.
    let first = i32(column * 4u) - i32(p.lead);
    var lanes: array<Lane, 4>;
    var mine: array<bool, 4>;
    for (var lane = 0; lane < 4; lane++) {
        let e = first + lane;
        mine[lane] = e >= 0 && e < i32(p.inner);
        lanes[lane] = element(source_base + u32(clamp(e, 0, i32(p.inner) - 1)) * p.source_inner);
    }
    if !ROWS_ALIGNED {
        let old = target_[at];
        for (var lane = 0u; lane < 4u; lane++) {
            if !mine[lane] { lanes[lane] = lane_of(old, lane); }
        }
    }
    target_[at] = pack4(lanes[0], lanes[1], lanes[2], lanes[3]);
}
