//! GroupQueryAttention: what decoders that onnxruntime's tools exported have for attention over a cache. New
//! keys and values go into the cache behind those that are there, for each sequence at its own place, since
//! the cache may be longer than what it holds.

use super::{Body, UNOPTIMISED, float, int, ints};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// What of the node the parts of the body share.
struct Decoder {
    /// The new tokens of a sequence, `[1]`.
    new: String,
    /// The rows of the cache that comes out, `[1]`.
    rows: String,
    /// How many tokens each sequence has in the cache already, `[batch]`.
    past: String,
}

/// Query `[batch, new, heads · d]`, key and value `[batch, new, shared heads · d]` (or all in the query), the
/// cache `[batch, shared heads, rows, d]` twice, the last position of each sequence, the longest sequence's
/// length, the rotation's tables, positions, and what is added to the scores.
pub fn attention(b: &mut Body<'_>) -> Result<()> {
    b.only("smooth_softmax", 0)?;
    b.only("qk_output", 0)?;
    b.only("kv_cache_bit_width", 0)?;
    for name in ["k_quant_type", "v_quant_type"] {
        let found = b.text(name);
        if !found.is_empty() && found != "NONE" {
            return Err(Error::unsupported(format!("{name} = {found}")).remedy(UNOPTIMISED));
        }
    }
    b.refuse(11, "sinks of heads")?;
    b.refuse(12, "scales of a quantised cache")?;
    b.refuse(13, "scales of a quantised cache")?;
    let (heads, shared) = (b.int("num_heads", 0), b.int("kv_num_heads", 0));
    if heads < 1 || shared < 1 || heads % shared != 0 {
        return Err(Error::model(format!("{heads} heads of queries can't share {shared} of keys")));
    }
    let parts = parts(b, [heads, shared])?;
    let new = b.with("Shape", &[&parts[0]], vec![int("start", 2), int("end", 3)]);
    let total = whole(b, 6, &[1])?;
    let ends = whole(b, 5, &[-1])?;
    let one = b.list(&[1]);
    let lengths = b.op("Add", &[&ends, &one]);
    let before = b.op("Sub", &[&lengths, &new]);
    // The first tokens of all: nothing is in the cache, and shorter sequences are padded behind.
    let first = b.op("Equal", &[&new, &total]);
    let zero = b.list(&[0]);
    let past = b.op("Where", &[&first, &zero, &before]);
    let seen = b.op("Add", &[&past, &new]);
    let rows = match b.has(3) {
        true => {
            let there = b.with("Shape", &[&b.input(3)], vec![int("start", 2), int("end", 3)]);
            b.op("Max", &[&there, &total])
        }
        false => total,
    };
    let at = Decoder { new, rows, past };
    let [mut q, mut k, v] = parts;
    if b.int("do_rotary", 0) != 0 {
        let positions = positions(b, &at);
        q = rotated(b, &q, &positions)?;
        k = rotated(b, &k, &positions)?;
    }
    let keys = cached(b, &at, &k, 3);
    let values = cached(b, &at, &v, 4);
    // Each new token sees its own row of the cache and those before it, as far as the window reaches.
    let mut attributes = vec![int("is_causal", 1), float("softcap", b.float("softcap", 0.0))];
    let scale = b.float("scale", 0.0);
    if scale != 0.0 {
        attributes.push(float("scale", scale));
    }
    let window = b.int("local_window_size", -1);
    if window > 0 {
        attributes.push(int("left_window_size", window - 1));
    }
    let bias = b.input(10);
    let y = b.with("Attention", &[&q, &keys, &values, &bias, "", "", &seen], attributes);
    let y = b.with("Transpose", &[&y], vec![ints("perm", &[0, 2, 1, 3])]);
    let flat = b.list(&[0, 0, -1]);
    let y = b.op("Reshape", &[&y, &flat]);
    for (index, value) in [y, keys, values].into_iter().enumerate() {
        b.give(index, value);
    }
    Ok(())
}

