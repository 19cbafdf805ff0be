//! The walk through all rows, of numbers or of numbers with their errors.

use super::{LinearAttention, Sizes};
use crate::error::Result;
use crate::tensor::{allocate, element_count};

/// What a walk through all rows is made of: a number, or one with its error.
pub trait Number: Copy {
    const ZERO: Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn exponential(self) -> Self;
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    fn minus(self, other: f64) -> f64 {
        self - other
    }
    fn times(self, other: f64) -> f64 {
        self * other
    }
    fn exponential(self) -> f64 {
        self.exp()
    }
}

/// The inputs' elements, in order.
pub struct Given<N> {
    pub queries: Vec<N>,
    pub keys: Vec<N>,
    pub values: Vec<N>,
    pub past: Option<Vec<N>>,
    pub decay: Option<Vec<N>>,
    pub beta: Option<Vec<N>>,
}

impl LinearAttention {
    /// What is read, and the state behind it.
    pub fn walk<N: Number>(&self, sizes: &Sizes, given: Given<N>, scale: N) -> Result<(Vec<N>, Vec<N>)> {
        let Sizes { batch, rows, depth, value_depth } = *sizes;
        let Given { queries, keys, values, past, decay, beta } = given;
        let kept = [batch, self.kv_heads, depth, value_depth];
        let shape = [batch, rows, self.heads.saturating_mul(value_depth)];
        let none = |count: usize| -> Result<Vec<N>> {
            let mut list = allocate(count)?;
            list.resize(count, N::ZERO);
            Ok(list)
        };
        let mut states = match past {
            Some(past) => past,
            None => none(element_count(&kept)?)?,
        };
        let mut ys = none(element_count(&shape)?)?;
        let shared = self.heads / self.kv_heads;
        let mut update = none(value_depth)?;
        let groups = if states.is_empty() { 0 } else { batch * self.kv_heads };
        for (group, state) in states.chunks_exact_mut((depth * value_depth).max(1)).enumerate().take(groups) {
            let (sample, head) = (group / self.kv_heads, group % self.kv_heads);
            for row in sample * rows..(sample + 1) * rows {
                let key = &keys[(row * self.kv_heads + head) * depth..][..depth];
                update.copy_from_slice(&values[(row * self.kv_heads + head) * value_depth..][..value_depth]);
                if let Some(decay) = &decay {
                    let last = decay.len() / (batch * rows);
                    for (d, state) in state.chunks_exact_mut(value_depth).enumerate() {
                        let at = if last == self.kv_heads { head } else { head * depth + d };
                        let factor = decay[row * last + at].exponential();
                        state.iter_mut().for_each(|x| *x = x.times(factor));
                    }
                }
                if let Some(beta) = &beta {
                    let last = beta.len() / (batch * rows);
                    let rate = beta[row * last + head % last];
                    for (at, update) in update.iter_mut().enumerate() {
                        let terms = key.iter().enumerate();
                        let read =
                            terms.fold(N::ZERO, |sum, (d, k)| sum.plus(k.times(state[d * value_depth + at])));
                        *update = rate.times(update.minus(read));
                    }
                }
                for (k, state) in key.iter().zip(state.chunks_exact_mut(value_depth)) {
                    state.iter_mut().zip(&update).for_each(|(x, &v)| *x = x.plus(k.times(v)));
                }
                for reader in head * shared..(head + 1) * shared {
                    let query = &queries[(row * self.heads + reader) * depth..][..depth];
                    let to = &mut ys[(row * self.heads + reader) * value_depth..][..value_depth];
                    for (&q, state) in query.iter().zip(state.chunks_exact(value_depth)) {
                        let q = scale.times(q);
                        to.iter_mut().zip(state).for_each(|(to, &x)| *to = to.plus(q.times(x)));
                    }
                }
            }
        }
        Ok((ys, states))
    }
}
