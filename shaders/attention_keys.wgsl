// Scaled dot-product attention where queries are few and keys may be many, as in decoding, for graphics
// cards.
//
// Grid: a workgroup makes one query of one head, its invocations sharing the keys, WIDTH of them at a time;
// y runs over heads and queries, z over batches. With SPLIT, x runs over splits of `chunk` keys each, and
// attention_join.wgsl joins what they leave (Dao et al., Flash-Decoding, 2023).
//
// Four invocations read a key together; each invocation then has one key's score; for the values the
// invocations lie along a value's groups, so that neighbours read neighbours.
// Bindings and parameters: lib/attention.wgsl. Sums over the workgroup: lib/reduction_group.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; StoredMask, mask4; D4 and V4, groups of 4 elements in a
// key and in a value; MASK, SOFTCAP, TAIL (a key's last group is partly padding), SPLIT; StoredResult,
// result4 and measures4, what is stored; WIDTH, GROUP (the same: a workgroup is one group), STRIDE.

// Values that are read at a time. V4 is at most 64 and WIDTH 128, so that there are two at least.
const SLICES: u32 = WIDTH / V4;

var<workgroup> query4: array<vec4<f32>, D4>;
// Each key's product in four parts.
var<workgroup> products: array<f32, 4u * WIDTH>;
var<workgroup> weights: array<f32, WIDTH>;
var<workgroup> totals: array<vec4<f32>, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, at: Invocation) {
    let split = group.x;
    let head = group.y / p.queries;
    let query = group.y % p.queries;
    let shared_head = head / p.group;
    let batch = batch_of(group.z);
    let q_at = p.q_offset + group.z * p.q_batch + head * p.q_head + query * p.q_row;
    let m_at = p.mask_offset + group.z * p.mask_batch + head * p.mask_head + query * p.mask_row;
    let k_base = p.k_offset + group.z * p.k_batch + shared_head * p.k_head;
    let v_base = p.v_offset + group.z * p.v_batch + shared_head * p.v_head;
    for (var g = at.local; g < D4; g += WIDTH) { query4[g] = whole4(load4(queries[q_at + g]), g) * p.scale; }
    workgroupBarrier();

    var from_key = u32(first_key(batch, query));
    var to_key = u32(max(behind_keys(batch, query), 0));
    if SPLIT {
        from_key = max(from_key, split * p.chunk);
        to_key = min(to_key, (split + 1u) * p.chunk);
    }
    let part = at.local % 4u;
    let g_own = at.local % V4;
    let slice = at.local / V4;
    var high = LOWEST;
    var sum = 0.0;
    var total = vec4(0.0);
    for (var start = from_key; start < to_key; start += WIDTH) {
        let count = min(WIDTH, to_key - start);
        for (var key = at.local / 4u; key < count; key += WIDTH / 4u) {
            let row = k_base + (start + key) * p.k_row;
            var product = 0.0;
            for (var g = part; g < D4; g += 4u) {
                product += dot(query4[g], whole4(load4(keys[row + g]), g));
            }
            products[key * 4u + part] = product;
        }
        workgroupBarrier();
        var score = p.nothing;
        if at.local < count {
            let first = at.local * 4u;
            score = capped(
                (products[first] + products[first + 1u]) + (products[first + 2u] + products[first + 3u]));
            let key = start + at.local;
            if MASK { score += mask4(mask[m_at + key / 4u])[key % 4u]; }
        }
        let larger = max(high, group_max(score, at));
        let shrink = exp_below(high - larger);
        let weight = exp_below(score - larger);
        sum = sum * shrink + group_sum(weight, at);
        high = larger;
        weights[at.local] = weight;
        workgroupBarrier();
        total *= shrink;
        if slice < SLICES {
            for (var key = slice; key < count; key += SLICES) {
                total += weights[key] * load4(values[v_base + (start + key) * p.v_row + g_own]);
            }
        }
        workgroupBarrier();
    }
    totals[at.local] = total;
    workgroupBarrier();

    var to = p.y_offset + group.z * p.y_batch + head * p.y_head + query * p.y_row;
    if SPLIT {
        let splits = (p.keys + p.chunk - 1u) / p.chunk;
        to = ((group.z * p.rows + group.y) * splits + split) * (V4 + 1u);
        if at.local == 0u { output[to + V4] = measures4(high, sum); }
    }
    if at.local < V4 {
        var all = totals[at.local];
        for (var s = 1u; s < SLICES; s++) { all += totals[at.local + s * V4]; }
        output[to + at.local] = result4(all, sum);
    }
}
