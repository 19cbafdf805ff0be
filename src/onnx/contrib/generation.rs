//! What generation of text does to the scores of the next token.

use super::{Body, int};
use crate::error::{Error, Result};

/// −∞ for each token that would complete a run of `ngram_size` tokens which the sequence has already: of each
/// run of it, all but the last token are compared with the sequence's own last ones.
pub fn ngram_repeat_block(b: &mut Body<'_>) -> Result<()> {
    let (tokens, scores) = (b.required(0)?, b.required(1)?);
    let size = b.int("ngram_size", 0);
    if !(1..=64).contains(&size) {
        return Err(Error::model(format!("attribute 'ngram_size' is {size}; 1 to 64 are taken")));
    }
    let axis = b.list(&[1]);
    // Column k of every run: the runs end where the sequence does.
    let column = |b: &mut Body<'_>, k: i64| {
        let (from, to) = (b.list(&[k]), b.list(&[if k == size - 1 { i64::MAX } else { k + 1 - size }]));
        b.op("Slice", &[&tokens, &from, &to, &axis])
    };
    let completed = column(b, size - 1);
    let (low, high) = (b.number(f32::NEG_INFINITY, &scores), b.number(f32::INFINITY, &scores));
    let mut found: Option<String> = None;
    for k in 0..size - 1 {
        let own = column(b, k);
        let (from, to) =
            (b.list(&[k + 1 - size]), b.list(&[if k == size - 2 { i64::MAX } else { k + 2 - size }]));
        let last = b.op("Slice", &[&tokens, &from, &to, &axis]);
        let same = b.op("Equal", &[&own, &last]);
        found = Some(match found {
            Some(found) => b.op("And", &[&found, &same]),
            None => same,
        });
    }
    let found = match found {
        Some(found) => found,
        // Runs of one token: each that there is.
        None => b.op("Equal", &[&completed, &completed]),
    };
    // The lower of a score and ±∞ is −∞ or the score itself.
    let updates = b.op("Where", &[&found, &low, &high]);
    let attributes = vec![int("axis", 1), super::text("reduction", "min")];
    let y = b.with("ScatterElements", &[&scores, &completed, &updates], attributes);
    b.give(0, y);
    Ok(())
}
