//! Normalisations of a sum: of a residual, of embeddings.

use super::{Body, float, int};
use crate::error::Result;

/// X over the root of the mean of its squares, times a scale.
pub fn simplified(b: &mut Body<'_>) -> Result<()> {
    let attributes = ["axis", "epsilon", "stash_type"].iter().filter_map(|name| b.passed(name)).collect();
    let y = b.with("RMSNormalization", &[&b.required(0)?, &b.required(1)?], attributes);
    b.give(0, y);
    Ok(())
}

/// LayerNormalization(input + skip + bias).
pub fn skip(b: &mut Body<'_>) -> Result<()> {
    skipped(b, Some(3), 4)
}

/// RMSNormalization(input + skip + bias).
pub fn skip_simplified(b: &mut Body<'_>) -> Result<()> {
    skipped(b, None, 3)
}

/// `beta` and `bias`: the inputs that hold them. Output 3 is the sum.
fn skipped(b: &mut Body<'_>, beta: Option<usize>, bias: usize) -> Result<()> {
    let epsilon = b.float("epsilon", 1e-12);
    b.required(1)?;
    // The bias before the residual: a product that makes the input takes both.
    let sum = b.plus(b.required(0)?, bias);
    let sum = b.plus(sum, 1);
    let attributes = vec![int("axis", -1), float("epsilon", epsilon)];
    let y = match beta {
        Some(beta) => b.with("LayerNormalization", &[&sum, &b.required(2)?, &b.input(beta)], attributes),
        None => b.with("RMSNormalization", &[&sum, &b.required(2)?], attributes),
    };
    b.give(0, y);
    b.give(3, sum);
    Ok(())
}

/// The sum of a token's, its position's and its segment's embedding, normalised; and how many tokens of each
/// row are none of padding.
pub fn embed(b: &mut Body<'_>) -> Result<()> {
    let epsilon = b.float("epsilon", 1e-12);
    b.only("mask_index_type", 0)?;
    let ids = b.required(0)?;
    let words = b.op("Gather", &[&b.required(2)?, &ids]);
    let positions = if b.has(8) {
        b.op("Gather", &[&b.required(3)?, &b.input(8)])
    } else {
        // The first rows of the table, as many as a sequence is long.
        let length = b.with("Shape", &[&ids], vec![int("start", 1), int("end", 2)]);
        let zero = b.list(&[0]);
        b.op("Slice", &[&b.required(3)?, &zero, &length, &zero])
    };
    let mut sum = b.op("Add", &[&words, &positions]);
    if b.has(1) {
        let segments = b.op("Gather", &[&b.required(4)?, &b.input(1)]);
        sum = b.op("Add", &[&sum, &segments]);
    }
    let y = b.with(
        "LayerNormalization",
        &[&sum, &b.required(5)?, &b.required(6)?],
        vec![int("axis", -1), float("epsilon", epsilon)],
    );
    b.give(0, y);
    b.give(2, sum);
    if b.wants(1) {
        let counts = if b.has(7) {
            let ones = b.with("Cast", &[&b.input(7)], vec![int("to", 6)]);
            let axis = b.list(&[1]);
            b.with("ReduceSum", &[&ones, &axis], vec![int("keepdims", 0)])
        } else {
            // onnxruntime gives zeros without a mask.
            let batch = b.with("Shape", &[&ids], vec![int("start", 0), int("end", 1)]);
            let zero = b.list(&[0]);
            let zero = b.with("Cast", &[&zero], vec![int("to", 6)]);
            b.op("Expand", &[&zero, &batch])
        };
        b.give_of_rank(1, counts, 1);
    }
    Ok(())
}
