// Scaled dot-product attention without the scores in memory, for software adapters.
//
// Grid: an invocation makes ROWS queries of one head, WIDTH apart; x runs over blocks of ROWS × WIDTH
// queries, y over heads, z over batches. Keys are taken two at a time, with the largest score and the sum of
// weights so far (Milakov and Gimelshein, 2018).
//
// Every invocation reads the same keys and values: a uniform address is one scalar load and a broadcast; see
// uniform_index. Where the driver's compiler is to unroll a loop, which makes an array's index a constant
// and an address uniform, the loop is short: so heads are taken 4 groups to a function call.
// Bindings and parameters: lib/attention.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; StoredMask, mask4; uniform_index; D4 and V4, groups of
// 4 elements in a key and in a value; ROWS, WIDTH; MASK, SOFTCAP, TAIL (a key's last group is partly
// padding); KEY_CALLS and VALUE_CALLS, D4 and V4 in fours; UNROLLED, kept.

alias Keys = array<array<vec4<f32>, D4>, ROWS>;
alias Values = array<array<vec4<f32>, V4>, ROWS>;

// Adds the products of 4 groups of each query and of 2 keys, at `rows`.
fn add_scores(
    start: u32,
    rows: vec2<u32>,
    q: ptr<function, Keys>,
    score: ptr<function, array<vec2<f32>, ROWS>>
) {
    for (var g = start; g < min(start + 4u, D4); g++) {
        let a = whole4(load4(keys[rows.x + g]), g);
        for (var r = 0u; r < ROWS; r++) { (*score)[r].x += dot((*q)[r][g], a); }
        let b = whole4(load4(keys[rows.y + g]), g);
        for (var r = 0u; r < ROWS; r++) { (*score)[r].y += dot((*q)[r][g], b); }
    }
}

// Adds the weighted values of 2 keys, at `rows`, to 4 groups of each total, which it scales by the third
// factor. Behind the last key its row comes twice: there the second is no product, as 0 · ∞ is NaN.
fn add_values(
    start: u32,
    rows: vec2<u32>,
    total: ptr<function, Values>,
    weight: ptr<function, array<vec3<f32>, ROWS>>
) {
    for (var g = start; g < min(start + 4u, V4); g++) {
        let a = load4(values[rows.x + g]);
        let b = select(load4(values[rows.y + g]), vec4(0.0), rows.y == rows.x);
        for (var r = 0u; r < ROWS; r++) {
            let w = (*weight)[r];
            (*total)[r][g] = (*total)[r][g] * w.z + (w.x * a + w.y * b);
        }
    }
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let head = group.y;
    let shared_head = head / p.group;
    let batch = batch_of(group.z);
    let block = group.x * (ROWS * WIDTH);
    let final_query = p.queries - 1u;
    let q_base = p.q_offset + group.z * p.q_batch + head * p.q_head;
    let m_base = p.mask_offset + group.z * p.mask_batch + head * p.mask_head;

    // Loops whose ends the translator doesn't know stay loops: they index by variables, lane by lane, and are
    // quick to translate.
    var q: Keys;
    let depth4 = select(p.depth4, D4, UNROLLED);
    let value4 = select(p.value4, V4, UNROLLED);
    let all = select(p.rows, ROWS, UNROLLED);
    for (var r = 0u; r < all; r++) {
        let row = q_base + min(block + r * WIDTH + local, final_query) * p.q_row;
        for (var g = 0u; g < depth4; g++) {
            q[opaque_index(r)][opaque_index(g)] = whole4(load4(queries[row + g]), g) * p.scale;
        }
    }
    var total: Values;
    for (var r = 0u; r < ROWS; r++) {
        for (var g = 0u; g < V4; g++) { total[r][g] = vec4(0.0); }
    }
    var high: array<f32, ROWS>;
    var sum: array<f32, ROWS>;
    var bias: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        high[r] = LOWEST;
        sum[r] = 0.0;
        bias[r] = vec4(0.0);
    }

    // What the first and the last query of the block see bounds the walk.
    let start = u32(first_key(batch, block)) & ~3u;
    let end = u32(max(behind_keys(batch, min(block + ROWS * WIDTH - 1u, final_query)), 0));
    let k_base = uniform_index(p.k_offset + group.z * p.k_batch + shared_head * p.k_head);
    let v_base = uniform_index(p.v_offset + group.z * p.v_batch + shared_head * p.v_head);
    let k_row = uniform_index(p.k_row);
    let v_row = uniform_index(p.v_row);
    // What nothing sees isn't read: what lies behind the valid keys may be anything.
    let last = uniform_index(max(end, 1u) - 1u);
    for (var key = start; key < end; key += 2u) {
        let ahead = uniform_index(key);
        var score: array<vec2<f32>, ROWS>;
        for (var r = 0u; r < ROWS; r++) { score[r] = vec2(0.0); }
        let two = vec2(min(ahead, last), min(ahead + 1u, last));
        let k = vec2(k_base) + two * k_row;
        // A call for each 4 of at most 64 groups (heads of 256), written out by the prelude.
        for (var call = 0u; call < KEY_CALLS; call++) {
            add_scores(4u * call, k, &q, &score);
        }
        // A group of 4 mask elements serves two turns.
        let even = (key & 2u) == 0u;
        if MASK && even {
            for (var r = 0u; r < all; r++) {
                let query = min(block + r * WIDTH + local, final_query);
                bias[opaque_index(r)] = mask4(mask[m_base + query * p.mask_row + key / 4u]);
            }
        }
        var weight: array<vec3<f32>, ROWS>;
        for (var r = 0u; r < ROWS; r++) {
            let query = min(block + r * WIDTH + local, final_query);
            var s = vec2(capped(score[r].x), capped(score[r].y)) + select(bias[r].zw, bias[r].xy, even);
            let place = vec2(i32(key), i32(key) + 1);
            s = select(
                vec2(p.nothing),
                s,
                (place >= vec2(first_key(batch, query))) & (place < vec2(behind_keys(batch, query))));
            let larger = max(high[r], max(s.x, s.y));
            let shrink = exp_below(high[r] - larger);
            let w = vec2(exp_below(s.x - larger), exp_below(s.y - larger));
            sum[r] = sum[r] * shrink + (w.x + w.y);
            high[r] = larger;
            weight[r] = vec3(w, shrink);
        }
        let v = vec2(v_base) + two * v_row;
        for (var call = 0u; call < VALUE_CALLS; call++) {
            add_values(4u * call, v, &total, &weight);
        }
    }

    let y_base = p.y_offset + group.z * p.y_batch + head * p.y_head;
    for (var r = 0u; r < all; r++) {
        let query = block + r * WIDTH + local;
        for (var g = 0u; g < value4; g++) {
            if query < p.queries {
                output[y_base + query * p.y_row + g] =
                    store4(finished(total[opaque_index(r)][opaque_index(g)], sum[opaque_index(r)]));
            }
        }
    }
}
