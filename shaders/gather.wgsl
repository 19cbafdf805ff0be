// Gather, GatherElements and GatherND: each element of the output is one of the data's, found by indices.
//
// Grid: an invocation makes 4 consecutive elements of the output.
//
// An output coordinate is split by position: its index tuple lies at Σ coordinate · index_stride in the
// indices, and the data's address is Σ coordinate · data_stride + Σ index_k · axis_stride_k.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4 of the data; IStored4, Ilane_of of the indices;
// index_value and outside (src/kernels/indices.rs); FROM_END, negative indices count from the end, else they
// are outside; RANK, dimensions of the output; TUPLE, indices of a tuple; WIDTH, invocations of a workgroup.

// Offsets, strides and tuple_step, the distance of a tuple's indices, in elements; axis_sizes, axis_strides:
// of the data's axes that a tuple indexes; report: the number by which outside() names this dispatch.
struct Params {
    groups: u32, per_row: u32, elements: u32, data_offset: u32,
    index_offset: u32, tuple_step: u32, report: u32, spare: u32,
    sizes: array<vec4<u32>, 2>,
    data_strides: array<vec4<u32>, 2>,
    index_strides: array<vec4<u32>, 2>,
    axis_sizes: array<vec4<u32>, 2>,
    axis_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<storage, read> data: array<Stored4>;
@group(0) @binding(1) var<storage, read> indices: array<IStored4>;
@group(0) @binding(2) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

fn element(index: u32) -> Lane {
    var rest = index;
    var at = p.data_offset;
    var tuple = p.index_offset;
    for (var d = RANK; d > 0u; d--) {
        let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
        let quotient = rest / size;
        let coordinate = rest - quotient * size;
        at += coordinate * p.data_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        tuple += coordinate * p.index_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        rest = quotient;
    }
    for (var k = 0u; k < TUPLE; k++) {
        let from_end = i32(p.axis_sizes[k >> 2u][k & 3u]);
        let where_ = tuple + k * p.tuple_step;
        let index = Ilane_of(indices[where_ >> 2u], where_ & 3u);
        let raw = index_value(index);
        // An index outside its axis is reported, and clamped.
        if raw < select(0, -from_end, FROM_END) || raw >= from_end { outside(k, index); }
        let resolved = clamp(select(raw, raw + from_end, raw < 0), 0, from_end - 1);
        at += u32(resolved) * p.axis_strides[k >> 2u][k & 3u];
    }
    return lane_of(data[at >> 2u], at & 3u);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let last = p.elements - 1u;
    output[index] = pack4(
        element(index * 4u),
        element(min(index * 4u + 1u, last)),
        element(min(index * 4u + 2u, last)),
        element(min(index * 4u + 3u, last)));
}
