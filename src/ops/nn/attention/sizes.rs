//! The sizes of an attention, read from its inputs' shapes and checked, and which keys a query may see.

use super::{Attention, LENGTHS, MASK, PAST};
use crate::base::{Fact, Operands};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, element_count};
use std::ops::Range;

/// The sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionSizes {
    pub batch: usize,
    pub heads: usize,
    /// Each head of K and V serves `heads / kv_heads` of Q.
    pub kv_heads: usize,
    pub queries: usize,
    /// Keys that come before those of K.
    pub past: usize,
    /// All keys, past ones included.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub depth: usize,
    /// Elements of a value.
    pub value_depth: usize,
    /// Q, K, V and Y have 3 axes, heads and their elements being one.
    pub flat: bool,
}

impl AttentionSizes {
    /// Reads the sizes of an operator's inputs.
    ///
    /// Errors: shapes that don't fit together, and sizes that are beyond counting.
    pub fn of(op: &Attention, inputs: Operands<'_, Fact>) -> Result<Self> {
        let shape = |index: usize| inputs.optional(index).map(|fact| &fact.shape[..]);
        Self::new(
            op,
            &[shape(0), shape(1), shape(2), shape(MASK), shape(PAST), shape(PAST + 1), shape(LENGTHS)],
        )
    }

    /// The same of tensors.
    pub fn of_tensors(op: &Attention, inputs: Operands<'_, Tensor>) -> Result<Self> {
        let shape = |index: usize| inputs.optional(index).map(Tensor::shape);
        Self::new(
            op,
            &[shape(0), shape(1), shape(2), shape(MASK), shape(PAST), shape(PAST + 1), shape(LENGTHS)],
        )
    }

    fn new(op: &Attention, shapes: &[Option<&[usize]>; 7]) -> Result<Self> {
        let &[Some(q), Some(k), Some(v), mask, past_key, past_value, lengths] = shapes else {
            return Err(Error::model("attention without a query, a key or a value"));
        };
        // As [batch, heads, rows, depth].
        let four = |shape: &[usize], heads: usize| -> Result<[usize; 4]> {
            match *shape {
                [b, h, s, d] => Ok([b, h, s, d]),
                [b, s, hidden] if heads > 0 && hidden % heads == 0 => Ok([b, heads, s, hidden / heads]),
                [_, _, hidden] if heads > 0 => {
                    Err(Error::model(format!("{hidden} elements don't make {heads} heads")))
                }
                [_, _, _] => Err(Error::model("3-D inputs without 'q_num_heads' and 'kv_num_heads'")),
                _ => Err(Error::model(format!("an input of shape {shape:?}; attention takes 3 or 4 axes"))),
            }
        };
        let [heads, kv_heads] = op.heads.unwrap_or([0, 0]);
        let flat = q.len() == 3;
        if (k.len() == 3) != flat || (v.len() == 3) != flat {
            return Err(Error::model(format!("inputs of several ranks: {q:?}, {k:?} and {v:?}")));
        }
        let (q, mut k, v) = (four(q, heads)?, four(k, kv_heads)?, four(v, kv_heads)?);
        if op.transposed_keys {
            k.swap(2, 3);
        }
        let misfit = |what: &str, a: [usize; 4], b: [usize; 4]| {
            Error::model(format!("the shapes {a:?} and {b:?} ([batch, heads, rows, depth]) have {what}"))
        };
        if q[0] != k[0] || k[0] != v[0] {
            return Err(misfit("different batches", q, if q[0] != k[0] { k } else { v }));
        }
        if q[3] != k[3] {
            return Err(misfit("different depths", q, k));
        }
        if k[1] != v[1] || k[2] != v[2] {
            return Err(misfit("different heads or keys", k, v));
        }
        if k[1] == 0 || !q[1].is_multiple_of(k[1]) {
            return Err(misfit("heads that don't divide", q, k));
        }
        let past = match (past_key, past_value) {
            (None, None) => 0,
            (Some(&[b, h, past, d]), Some(&[vb, vh, v_past, vd]))
                if [b, h, d, vb, vh, v_past, vd] == [k[0], k[1], k[3], k[0], k[1], past, v[3]] =>
            {
                past
            }
            (Some(a), Some(b)) => {
                return Err(Error::model(format!(
                    "past keys of shape {a:?} and values of {b:?} don't fit keys of {k:?}"
                )));
            }
            _ => return Err(Error::model("of past keys and past values only one is given")),
        };
        let keys = past.checked_add(k[2]).ok_or_else(|| Error::model("more keys than can be counted"))?;
        let sizes = Self {
            batch: q[0],
            heads: q[1],
            kv_heads: k[1],
            queries: q[2],
            past,
            keys,
            depth: q[3],
            value_depth: v[3],
            flat,
        };
        if let Some(lengths) = lengths {
            if lengths != [sizes.batch] {
                return Err(Error::model(format!(
                    "numbers of valid keys of shape {lengths:?} for a batch of {}",
                    sizes.batch
                )));
            }
            if past_key.is_some() {
                return Err(Error::model("past keys and numbers of valid keys together"));
            }
        }
        if let Some(mask) = mask {
            sizes.check_mask(mask)?;
        }
        element_count(&[sizes.batch, sizes.heads, sizes.queries, sizes.keys])?;
        element_count(&[sizes.batch, sizes.heads, sizes.queries, sizes.value_depth])?;
        element_count(&[sizes.batch, sizes.kv_heads, sizes.keys, sizes.depth.max(sizes.value_depth)])?;
        Ok(sizes)
    }

