// Buffers and parameters of attention.wgsl, attention_keys.wgsl and attention_rows.wgsl, and which keys a
// query sees.

// Strides and offsets in groups of 4 elements. `queries`, `keys`: their numbers; `group`: heads of Q to one
// of K (grouped-query attention); `flags`: HAS_LENGTHS, ZERO_UNSEEN; `offset`: the key that query 0 is at;
// `left`, `right`: how many keys before and behind its own a query sees; `tail`: valid lanes of the last
// group of a query; `scale`, `softcap`: ONNX's; `nothing`: −∞, which WGSL can't write; `depth4`,
// `value4`, `rows`, `opaque_zero`: D4, V4, ROWS and 0 as numbers that the driver's compiler doesn't know,
// where a loop is to stay one. Where keys are split, `chunk`: keys of a split, and `rows`: queries of all
// heads.
struct Params {
    queries: u32, keys: u32, group: u32, flags: u32,
    q_offset: u32, q_batch: u32, q_head: u32, q_row: u32,
    k_offset: u32, k_batch: u32, k_head: u32, k_row: u32,
    v_offset: u32, v_batch: u32, v_head: u32, v_row: u32,
    y_offset: u32, y_batch: u32, y_head: u32, y_row: u32,
    mask_offset: u32, mask_batch: u32, mask_head: u32, mask_row: u32,
    offset: i32, left: i32, right: i32, tail: u32,
    scale: f32, softcap: f32, nothing: f32, depth4: u32,
    value4: u32, rows: u32, opaque_zero: u32, chunk: u32,
}

// 2²⁹: a number of keys that stands for no end.
const FAR: i32 = 536870912;
// Each batch has a number of valid keys of its own, in `lengths`.
const HAS_LENGTHS: u32 = 1u;
// A query that sees nothing gives 0 rather than NaN.
const ZERO_UNSEEN: u32 = 2u;
// Below every score, yet finite: what the largest score begins with.
const LOWEST: f32 = -LARGEST;

@group(0) @binding(0) var<storage, read> queries: array<Stored4>;
@group(0) @binding(1) var<storage, read> keys: array<Stored4>;
@group(0) @binding(2) var<storage, read> values: array<Stored4>;
@group(0) @binding(3) var<storage, read> mask: array<StoredMask>;
@group(0) @binding(4) var<storage, read> lengths: array<vec2<u32>>;
@group(0) @binding(5) var<storage, read_write> output: array<StoredResult>;
@group(1) @binding(0) var<uniform> p: Params;

// The keys that a batch has, and the one that query 0 is at.
struct Batch { keys: i32, offset: i32 }
fn batch_of(index: u32) -> Batch {
    var batch = Batch(i32(p.keys), p.offset);
    if (p.flags & HAS_LENGTHS) != 0u {
        // An int64; what lies beyond ±2²⁹ stands for no end, and sums of these stay within 32 bits.
        let low = bitcast<i32>(lengths[index].x);
        let high = bitcast<i32>(lengths[index].y);
        let valid = clamp(select(select(FAR, -FAR, high < 0), low, high == low >> 31u), -FAR, FAR);
        batch = Batch(clamp(valid, 0, i32(p.keys)), valid - i32(p.queries));
    }
    return batch;
}

// The first key that a query sees, and the one behind the last.
fn first_key(batch: Batch, query: u32) -> i32 { return max(batch.offset + i32(query) - p.left, 0); }
fn behind_keys(batch: Batch, query: u32) -> i32 {
    return min(batch.offset + i32(query) + p.right + 1, batch.keys);
}

// A group of elements along a head; its last one is partly padding, which may hold anything.
fn whole4(x: vec4<f32>, group: u32) -> vec4<f32> {
    var whole = x;
    if TAIL {
        whole = select(vec4(0.0), x, vec4(0u, 1u, 2u, 3u) < vec4(select(4u, p.tail, group + 1u == D4)));
    }
    return whole;
}

// A score as it goes into the softmax; −∞ for a key that isn't seen.
fn capped(score: f32) -> f32 {
    var result = score;
    if SOFTCAP { result = tanh_(score / p.softcap) * p.softcap; }
    return result;
}

// The result of a query from its weighted values and the sum of its weights, which is 0 where it saw nothing.
fn finished(total: vec4<f32>, sum: f32) -> vec4<f32> {
    let unseen = sum == 0.0 && (p.flags & ZERO_UNSEEN) != 0u;
    return select(shares4(total, vec4(sum)), vec4(0.0), unseen);
}
