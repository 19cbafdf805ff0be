// Scaled dot-product attention, softmax(scale · Q·Kᵀ + mask) · V, without the scores in memory (Dao et
// al., FlashAttention, 2022).
//
// Grid: an invocation makes one query, a workgroup WIDTH neighbouring ones of one head; x runs over blocks
// of queries, y over heads, z over batches. TILE keys and values at a time pass through workgroup memory. A
// query keeps the largest score and the sum of weights so far, and rescales both when a larger score comes.
// Bindings and parameters: lib/attention.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; StoredMask, mask4, the mask and its load; D4 and V4,
// groups of 4 elements in a key and in a value; WIDTH; TILE; MASK, SOFTCAP, whether there are such; TAIL,
// whether a key's last group is partly padding.

var<workgroup> key_tile: array<vec4<f32>, TILE * D4>;
var<workgroup> value_tile: array<vec4<f32>, TILE * V4>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let shared_head = head / p.group;
    let batch = batch_of(group.z);
    let block = group.x * WIDTH;
    // A query beyond the last repeats it and isn't stored: it still helps to fill the tiles.
    let query = min(block + local, p.queries - 1u);
    let q_at = p.q_offset + group.z * p.q_batch + head * p.q_head + query * p.q_row;
    let m_at = p.mask_offset + group.z * p.mask_batch + head * p.mask_head + query * p.mask_row;
    let k_base = p.k_offset + group.z * p.k_batch + shared_head * p.k_head;
    let v_base = p.v_offset + group.z * p.v_batch + shared_head * p.v_head;

    var q: array<vec4<f32>, D4>;
    for (var g = 0u; g < D4; g++) { q[g] = whole4(load4(queries[q_at + g]), g) * p.scale; }
    var total: array<vec4<f32>, V4>;
    for (var g = 0u; g < V4; g++) { total[g] = vec4(0.0); }
    var high = LOWEST;
    var sum = 0.0;
    let first = first_key(batch, query);
    let behind = behind_keys(batch, query);

    // What the first and the last query of the block see bounds the walk.
    let from_key = u32(first_key(batch, block)) & ~3u;
    let to_key = u32(max(behind_keys(batch, min(block + WIDTH, p.queries) - 1u), 0));
    for (var start = from_key; start < to_key; start += TILE) {
        let count = min(TILE, to_key - start);
        for (var i = local; i < count * D4; i += WIDTH) {
            let g = i % D4;
            key_tile[i] = whole4(load4(keys[k_base + (start + i / D4) * p.k_row + g]), g);
        }
        for (var i = local; i < count * V4; i += WIDTH) {
            value_tile[i] = load4(values[v_base + (start + i / V4) * p.v_row + i % V4]);
        }
        workgroupBarrier();
        // 4 keys at a time: the largest score is found, and what there is scaled, once for them.
        for (var key = 0u; key < count; key += 4u) {
            var s = vec4(0.0);
            for (var g = 0u; g < D4; g++) {
                // Rows of the tile behind `count` hold what an earlier one did; the reach leaves them out.
                s += vec4(
                    dot(q[g], key_tile[key * D4 + g]),
                    dot(q[g], key_tile[(key + 1u) * D4 + g]),
                    dot(q[g], key_tile[(key + 2u) * D4 + g]),
                    dot(q[g], key_tile[(key + 3u) * D4 + g]),
                );
            }
            s = vec4(capped(s.x), capped(s.y), capped(s.z), capped(s.w));
            if MASK { s += mask4(mask[m_at + (start + key) / 4u]); }
            let key4 = vec4(i32(start + key)) + vec4(0, 1, 2, 3);
            s = select(vec4(p.nothing), s, (key4 >= vec4(first)) & (key4 < vec4(behind)));
            let larger = max(high, max(max(s.x, s.y), max(s.z, s.w)));
            let shrink = exp_below(high - larger);
            let w = exp_below4(s - larger);
            sum = sum * shrink + (w.x + w.y + (w.z + w.w));
            high = larger;
            for (var g = 0u; g < V4; g++) {
                var more = w.x * value_tile[key * V4 + g];
                // A weight of 0 is no product: the tile may hold NaN there, from before.
                if key + 1u < count { more += w.y * value_tile[(key + 1u) * V4 + g]; }
                if key + 2u < count { more += w.z * value_tile[(key + 2u) * V4 + g]; }
                if key + 3u < count { more += w.w * value_tile[(key + 3u) * V4 + g]; }
                total[g] = total[g] * shrink + more;
            }
        }
        workgroupBarrier();
    }
    if block + local >= p.queries { return; }
    let y_at = p.y_offset + group.z * p.y_batch + head * p.y_head + query * p.y_row;
    for (var g = 0u; g < V4; g++) { output[y_at + g] = store4(finished(total[g], sum)); }
}