    /// A mask broadcasts to the scores; its last axis may be shorter, and masks the keys behind it.
    fn check_mask(&self, mask: &[usize]) -> Result<()> {
        let whole = [self.batch, self.heads, self.queries];
        let fits = match mask.split_last() {
            Some((&keys, outer)) => {
                keys <= self.keys
                    && outer.len() <= 3
                    && outer
                        .iter()
                        .rev()
                        .zip(whole.iter().rev())
                        .all(|(&have, &want)| have == want || have == 1)
            }
            None => false,
        };
        if fits {
            return Ok(());
        }
        Err(Error::model(format!(
            "a mask of shape {mask:?} doesn't broadcast to [{}, {}, {}, {}]",
            self.batch, self.heads, self.queries, self.keys
        )))
    }

    /// The shape of Y.
    pub fn result(&self, op: &Attention) -> Vec<usize> {
        if self.flat {
            return vec![self.batch, self.queries, self.heads.saturating_mul(self.value_depth)];
        }
        let whole = [self.batch, self.heads, self.queries, self.value_depth];
        op.order.iter().map(|&axis| whole[axis.min(3)]).collect()
    }
}

/// What limits the keys that queries see, but for a mask.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    pub causal: bool,
    pub window: [Option<usize>; 2],
    pub keys: usize,
    /// The key that query 0 is at.
    pub offset: i64,
}

impl Reach {
    /// The reach in a batch with so many valid keys, where these are given.
    pub fn new(op: &Attention, sizes: &AttentionSizes, valid: Option<i64>) -> Self {
        let keys = valid.map_or(sizes.keys, |valid| usize::try_from(valid).unwrap_or(0).min(sizes.keys));
        let offset = valid.map_or(sizes.past as i64, |valid| valid.saturating_sub(sizes.queries as i64));
        Self { causal: op.causal, window: op.window, keys, offset }
    }
    /// The keys that any of so many queries sees.
    pub fn of_all(&self, queries: usize) -> Range<usize> {
        let (first, _) = self.of(0);
        let (_, behind) = self.of(queries.saturating_sub(1));
        first..behind.clamp(first, self.keys.max(first))
    }
    /// The keys that a query sees: from the first to the one behind the last.
    pub fn of(&self, query: usize) -> (usize, usize) {
        let own = self.offset.saturating_add(query as i64);
        let clip = |key: i64| usize::try_from(key.max(0)).unwrap_or(usize::MAX);
        let first = self.window[0].map_or(0, |left| clip(own.saturating_sub(left as i64)));
        let mut behind = self.keys;
        if self.causal {
            behind = behind.min(clip(own.saturating_add(1)));
        }
        if let Some(right) = self.window[1] {
            behind = behind.min(clip(own.saturating_add(right as i64).saturating_add(1)));
        }
        (first, behind)
    }
}
