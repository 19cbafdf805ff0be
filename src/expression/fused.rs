//! A float32 expression over runs of elements: all steps of a run are taken while it is in cache.

use super::table::{Apply, Result_};
use super::{Arg, Pointwise};
use crate::error::Result;
use crate::tensor::index::{broadcast_strides, strides};
use crate::tensor::pool::{self, Floats};
use crate::tensor::{Tensor, element_count};
use crate::threads::chunks;
use std::cell::Cell;

/// Elements of a run that go through all steps together: a few such runs fit the first-level cache.
const RUN: usize = 512;
/// Elements that a thread takes at once.
const CHUNK: usize = 1 << 14;
/// An operand that repeats is spread out where its runs would be shorter than this.
const SHORTEST: usize = 64;

#[derive(Clone, Copy)]
enum Source {
    Operand(usize),
    Step(usize),
    Const(f32),
}

struct FusedStep {
    apply: Apply<f32>,
    args: [Source; 3],
    count: usize,
    /// Whether it raises to a power.
    power: bool,
}

/// A [`Pointwise`] of float32 functions of float32, made ready to run.
pub struct Fused {
    operands: usize,
    parts: Vec<FusedStep>,
}

thread_local! {
    /// Where the results of steps lie while a run is computed.
    static RESULTS: Cell<Vec<[f32; RUN]>> = const { Cell::new(vec![]) };
}

impl Fused {
    /// `None` where a step has another type, its function is none of floats, or it reads what isn't there.
    pub fn of(expression: &Pointwise) -> Option<Self> {
        let part = |(index, step): (usize, &super::Step)| {
            let apply = step.row.float.as_ref().filter(|_| step.row.result == Result_::Same)?.f32;
            let mut args = [Source::Const(0.0); 3];
            for (to, arg) in args.iter_mut().zip(&step.args) {
                *to = match *arg {
                    Arg::Operand(k) if k < expression.operands => Source::Operand(k),
                    Arg::Step(k) if k < index => Source::Step(k),
                    Arg::Operand(_) | Arg::Step(_) => return None,
                    Arg::Const(value) => Source::Const(value as f32),
                };
            }
            let typed = step.args.iter().any(|arg| !matches!(arg, Arg::Const(_)));
            (typed && step.args.len() <= 3).then_some(FusedStep {
                apply,
                args,
                count: step.args.len(),
                power: step.row.name == "Pow",
            })
        };
        let parts = expression.steps.iter().enumerate().map(part).collect::<Option<Vec<_>>>()?;
        (expression.operands > 0 && !parts.is_empty())
            .then_some(Self { operands: expression.operands, parts })
    }

    /// The expression over operands of `out`'s length, or of one element, which repeats.
    pub fn run(&self, operands: &[&[f32]], out: &mut [f32]) {
        let operand = |k: usize, start: usize, length: usize| match operands[k] {
            one if one.len() == 1 => one,
            all => &all[start..start + length],
        };
        self.with_scratch(|scratch| {
            for (index, out) in out.chunks_mut(RUN).enumerate() {
                let length = out.len();
                self.steps(|k| operand(k, index * RUN, length), out, scratch);
            }
        });
    }

    /// The same with `values` as operand 0, replaced by the results; `operands` are those from 1 on.
    pub fn run_in_place(&self, operands: &[&[f32]], values: &mut [f32]) {
        self.with_scratch(|scratch| {
            let Some((first, rest)) = scratch.split_first_mut() else { return };
            for (index, out) in values.chunks_mut(RUN).enumerate() {
                let (start, length) = (index * RUN, out.len());
                first[..length].copy_from_slice(out);
                let first = &first[..length];
                let operand = |k: usize| match k {
                    0 => first,
                    k => match operands[k - 1] {
                        one if one.len() == 1 => one,
                        all => &all[start..start + length],
                    },
                };
                self.steps(operand, out, rest);
            }
        });
    }

    fn with_scratch(&self, work: impl FnOnce(&mut [[f32; RUN]])) {
        let mut scratch = RESULTS.take();
        if scratch.len() <= self.parts.len() {
            scratch.resize(self.parts.len() + 1, [0.0; RUN]);
        }
        work(&mut scratch);
        RESULTS.set(scratch);
    }

