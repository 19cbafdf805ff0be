//! Recurrent networks on the GPU: the input's products by all gates at once, then one dispatch that walks the
//! sequences.

use super::sequence::Sequence;
use super::sizes::Sizes;
use super::{Cell, Recurrent};
use crate::base::{BufferId, Fact, Layout, Unsupported, View};
use crate::kernels::recurrent::{Direction, Extents, Form, Given, Made, emit};
use crate::kernels::{Lowering, matmul};
use crate::ops::Lower;
use crate::tensor::DType;

impl Lower for Recurrent {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        at.holds_sums(0)?;
        let dtype = at.fact(0)?.dtype;
        let s = {
            let shapes = |index: usize| at.fact(index).ok().map(|fact| &fact.shape[..]);
            Sizes::of(self, &shapes)?
        };
        let states = self.cell.states();
        let every_state = at.has_output(0).then(|| at.output(0, Layout::Rows4)).transpose()?;
        let of_last = if self.batch_first {
            vec![s.batch, s.directions, s.hidden]
        } else {
            vec![s.directions, s.batch, s.hidden]
        };
        let mut last = vec![];
        for index in 1..=states {
            last.push(if at.has_output(index) {
                at.output(index, Layout::Rows4)?
            } else {
                at.scratch(&Fact::new(dtype, of_last.clone()), Layout::Rows4)?
            });
        }
        if s.batch == 0 {
            return Ok(());
        }
        let (gates, last_memory) = (self.cell.gates(), if states > 1 { last.pop() } else { None });
        let last = last.pop().ok_or_else(|| Unsupported::new("a network without a state"))?;

        let part = self.part(at, &s, dtype)?;
        let recurrence = at.view(2)?.reshaped_or(&[s.directions, gates, s.hidden, s.hidden], "weights")?;
        let recurrence = at.in_layout(recurrence.permuted(&[0, 3, 1, 2]), Layout::Rows4)?.buffer;
        let (extras, rows) = self.extras(at, &s, dtype)?;
        let lengths = match at.has_input(4) {
            false => None,
            true => {
                // Known lengths are held to the steps here, others in a run.
                Sequence::of(&s, self.batch_first, at.constant(4))?;
                let format = at.storage(at.fact(4)?.dtype)?;
                let view = at.input(4, Layout::Dense)?;
                // A length of all steps is one, so that they are indices of a step more.
                Some((view, format, at.report(4, 0, vec![s.steps.saturating_add(1)], false)))
            }
        };
        let directions: Vec<Direction> = self
            .reverse
            .iter()
            .enumerate()
            .map(|(direction, &reverse)| Direction {
                reverse,
                expressions: self
                    .equations(direction, at.has_input(7))
                    .expressions()
                    .into_iter()
                    .cloned()
                    .collect(),
            })
            .collect();
        let extents = if self.batch_first {
            Extents {
                steps: s.steps,
                batch: s.batch,
                hidden: s.hidden,
                part: [1, s.steps],
                all: [s.directions, s.steps.saturating_mul(s.directions), 1],
                last: [s.directions, 1],
            }
        } else {
            Extents {
                steps: s.steps,
                batch: s.batch,
                hidden: s.hidden,
                part: [s.batch, 1],
                all: [s.directions.saturating_mul(s.batch), 1, s.batch],
                last: [1, s.batch],
            }
        };
        let form = match self.cell {
            Cell::Rnn => Form::Plain,
            Cell::Gru { linear_before_reset: false } => Form::ResetFirst,
            Cell::Gru { linear_before_reset: true } => Form::ResetLast,
            Cell::Lstm { .. } => Form::Lstm,
        };
        let given = Given { part, recurrence, extras, rows, lengths };
        let made = Made {
            all: every_state.map(|view| view.buffer),
            last: last.buffer,
            memory: last_memory.map(|view| view.buffer),
        };
        emit(at, storage, form, &directions, &extents, &given, &made)
    }
}

impl Recurrent {
    /// The products of all steps by all gates of all directions: a row for each step of each sequence, in the
    /// order of x.
    fn part(&self, at: &mut dyn Lowering, s: &Sizes, dtype: DType) -> Result<View, Unsupported> {
        let columns = s.directions.saturating_mul(self.cell.gates()).saturating_mul(s.hidden);
        let rows = s.steps.saturating_mul(s.batch);
        if rows == 0 {
            return at.scratch(&Fact::new(dtype, vec![1, columns]), Layout::Rows4);
        }
        let x = at.view(0)?;
        let x = at.reshaped(x, &[rows, s.input], "a sequence without elements")?;
        let weights = at.view(1)?.reshaped_or(&[columns, s.input], "weights")?.permuted(&[1, 0]);
        matmul::computed(at, dtype, [x, weights], &[], [rows, columns, s.input])
    }

    /// Biases, peepholes, first states and cells as rows of one buffer, with the row at which each begins.
    fn extras(
        &self,
        at: &mut dyn Lowering,
        s: &Sizes,
        dtype: DType,
    ) -> Result<(Option<BufferId>, [Option<usize>; 4]), Unsupported> {
        let states = s.batch.saturating_mul(s.directions);
        let counts = [
            (3, s.directions.saturating_mul(2 * self.cell.gates())),
            (7, s.directions.saturating_mul(3)),
            (5, states),
            (6, states),
        ];
        let (mut rows, mut views, mut count) = ([None; 4], vec![], 0usize);
        for ((index, number), row) in counts.into_iter().zip(&mut rows) {
            if at.has_input(index) {
                let view = at.view(index)?;
                views.push((count, at.reshaped(view, &[number, s.hidden], "a state without numbers")?));
                *row = Some(count);
                count = count.saturating_add(number);
            }
        }
        if let [(_, view)] = &views[..] {
            return Ok((Some(at.in_layout(view.clone(), Layout::Rows4)?.buffer), rows));
        }
        if views.is_empty() {
            return Ok((None, rows));
        }
        let all = at.scratch(&Fact::new(dtype, vec![count, s.hidden]), Layout::Rows4)?;
        for (first, view) in views {
            let offset = first.saturating_mul(s.hidden.next_multiple_of(4));
            at.copy(&view, &View { shape: view.shape.clone(), offset, ..all.clone() })?;
        }
        Ok((Some(all.buffer), rows))
    }
}
