// softmax(scale · Q·Kᵀ + mask) · V without the scores in memory, for software adapters: an invocation makes ROWS queries, by
// blocks of 4 keys, with the largest score and the sum of weights so far (Milakov and Gimelshein, 2018).
//
// Every invocation reads the same keys and values: a uniform address is one scalar load and a broadcast; see uniform_index.
// Prelude: Stored4, load4, store4, StoredMask, mask4, uniform_index, D4 and V4 (groups of a key and of a value), ROWS, WIDTH,
// MASK, SOFTCAP, TAIL (a key's last group is partly padding), UNROLLED; shaders/lib/attention.wgsl.

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let shared_head = head / p.group;
    let batch = batch_of(group.z);
    let block = group.x * (ROWS * WIDTH);
    let q_base = p.q_offset + group.z * p.q_batch + head * p.q_head;
    let m_base = p.m_offset + group.z * p.m_batch + head * p.m_head;

    // Scaled once, not at each score. Loops whose ends the translator doesn't know stay loops, indexing what is copied then.
    var staged: array<vec4<f32>, ROWS * D4>;
    let depth4 = select(p.depth4, D4, UNROLLED);
    for (var r = 0u; r < ROWS; r++) {
        let row = q_base + min(block + r * WIDTH + local, p.queries - 1u) * p.q_row;
        for (var g = 0u; g < depth4; g++) { staged[r * D4 + g] = whole4(load4(queries[row + g]), g) * p.scale; }
    }
    var q = staged;

    var total: array<vec4<f32>, ROWS * V4>;
    var high: array<f32, ROWS>;
    var sum: array<f32, ROWS>;
    var m_at: array<u32, ROWS>;
    var first: array<i32, ROWS>;
    var behind: array<i32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let query = min(block + r * WIDTH + local, p.queries - 1u);
        high[r] = LOWEST;
        sum[r] = 0.0;
        m_at[r] = m_base + query * p.m_row;
        first[r] = first_key(batch, query);
        behind[r] = behind_keys(batch, query);
        for (var g = 0u; g < V4; g++) { total[r * V4 + g] = vec4(0.0); }
    }

    // What the first and the last query of the block see bounds the walk.
    let from_key = u32(first_key(batch, block)) & ~3u;
    let to_key = u32(max(behind_keys(batch, min(block + ROWS * WIDTH, p.queries) - 1u), 0));
    let k_base = uniform_index(p.k_offset + group.z * p.k_batch + shared_head * p.k_head);
    let v_base = uniform_index(p.v_offset + group.z * p.v_batch + shared_head * p.v_head);
    let k_row = uniform_index(p.k_row);
    let v_row = uniform_index(p.v_row);
    let last = uniform_index(p.keys - 1u);
    for (var key = from_key; key < to_key; key += 4u) {
        let ahead = uniform_index(key);
        var score: array<vec4<f32>, ROWS>;
        for (var r = 0u; r < ROWS; r++) { score[r] = vec4(0.0); }
        for (var j = 0u; j < 4u; j++) {
            let at = k_base + min(ahead + j, last) * k_row;
            for (var g = 0u; g < D4; g++) {
                let k = whole4(load4(keys[at + g]), g);
                for (var r = 0u; r < ROWS; r++) { score[r][j] += dot(q[r * D4 + g], k); }
            }
        }
        var weight: array<vec4<f32>, ROWS>;
        var shrink: array<f32, ROWS>;
        let key4 = vec4(i32(key)) + vec4(0, 1, 2, 3);
        for (var r = 0u; r < ROWS; r++) {
            var s = vec4(capped(score[r].x), capped(score[r].y), capped(score[r].z), capped(score[r].w));
            if MASK { s += mask4(mask[m_at[r] + key / 4u]); }
            s = select(vec4(p.nothing), s, key4 >= vec4(first[r]) & key4 < vec4(behind[r]));
            let larger = max(high[r], max(max(s.x, s.y), max(s.z, s.w)));
            shrink[r] = exp(high[r] - larger);
            let w = select(exp(s - larger), vec4(0.0), s < vec4(LOWEST));
            sum[r] = sum[r] * shrink[r] + (w.x + w.y + (w.z + w.w));
            high[r] = larger;
            weight[r] = w;
        }
        let v0 = v_base + ahead * v_row;
        let v1 = v_base + min(ahead + 1u, last) * v_row;
        let v2 = v_base + min(ahead + 2u, last) * v_row;
        let v3 = v_base + min(ahead + 3u, last) * v_row;
        for (var g = 0u; g < V4; g++) {
            let a = load4(values[v0 + g]);
            let b = load4(values[v1 + g]);
            let c = load4(values[v2 + g]);
            let d = load4(values[v3 + g]);
            for (var r = 0u; r < ROWS; r++) {
                let w = weight[r];
                total[r * V4 + g] = total[r * V4 + g] * shrink[r] + (w.x * a + w.y * b + (w.z * c + w.w * d));
            }
        }
    }

    let y_base = p.y_offset + group.z * p.y_batch + head * p.y_head;
    var made = total;
    let value4 = select(p.value4, V4, UNROLLED);
    for (var r = 0u; r < ROWS; r++) {
        let query = block + r * WIDTH + local;
        for (var g = 0u; g < value4; g++) {
            if query < p.queries { output[y_base + query * p.y_row + g] = store4(finished(made[r * V4 + g], sum[r])); }
        }
    }
}
