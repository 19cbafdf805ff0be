//! Attention of heads as they follow one another in a row, and rotary positions.

use super::{Body, UNOPTIMISED, float, int};
use crate::error::{Error, Result};

/// The products of one input by the weights of Q, K and V side by side, and their attention.
pub fn attention(b: &mut Body<'_>) -> Result<()> {
    b.refuse(4, "past keys and values in one tensor")?;
    b.refuse(6, "past keys and values in one buffer")?;
    b.only("do_rotary", 0)?;
    b.only("past_present_share_buffer", 0)?;
    b.int("rotary_embedding_dim", 0);
    let sizes = b.passed("qkv_hidden_sizes").map(|attribute| attribute.ints);
    let product = b.op("MatMul", &[&b.required(0)?, &b.required(1)?]);
    let product = b.plus(product, 2);
    let parts = match sizes {
        Some(sizes) => {
            let sizes = b.list(&sizes);
            b.nodes("Split", &[&product, &sizes], vec![int("axis", -1)], 3)
        }
        None => thirds(b, &product, -1),
    };
    let (mask, lengths) = mask(b, 3, 5)?;
    attend(b, &parts, [&mask, "", "", &lengths])
}

/// Attention of Q, K and V `[batch, rows, heads · d]`, with past keys and values.
pub fn multi_head(b: &mut Body<'_>) -> Result<()> {
    b.refuse(8, "past keys and values in one buffer")?;
    b.refuse(9, "a beam's cache")?;
    let mut parts = [b.required(0)?, b.required(1)?, b.required(2)?];
    for name in &parts {
        if b.rank(name).is_ok_and(|rank| rank != 3) {
            return Err(Error::unsupported("Q, K and V with heads as an axis")
                .at_tensor(name)
                .remedy(UNOPTIMISED));
        }
    }
    if b.has(3) {
        let bias = thirds(b, &b.input(3), 0);
        for (part, bias) in parts.iter_mut().zip(&bias) {
            *part = b.op("Add", &[part, bias]);
        }
    }
    let (mask, lengths) = mask(b, 4, 5)?;
    let past = [b.input(6), b.input(7)];
    attend(b, &parts, [&mask, &past[0], &past[1], &lengths])
}

/// The rotation, whose inputs come in another order.
pub fn rotary(b: &mut Body<'_>) -> Result<()> {
    b.only("is_packed_batching", 0)?;
    if b.float("scale", 1.0) != 1.0 {
        return Err(Error::unsupported("a scale other than 1").remedy(UNOPTIMISED));
    }
    let positions = b.required(1)?;
    if b.rank(&positions)? != 2 {
        return Err(Error::unsupported("positions that count from a first one")
            .at_tensor(&positions)
            .remedy(UNOPTIMISED));
    }
    let attributes = ["num_heads", "rotary_embedding_dim", "interleaved"]
        .iter()
        .filter_map(|name| b.passed(name))
        .collect();
    let y = b.with(
        "RotaryEmbedding",
        &[&b.required(0)?, &b.required(2)?, &b.required(3)?, &positions],
        attributes,
    );
    b.give(0, y);
    Ok(())
}

fn thirds(b: &mut Body<'_>, value: &str, axis: i64) -> Vec<String> {
    b.nodes("Split", &[value], vec![int("axis", axis), int("num_outputs", 3)], 3)
}

/// The attention itself; `others`: the mask, past keys and values, how many keys count.
fn attend(b: &mut Body<'_>, parts: &[String], others: [&str; 4]) -> Result<()> {
    let [q, k, v] = parts else { return Err(Error::internal("attention of other than three")) };
    let heads = b.int("num_heads", 0);
    let mut attributes = vec![
        int("q_num_heads", heads),
        int("kv_num_heads", heads),
        int("is_causal", b.int("unidirectional", 0)),
    ];
    let scale = b.float("scale", 0.0);
    if scale != 0.0 {
        attributes.push(float("scale", scale));
    }
    // A score of −10000 and one of −∞ leave the same of a key: nothing.
    b.float("mask_filter_value", -10000.0);
    let [mask, past_keys, past_values, lengths] = others;
    let outputs = if b.wants(1) || b.wants(2) { 3 } else { 1 };
    let made = b.nodes("Attention", &[q, k, v, mask, past_keys, past_values, lengths], attributes, outputs);
    for (index, value) in made.into_iter().enumerate() {
        b.give(index, value);
    }
    Ok(())
}

/// The mask and the number of keys that count, each a name or nothing, from the inputs that hold what is
/// padding, and what is added.
fn mask(b: &mut Body<'_>, padding: usize, added: usize) -> Result<(String, String)> {
    let added = b.input(added);
    if !b.has(padding) {
        return Ok((added, String::new()));
    }
    let padding = b.input(padding);
    let axes: &[i64] = match b.rank(&padding)? {
        // How many keys of each row count.
        1 => {
            let lengths = b.with("Cast", &[&padding], vec![int("to", 7)]);
            return Ok((added, lengths));
        }
        2 => &[1, 2],
        3 => &[1],
        rank => {
            return Err(Error::unsupported(format!("a mask of {rank} axes"))
                .at_tensor(&padding)
                .remedy(UNOPTIMISED));
        }
    };
    let seen = b.with("Cast", &[&padding], vec![int("to", 9)]);
    let axes = b.list(axes);
    let seen = b.op("Unsqueeze", &[&seen, &axes]);
    if added.is_empty() {
        return Ok((seen, String::new()));
    }
    let nothing = b.number(f32::NEG_INFINITY, &added);
    Ok((b.op("Where", &[&seen, &added, &nothing]), String::new()))
}
