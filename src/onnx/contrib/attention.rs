//! Attention of heads as they follow one another in a row, and rotary positions.

use super::{Body, UNOPTIMISED, float, int};
use crate::error::{Error, Result};

/// The products of one input by the weights of Q, K and V side by side, and their attention.
pub fn attention(b: &mut Body<'_>) -> Result<()> {
    b.refuse(6, "past keys and values in one buffer")?;
    let product = b.op("MatMul", &[&b.required(0)?, &b.required(1)?]);
    let product = b.plus(product, 2);
    of_product(b, &product, 3, Some(5), 4)
}

/// The attention of Q, K and V side by side. Inputs by their places: what is padding, what is added to the
/// scores, and past keys and values, `[2, batch, heads, rows, d]`.
pub(super) fn of_product(
    b: &mut Body<'_>,
    product: &str,
    padding: usize,
    added: Option<usize>,
    past: usize,
) -> Result<()> {
    b.only("do_rotary", 0)?;
    b.only("past_present_share_buffer", 0)?;
    b.int("rotary_embedding_dim", 0);
    let sizes = b.passed("qkv_hidden_sizes").map(|attribute| attribute.ints);
    let parts = match sizes {
        Some(sizes) => {
            let sizes = b.list(&sizes);
            b.nodes("Split", &[product, &sizes], vec![int("axis", -1)], 3)
        }
        None => thirds(b, product, -1),
    };
    let (mask, lengths) = mask(b, padding, added)?;
    let mut before = [String::new(), String::new()];
    if b.has(past) {
        for (place, name) in (0..).zip(&mut before) {
            let place = b.with("Constant", &[], vec![int("value_int", place)]);
            *name = b.with("Gather", &[&b.input(past), &place], vec![int("axis", 0)]);
        }
    }
    let made = attended(b, &parts, [&mask, &before[0], &before[1], &lengths]);
    // Keys and values come out in one tensor too.
    if let [_, keys, values] = &made[..] {
        let first = b.list(&[0]);
        let keys = b.op("Unsqueeze", &[keys, &first]);
        let values = b.op("Unsqueeze", &[values, &first]);
        let both = b.with("Concat", &[&keys, &values], vec![int("axis", 0)]);
        b.give(1, both);
    }
    if let Some(y) = made.into_iter().next() {
        b.give(0, y);
    }
    Ok(())
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
    let (mask, lengths) = mask(b, 4, Some(5))?;
    let past = [b.input(6), b.input(7)];
    let made = attended(b, &parts, [&mask, &past[0], &past[1], &lengths]);
    for (index, value) in made.into_iter().enumerate() {
        b.give(index, value);
    }
    Ok(())
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

/// The attention itself, of Q, K and V; `others`: the mask, past keys and values, how many keys count. Its
/// result, and keys and values with the past ones where they are asked for.
fn attended(b: &mut Body<'_>, parts: &[String], others: [&str; 4]) -> Vec<String> {
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
    let others = [mask, past_keys, past_values, lengths];
    let inputs: Vec<&str> = parts.iter().map(String::as_str).chain(others).collect();
    b.nodes("Attention", &inputs, attributes, outputs)
}

/// The mask and the number of keys that count, each a name or nothing, from the inputs that hold what is
/// padding, and what is added.
fn mask(b: &mut Body<'_>, padding: usize, added: Option<usize>) -> Result<(String, String)> {
    let added = added.map(|index| b.input(index)).unwrap_or_default();
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
