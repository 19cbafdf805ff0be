// ScatterND and ScatterElements: a tensor with slices replaced, found by indices. Of the updates that name
// one slice the last counts, whatever order they run in: an integer maximum has no order.
//
// Grid: three dispatches, PHASE 0 to 2. 0: an invocation clears one slice's owner. 1: an invocation is one
// update, which claims its slice by its number. 2: an invocation makes 4 elements of the output, each from
// the update that owns its slice, or from the data. A reduction by indices that may repeat is one dispatch
// by itself, PHASE 3: an invocation makes 4 elements, each of which walks all updates in order, so that a
// sum is the same every time.
// Prelude (docs/shaders.md): Stored4, Lane, lane_of, pack4 of data and updates; IStored4, Ilane_of of the
// indices; index_value and outside (src/kernels/indices.rs); FROM_END, negative indices count from the end,
// else they are outside; combine(a, x), what the reduction makes of an element and an update; PHASE; RANK,
// dimensions of the updates' coordinates; TUPLE, indices of a tuple; WIDTH, invocations of a workgroup.

// Update k lies at slice Σ coordinate · slice_stride + Σ index_t · axis_stride_t, its coordinates those
// of k in `sizes`. An index outside its axis is reported, and claims nothing. count: slices, updates or
// groups, by PHASE; slice: elements of a slice; claims: updates; report: the number by which outside() names
// this dispatch.
struct Params {
    count: u32, per_row: u32, elements: u32, slices: u32,
    slice: u32, claims: u32, report: u32, spare: u32,
    sizes: array<vec4<u32>, 2>,
    slice_strides: array<vec4<u32>, 2>,
    axis_sizes: array<vec4<u32>, 2>,
    axis_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<storage, read> data: array<Stored4>;
@group(0) @binding(1) var<storage, read> updates: array<Stored4>;
@group(0) @binding(2) var<storage, read> indices: array<IStored4>;
// One more than the number of the update that owns a slice; 0 where none does.
@group(0) @binding(3) var<storage, read_write> owners: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// The slice that update `k` names, `slices` where it names none.
fn slice_of(k: u32) -> u32 {
    var rest = k;
    var slice = 0u;
    for (var d = RANK; d > 0u; d--) {
        let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
        let quotient = rest / size;
        slice += (rest - quotient * size) * p.slice_strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        rest = quotient;
    }
    for (var t = 0u; t < TUPLE; t++) {
        let at = k * TUPLE + t;
        let size = i32(p.axis_sizes[t >> 2u][t & 3u]);
        let index = Ilane_of(indices[at >> 2u], at & 3u);
        let raw = index_value(index);
        let resolved = select(raw, raw + size, FROM_END && raw < 0);
        if resolved < 0 || resolved >= size {
            outside(t, index);
            return p.slices;
        }
        slice += u32(resolved) * p.axis_strides[t >> 2u][t & 3u];
    }
    return slice;
}

fn update(k: u32, slice: u32, at: u32) -> Lane {
    let source = k * p.slice + at - slice * p.slice;
    return lane_of(updates[source >> 2u], source & 3u);
}

fn element(at: u32) -> Lane {
    let slice = at / p.slice;
    let old = lane_of(data[at >> 2u], at & 3u);
    let owner = atomicLoad(&owners[slice]);
    if owner == 0u { return old; }
    return combine(old, update(owner - 1u, slice, at));
}

// The 4 elements of a group, each reduced in the order of the updates.
fn reduced(index: u32) -> Stored4 {
    let group = data[index];
    var lanes: array<Lane, 4>;
    var slices: array<u32, 4>;
    for (var lane = 0u; lane < 4u; lane++) {
        lanes[lane] = lane_of(group, lane);
        slices[lane] = min(index * 4u + lane, p.elements - 1u) / p.slice;
    }
    for (var k = 0u; k < p.claims; k++) {
        let slice = slice_of(k);
        for (var lane = 0u; lane < 4u; lane++) {
            let at = index * 4u + lane;
            if slices[lane] == slice && at < p.elements {
                lanes[lane] = combine(lanes[lane], update(k, slice, at));
            }
        }
    }
    return pack4(lanes[0], lanes[1], lanes[2], lanes[3]);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.count { return; }
    if PHASE == 0u {
        atomicStore(&owners[index], 0u);
    } else if PHASE == 1u {
        let slice = slice_of(index);
        if slice < p.slices { atomicMax(&owners[slice], index + 1u); }
    } else if PHASE == 3u {
        output[index] = reduced(index);
    } else {
        let last = p.elements - 1u;
        output[index] = pack4(
            element(index * 4u),
            element(min(index * 4u + 1u, last)),
            element(min(index * 4u + 2u, last)),
            element(min(index * 4u + 3u, last)));
    }
}