    fn steps<'a>(&self, operand: impl Fn(usize) -> &'a [f32], out: &mut [f32], results: &mut [[f32; RUN]]) {
        let length = out.len();
        for (index, part) in self.parts.iter().enumerate() {
            let (done, here) = results.split_at_mut(index);
            let constants = part.args.map(|arg| if let Source::Const(value) = arg { [value] } else { [0.0] });
            let args: [&[f32]; 3] = std::array::from_fn(|k| match part.args[k] {
                Source::Operand(k) => operand(k),
                Source::Step(k) => &done[k][..length],
                Source::Const(_) => &constants[k],
            });
            let to = if index + 1 == self.parts.len() { &mut *out } else { &mut here[0][..length] };
            (part.apply)(&args[..part.count], to);
        }
    }

    /// x² is x · x, whether the exponent is a constant or an operand of one element.
    fn square(&mut self, operands: &[&[f32]]) {
        for part in &mut self.parts {
            let two = match part.args[1] {
                Source::Const(value) => value == 2.0,
                Source::Operand(k) => operands[k] == [2.0],
                Source::Step(_) => false,
            };
            if two && part.power {
                (part.apply, part.args[1]) =
                    (super::table::MUL.float.as_ref().map_or(part.apply, |float| float.f32), part.args[0]);
            }
        }
    }

    /// The expression over tensors of float32 that broadcast to `shape`.
    pub fn eval(mut self, operands: &[&Tensor], shape: &[usize]) -> Result<Tensor> {
        let count = element_count(shape)?;
        let mut out = pool::unset(count)?;
        if count == 0 {
            return Tensor::floats(shape, out);
        }
        let slices = operands
            .iter()
            .take(self.operands)
            .map(|operand| operand.as_slice::<f32>())
            .collect::<Result<Vec<_>>>()?;
        self.square(&slices);
        if let Some(period) = period(operands, shape) {
            self.periodic(&slices, period, &mut out)?;
            return Tensor::floats(shape, out);
        }
        let mut walk = RunWalk::new(operands, shape);
        let spread;
        let mut slices: Vec<&[f32]> = slices;
        if walk.inner < SHORTEST.min(count) {
            spread = operands
                .iter()
                .zip(&slices)
                .map(|(operand, slice)| spread_out(operand, slice, shape))
                .collect::<Result<Vec<_>>>()?;
            slices = slices
                .iter()
                .zip(&spread)
                .map(|(&slice, spread)| spread.as_deref().unwrap_or(slice))
                .collect();
            walk = RunWalk {
                outer: vec![],
                inner: count,
                steps: slices.iter().map(|slice| usize::from(slice.len() > 1)).collect(),
            };
        }
        let rows_at_once = (CHUNK / walk.inner.max(1)).max(1);
        if walk.outer.is_empty() {
            chunks(&mut out, CHUNK, |index, to| {
                let own = index * CHUNK..index * CHUNK + to.len();
                let parts: Vec<&[f32]> = slices
                    .iter()
                    .map(|&slice| if slice.len() == 1 { slice } else { &slice[own.clone()] })
                    .collect();
                self.run(&parts, to);
            });
        } else {
            chunks(&mut out, rows_at_once * walk.inner, |index, to| {
                for (row, to) in to.chunks_exact_mut(walk.inner).enumerate() {
                    let at = walk.offsets(index * rows_at_once + row);
                    let parts =
                        slices.iter().zip(&at).zip(&walk.steps).map(|((slice, &at), &step)| {
                            &slice[at..at + if step == 0 { 1 } else { walk.inner }]
                        });
                    self.run(&parts.collect::<Vec<_>>(), to);
                }
            });
        }
        Tensor::floats(shape, out)
    }
}

