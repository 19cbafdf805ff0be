// TensorScatter where the cache lies: new entries are written into it, from an index of each sample on.
//
// Grid: an invocation moves 4 elements of the update.
// Prelude (docs/shaders.md): Stored4 of cache and update; IStored4, Ilane_of of the indices; index_value and
// beyond (src/kernels/indices.rs); CIRCULAR, entries behind the last go on at the first, which is within the cache; WIDTH, invocations
// of a workgroup.

// The cache is [samples, lines, entries, inner], the update [samples, lines, fresh, inner], `inner` in
// groups of 4; the update's steps are in groups too. An entry outside the cache is reported and not
// written; report: the number by which beyond() names this dispatch.
struct Params {
    count: u32, per_row: u32, inner: u32, fresh: u32,
    lines: u32, entries: u32, offset: u32, sample_step: u32,
    line_step: u32, entry_step: u32, first_offset: u32, first_step: u32,
    report: u32, spare0: u32, spare1: u32, spare2: u32,
}

@group(0) @binding(0) var<storage, read> updates: array<Stored4>;
@group(0) @binding(1) var<storage, read> indices: array<IStored4>;
@group(0) @binding(2) var<storage, read_write> cache: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.count { return; }
    let row = index / p.inner;
    let g = index - row * p.inner;
    let line = row / p.fresh;
    let entry = row - line * p.fresh;
    let sample = line / p.lines;
    let within = line - sample * p.lines;

    let at = p.first_offset + sample * p.first_step;
    let first = index_value(Ilane_of(indices[at >> 2u], at & 3u));
    let entries = i32(p.entries);
    // A sum that doesn't fit 32 bits is of an index that is outside by itself.
    let outside = first < 0 || first >= entries;
    var place = select(first + i32(entry), first, outside);
    if CIRCULAR { place %= entries; }
    if outside || place >= entries {
        beyond(place);
        return;
    }
    let source = p.offset + sample * p.sample_step + within * p.line_step + entry * p.entry_step + g;
    cache[(line * p.entries + u32(place)) * p.inner + g] = updates[source];
}
