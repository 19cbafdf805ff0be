//! Which place of a sequence a step is at: sequences of a batch may be of several lengths, and run in
//! reverse, from their own end.

use super::sizes::Sizes;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, cast, zeros};

/// A batch of sequences.
pub struct Sequence {
    sizes: Sizes,
    batch_first: bool,
    /// The length of each; `None`: all have all steps.
    lengths: Option<Vec<usize>>,
}

impl Sequence {
    pub fn of(sizes: &Sizes, batch_first: bool, lengths: Option<&Tensor>) -> Result<Self> {
        let fits = |length: i64| {
            usize::try_from(length).ok().filter(|&length| length <= sizes.steps).ok_or_else(|| {
                Error::input(format!("a sequence of length {length} among those of {} steps", sizes.steps))
            })
        };
        let lengths = lengths.map(Tensor::to_i64s).transpose()?;
        let lengths =
            lengths.map(|list| list.into_iter().map(fits).collect::<Result<Vec<_>>>()).transpose()?;
        let lengths = lengths.filter(|list| list.iter().any(|&length| length != sizes.steps));
        Ok(Self { sizes: *sizes, batch_first, lengths })
    }

    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    pub fn steps(&self) -> usize {
        self.sizes.steps
    }

    /// The steps of one sequence of the batch.
    pub fn length(&self, batch: usize) -> usize {
        self.lengths.as_ref().map_or(self.sizes.steps, |list| list[batch])
    }

    /// The step at a place, or the place of a step: one is as far from the start as the other from the end.
    fn turned(&self, at: usize, batch: usize, reverse: bool) -> Option<usize> {
        let length = self.length(batch);
        (at < length).then(|| if reverse { length - 1 - at } else { at })
    }

    /// x as rows `[steps · batch, input]` in the order of the steps; zeros behind a sequence's end.
    pub fn rows(&self, x: &Tensor, reverse: bool) -> Result<Tensor> {
        let Sizes { steps, batch, input, .. } = self.sizes;
        let shape = [steps.saturating_mul(batch), input];
        if !reverse && self.lengths.is_none() && (!self.batch_first || steps == 1 || batch == 1) {
            return x.reshape(shape);
        }
        if input == 0 {
            return x.pick(shape, |_| None);
        }
        let nothing = zero(x.dtype(), &[input])?;
        Tensor::runs(&[x, &nothing], shape, input, |row| {
            let (step, of) = (row / batch, row % batch);
            let Some(place) = self.turned(step, of, reverse) else { return (1, 0) };
            let row = if self.batch_first { of * steps + place } else { place * batch + of };
            (0, row * input)
        })
    }

    /// A direction's first state `[batch, hidden]`.
    pub fn initial(&self, dtype: DType, given: Option<&Tensor>, direction: usize) -> Result<Tensor> {
        let Sizes { batch, hidden, directions, .. } = self.sizes;
        match given {
            None => zero(dtype, &[batch, hidden]),
            Some(given) => given.pick([batch, hidden], |at| {
                let (of, column) = (at / hidden, at % hidden);
                let row = if self.batch_first { of * directions + direction } else { direction * batch + of };
                Some(row * hidden + column)
            }),
        }
    }

    /// The new state, and the old one for sequences that are over.
    pub fn advanced(&self, step: usize, old: &Tensor, new: Tensor) -> Result<Tensor> {
        if self.lengths.as_ref().is_none_or(|list| list.iter().all(|&length| step < length)) {
            return Ok(new);
        }
        let count = old.len();
        let pool = Tensor::chain(&[old, &new])?;
        pool.pick(old.shape(), |at| {
            Some(if step < self.length(at / self.sizes.hidden) { count + at } else { at })
        })
    }

    /// Y: the states after each step of each direction, where they belong; zeros behind a sequence's end.
    pub fn joined(&self, dtype: DType, made: &[(bool, Vec<Tensor>)]) -> Result<Tensor> {
        let Sizes { steps, batch, hidden, directions, .. } = self.sizes;
        let nothing = zero(dtype, &[hidden])?;
        let parts: Vec<&Tensor> =
            made.iter().flat_map(|(_, list)| list).chain(std::iter::once(&nothing)).collect();
        let shape = if self.batch_first {
            [batch, steps, directions, hidden]
        } else {
            [steps, directions, batch, hidden]
        };
        Tensor::runs(&parts, shape, hidden, |row| {
            let (place, direction, of) = if self.batch_first {
                (row / directions % steps, row % directions, row / directions / steps)
            } else {
                (row / batch / directions, row / batch % directions, row % batch)
            };
            match self.turned(place, of, made[direction].0) {
                Some(step) => (direction * steps + step, of * hidden),
                None => (parts.len() - 1, 0),
            }
        })
    }

    /// The directions' last states as an output.
    pub fn last(&self, parts: &[&Tensor]) -> Result<Tensor> {
        let Sizes { batch, hidden, directions, .. } = self.sizes;
        let pool = Tensor::chain(parts)?;
        if !self.batch_first {
            return pool.reshape([directions, batch, hidden]);
        }
        pool.pick([batch, directions, hidden], |at| {
            let (row, column) = (at / hidden, at % hidden);
            Some((row % directions * batch + row / directions) * hidden + column)
        })
    }
}

/// Zeros of a float type.
pub fn zero(dtype: DType, shape: &[usize]) -> Result<Tensor> {
    let count = crate::tensor::element_count(shape)?;
    cast(&Tensor::new(shape, zeros::<f32>(count)?)?, dtype, true)
}
