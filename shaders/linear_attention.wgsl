// Attention whose keys and values are summed up in a state of `depth` rows, a step of time after the other,
// and read from it by queries.
//
// Grid: PHASE 0: an invocation keeps 4 neighbouring columns of one head's state through all steps; nothing of
// one column goes into another. PHASE 1: an invocation stores 4 elements of the last state.
// Prelude (docs/shaders.md): Stored4, load4, store4 of what is read and made; SStored4, Slane_of, Spack4 of
// states; Result4, what the phase writes; DECAYS, the state decays before an update, with PER_ROW by a number
// for each of its rows; DELTA, an update is of what a value lacks of what its key reads; PAST, there is a
// state before; PHASE; WIDTH, invocations of a workgroup.

// Queries are [batch][steps][heads][depth], keys and values [batch][steps][kv_heads][depth or values], dense;
// columns: groups of 4 of `values`. rates: how many rates of an update a step has, one or for each head.
struct Params {
    count: u32, per_row: u32, steps: u32, heads: u32,
    kv_heads: u32, depth: u32, values: u32, columns: u32,
    rates: u32, elements: u32, scale: f32, spare: u32,
}

@group(0) @binding(0) var<storage, read> queries: array<Stored4>;
@group(0) @binding(1) var<storage, read> keys: array<Stored4>;
@group(0) @binding(2) var<storage, read> given: array<Stored4>;
@group(0) @binding(3) var<storage, read> past: array<SStored4>;
@group(0) @binding(4) var<storage, read> decay: array<Stored4>;
@group(0) @binding(5) var<storage, read> rate: array<Stored4>;
// [batch][kv_heads][depth][columns], in float32 whatever states are stored in.
@group(0) @binding(6) var<storage, read_write> states: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> output: array<Result4>;
@group(1) @binding(0) var<uniform> p: Params;

fn key(at: u32) -> f32 { return load4(keys[at >> 2u])[at & 3u]; }

// Element `at` of the state before, a row's columns beyond its last repeating that.
fn before(row: u32, column: u32) -> f32 {
    let at = row * p.values + min(column, p.values - 1u);
    return Slane_of(past[at >> 2u], at & 3u);
}

fn value(row: u32, column: u32) -> f32 {
    let at = row * p.values + min(column, p.values - 1u);
    return load4(given[at >> 2u])[at & 3u];
}

// What of a row of the state is kept.
fn kept(step: u32, head: u32, row: u32) -> f32 {
    let of_head = step * p.kv_heads + head;
    let at = select(of_head, of_head * p.depth + row, PER_ROW);
    return exp_(load4(decay[at >> 2u])[at & 3u]);
}

fn walk(index: u32) {
    let group = index / p.columns;
    let column = index - group * p.columns;
    let sample = group / p.kv_heads;
    let head = group - sample * p.kv_heads;
    let base = group * p.depth * p.columns + column;
    for (var d = 0u; d < p.depth; d++) {
        var start = vec4(0.0);
        if PAST {
            let row = group * p.depth + d;
            start = vec4(
                before(row, column * 4u),
                before(row, column * 4u + 1u),
                before(row, column * 4u + 2u),
                before(row, column * 4u + 3u));
        }
        states[base + d * p.columns] = start;
    }
    let shared_by = p.heads / p.kv_heads;
    for (var t = 0u; t < p.steps; t++) {
        let step = sample * p.steps + t;
        let row = step * p.kv_heads + head;
        var update = vec4(
            value(row, column * 4u),
            value(row, column * 4u + 1u),
            value(row, column * 4u + 2u),
            value(row, column * 4u + 3u));
        if DECAYS || DELTA {
            var read = vec4(0.0);
            for (var d = 0u; d < p.depth; d++) {
                var state = states[base + d * p.columns];
                if DECAYS {
                    state *= kept(step, head, d);
                    states[base + d * p.columns] = state;
                }
                if DELTA { read += key(row * p.depth + d) * state; }
            }
            if DELTA {
                let at = step * p.rates + head % p.rates;
                update = load4(rate[at >> 2u])[at & 3u] * (update - read);
            }
        }
        for (var d = 0u; d < p.depth; d++) {
            states[base + d * p.columns] += key(row * p.depth + d) * update;
        }
        for (var reader = head * shared_by; reader < (head + 1u) * shared_by; reader++) {
            let query = (step * p.heads + reader) * p.depth;
            var sum = vec4(0.0);
            for (var d = 0u; d < p.depth; d++) {
                let at = query + d;
                sum += p.scale * load4(queries[at >> 2u])[at & 3u] * states[base + d * p.columns];
            }
            output[(step * p.heads + reader) * p.columns + column] = result4(sum);
        }
    }
}

// Element `at` of the last state, dense.
fn last(at: u32) -> f32 {
    let place = min(at, p.elements - 1u);
    let row = place / p.values;
    let column = place - row * p.values;
    return states[row * p.columns + (column >> 2u)][column & 3u];
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.count { return; }
    if PHASE == 0u {
        walk(index);
    } else {
        let at = index * 4u;
        output[index] = result4(vec4(last(at), last(at + 1u), last(at + 2u), last(at + 3u)));
    }
}
