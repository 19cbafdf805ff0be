//! The tape that cases are drawn from, what several of them need, and elementwise cases.

pub use super::indices::{gather, gather_elements};
pub use super::moves::{concat, pad, slice, views};

use super::array::{Array, Trial};
use sardonyx::tensor::DType;

/// Numbers that decide a case; beyond its end there are zeros, the simplest choices.
pub struct Tape<'a>(std::slice::Iter<'a, u16>);

impl<'a> Tape<'a> {
    pub fn new(numbers: &'a [u16]) -> Self {
        Self(numbers.iter())
    }
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % count
    }
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    /// Sizes of 1 to 5, seldom 0.
    pub fn size(&mut self) -> usize {
        self.pick(&[1, 2, 3, 4, 5, 3, 1, 2, 4, 5, 3, 2, 5, 4, 3, 0])
    }
    pub fn shape(&mut self, ranks: std::ops::RangeInclusive<usize>) -> Vec<usize> {
        let rank = ranks.start() + self.below(ranks.end() - ranks.start() + 1);
        (0..rank).map(|_| self.size()).collect()
    }
    /// A type whose elements move as they are.
    pub fn movable(&mut self) -> DType {
        self.pick(&[DType::F32, DType::I64, DType::F16, DType::I32, DType::Bool, DType::U8])
    }
    /// The numbers 0 to `count` − 1 in some order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut left: Vec<usize> = (0..count).collect();
        (0..count).map(|_| left.remove(self.below(left.len()))).collect()
    }
}

/// An array whose neighbours differ, in every movable type but bool.
pub fn counted(shape: &[usize]) -> Array {
    let mut next = 0;
    Array::build(shape, |_| {
        next += 1;
        next % 101
    })
}

fn small(tape: &mut Tape, shape: &[usize]) -> Array {
    let mut state = 1 + tape.below(1000) as i64;
    Array::build(shape, |_| {
        state = (state * 75 + 74) % 65_537;
        state % 9 - 4
    })
}

/// Elementwise chains over operands of any shapes that broadcast.
pub fn broadcasting(tape: &mut Tape) -> Trial {
    let full = tape.shape(0..=4);
    let dtype = tape.pick(&[DType::F32, DType::I32, DType::I64]);
    let operand = |tape: &mut Tape| {
        let kept = full.len() - tape.below(full.len() + 1);
        let shape: Vec<usize> =
            full[full.len() - kept..].iter().map(|&size| if tape.below(3) == 2 { 1 } else { size }).collect();
        small(tape, &shape)
    };
    let mut trial = Trial::new();
    let mut value = operand(tape);
    let mut at = trial.given(value.tensor(dtype));
    for _ in 0..1 + tape.below(3) {
        let other = operand(tape);
        let (op, apply): (_, fn(i64, i64) -> i64) = tape.pick(&[
            ("Add", |x, y| x + y),
            ("Sub", |x, y| x - y),
            ("Mul", |x, y| x * y),
            ("Max", |x, y| x.max(y)),
            ("Min", |x, y| x.min(y)),
        ]);
        let tensor = other.tensor(dtype);
        let there = if tape.below(2) == 1 { trial.constant(tensor) } else { trial.given(tensor) };
        // Either may be the larger one.
        if tape.below(2) == 1 {
            (at, value) = (trial.step(op, vec![], vec![there, at]), zip(&other, &value, apply));
        } else {
            (at, value) = (trial.step(op, vec![], vec![at, there]), zip(&value, &other, apply));
        }
    }
    trial.expected = value.tensor(dtype);
    if tape.below(3) == 2 {
        let other = operand(tape);
        let there = trial.given(other.tensor(dtype));
        trial.step("Less", vec![], vec![at, there]);
        trial.expected = zip(&value, &other, |x, y| i64::from(x < y)).tensor(DType::Bool);
    }
    trial
}

pub fn zip(x: &Array, y: &Array, apply: fn(i64, i64) -> i64) -> Array {
    let rank = x.rank().max(y.rank());
    let padded = |of: &Array| [vec![1; rank - of.rank()], of.shape.clone()].concat();
    let (a, b) = (padded(x), padded(y));
    let shape: Vec<usize> = (0..rank).map(|axis| if a[axis] == 1 { b[axis] } else { a[axis] }).collect();
    let read = |of: &Array, at: &[usize]| {
        let own: Vec<usize> = at[rank - of.rank()..]
            .iter()
            .zip(&of.shape)
            .map(|(&at, &size)| if size == 1 { 0 } else { at })
            .collect();
        of.at(&own)
    };
    Array::build(&shape, |at| apply(read(x, at), read(y, at)))
}