impl Fused {
    /// Operands of all elements, of one, or of `period` elements that repeat: those are laid out for a few
    /// repetitions, which then go together.
    fn periodic(&self, slices: &[&[f32]], period: usize, out: &mut [f32]) -> Result<()> {
        let repeated = period * (4 * RUN / period).max(1);
        let mut laid = vec![];
        for slice in slices {
            let mut all = pool::unset(if slice.len() == period && period < out.len() && period > 1 {
                repeated
            } else {
                0
            })?;
            all.chunks_exact_mut(period).for_each(|to| to.copy_from_slice(slice));
            laid.push(all);
        }
        let at_once = repeated * (CHUNK / repeated).max(1);
        chunks(out, at_once, |chunk, to| {
            let mut parts: Vec<&[f32]> = Vec::with_capacity(slices.len());
            for (index, to) in to.chunks_mut(repeated).enumerate() {
                let start = chunk * at_once + index * repeated;
                parts.clear();
                parts.extend(slices.iter().zip(&laid).map(|(&slice, laid)| match slice {
                    [_] => slice,
                    _ if !laid.is_empty() => &laid[..to.len()],
                    _ => &slice[start..start + to.len()],
                }));
                self.run(&parts, to);
            }
        });
        Ok(())
    }
}

/// The number of elements that repeat, where each operand has all elements, one, or those of the last
/// dimensions.
fn period(operands: &[&Tensor], shape: &[usize]) -> Option<usize> {
    let mut found = None;
    for operand in operands {
        let own: Vec<usize> = operand.shape().iter().copied().skip_while(|&size| size == 1).collect();
        if operand.len() == 1 || operand.len() == shape.iter().product::<usize>() {
            continue;
        }
        if !shape.ends_with(&own) || found.is_some_and(|period| period != operand.len()) {
            return None;
        }
        found = Some(operand.len());
    }
    found
}

/// How operands are walked through: runs in which each is contiguous or one element.
struct RunWalk {
    /// Dimensions outside the run: their size and each operand's stride.
    outer: Vec<(usize, Vec<usize>)>,
    inner: usize,
    /// 1 or 0 for each operand.
    steps: Vec<usize>,
}

impl RunWalk {
    fn new(operands: &[&Tensor], shape: &[usize]) -> Self {
        let own: Vec<Vec<usize>> = operands
            .iter()
            .map(|operand| broadcast_strides(operand.shape(), &strides(operand.shape()), shape))
            .collect();
        // From the last dimension outwards: one that continues the next for every operand joins it.
        let mut dims: Vec<(usize, Vec<usize>)> = vec![];
        for axis in (0..shape.len()).rev().filter(|&axis| shape[axis] != 1) {
            let here: Vec<usize> = own.iter().map(|strides| strides[axis]).collect();
            match dims.last_mut() {
                Some((size, strides))
                    if strides.iter().zip(&here).all(|(&inner, &outer)| outer == inner * *size) =>
                {
                    *size *= shape[axis]
                }
                _ => dims.push((shape[axis], here)),
            }
        }
        dims.reverse();
        match dims.pop() {
            Some((inner, steps)) => Self { outer: dims, inner, steps },
            None => Self { outer: vec![], inner: 1, steps: vec![1; operands.len()] },
        }
    }

    fn offsets(&self, mut row: usize) -> Vec<usize> {
        let mut at = vec![0; self.steps.len()];
        for (size, strides) in self.outer.iter().rev() {
            let here = row % size;
            row /= size;
            at.iter_mut().zip(strides).for_each(|(at, stride)| *at += here * stride);
        }
        at
    }
}

/// An operand in the full shape; `None` where it is that already, or has one element.
fn spread_out(operand: &Tensor, from: &[f32], shape: &[usize]) -> Result<Option<Floats>> {
    if from.len() == 1 || operand.shape() == shape {
        return Ok(None);
    }
    let walk = RunWalk::new(&[operand], shape);
    let count = element_count(shape)?;
    if count == from.len() {
        return Ok(None);
    }
    let mut to = pool::unset(count)?;
    for (row, to) in to.chunks_exact_mut(walk.inner.max(1)).enumerate() {
        let at = walk.offsets(row)[0];
        if walk.steps[0] == 0 {
            to.fill(from[at]);
        } else {
            to.copy_from_slice(&from[at..at + to.len()]);
        }
    }
    Ok(Some(to))
}