/// An input of integers as int64 of a shape.
fn whole(b: &mut Body<'_>, index: usize, shape: &[i64]) -> Result<String> {
    let value = b.required(index)?;
    let value = b.with("Cast", &[&value], vec![int("to", i64::from(DType::I64.onnx()))]);
    let shape = b.list(shape);
    Ok(b.op("Reshape", &[&value, &shape]))
}

/// Queries, keys and values as `[batch, heads, new, d]`.
fn parts(b: &mut Body<'_>, [heads, shared]: [i64; 2]) -> Result<[String; 3]> {
    let by_head = |b: &mut Body<'_>, value: &str, heads: i64| {
        let shape = b.list(&[0, 0, heads, -1]);
        b.op("Reshape", &[value, &shape])
    };
    let query = b.required(0)?;
    let lists = if b.has(1) || b.has(2) {
        let (key, value) = (b.required(1)?, b.required(2)?);
        [by_head(b, &query, heads), by_head(b, &key, shared), by_head(b, &value, shared)]
    } else {
        let all = by_head(b, &query, heads + 2 * shared);
        let sizes = b.list(&[heads, shared, shared]);
        let made = b.nodes("Split", &[&all, &sizes], vec![int("axis", 2)], 3);
        <[String; 3]>::try_from(made).map_err(|_| Error::internal("a Split into other than three"))?
    };
    Ok(lists.map(|list| b.with("Transpose", &[&list], vec![ints("perm", &[0, 2, 1, 3])])))
}

/// 0, 1, … up to a size `[1]`, in this shape.
fn count_to(b: &mut Body<'_>, size: &str, shape: &[i64]) -> String {
    let scalar = b.list(&[]);
    let end = b.op("Reshape", &[size, &scalar]);
    let (zero, one) = (b.list(&[0]), b.list(&[1]));
    let [start, step] = [zero, one].map(|list| b.op("Reshape", &[&list, &scalar]));
    let list = b.op("Range", &[&start, &end, &step]);
    let shape = b.list(shape);
    b.op("Reshape", &[&list, &shape])
}

/// The place of each new token in its sequence, `[batch, new]`.
fn positions(b: &mut Body<'_>, at: &Decoder) -> String {
    if b.has(9) {
        return b.input(9);
    }
    let shape = b.list(&[-1, 1]);
    let past = b.op("Reshape", &[&at.past, &shape]);
    let new = count_to(b, &at.new, &[1, -1]);
    let places = b.op("Add", &[&past, &new]);
    // Of the first tokens of all there is one row for all sequences.
    let size = b.with("Shape", &[&b.input(0)], vec![int("start", 0), int("end", 1)]);
    let shape = b.with("Concat", &[&size, &at.new], vec![int("axis", 0)]);
    b.op("Expand", &[&places, &shape])
}

fn rotated(b: &mut Body<'_>, value: &str, positions: &str) -> Result<String> {
    let (cosines, sines) = (b.required(7)?, b.required(8)?);
    let width = (b.known)(&cosines).last.unwrap_or(0);
    let dim = i64::try_from(width).ok().and_then(|width| width.checked_mul(2)).unwrap_or(0);
    let attributes =
        vec![int("interleaved", b.int("rotary_interleaved", 0)), int("rotary_embedding_dim", dim)];
    Ok(b.with("RotaryEmbedding", &[value, &cosines, &sines, positions], attributes))
}

/// The cache of input `index` with new rows: of each sequence behind those that are there. What lies behind
/// these stays as it is, and nothing sees it.
fn cached(b: &mut Body<'_>, at: &Decoder, new: &str, index: usize) -> String {
    let (from, cache) = match b.has(index) {
        true => (b.input(index), true),
        false => (new.to_string(), false),
    };
    let there = b.with("Shape", &[&from], vec![int("start", 2), int("end", 3)]);
    let more = b.op("Sub", &[&at.rows, &there]);
    let (none, behind) = (b.list(&[0, 0, 0, 0, 0, 0]), b.list(&[0]));
    let pads = b.with("Concat", &[&none, &more, &behind], vec![int("axis", 0)]);
    let long = b.op("Pad", &[&from, &pads]);
    if cache { b.with("TensorScatter", &[&long, new, &at.past], vec![]) } else { long }
}
