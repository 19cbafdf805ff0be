//! What moves elements: Slice, Pad, Concat, and chains of what only makes new views.

use super::array::{Array, Of, Trial};
use super::draw::{Tape, counted, zip};
use sardonyx::Tensor;
use sardonyx::ops::Attribute;
use sardonyx::tensor::DType;

fn text(value: &str) -> Attribute {
    Attribute::String(value.into())
}
fn ints(list: &[usize]) -> Tensor {
    Tensor::int64s(list.iter().map(|&x| x as i64))
}

/// Where a range of ONNX's Slice begins, ends and steps, by the words of its specification; the indices that
/// it takes.
fn taken(size: usize, start: i64, end: i64, step: i64) -> Vec<usize> {
    let (size, step) = (size as i128, step as i128);
    let from_end = |at: i64| if at < 0 { at as i128 + size } else { at as i128 };
    let (mut at, end) = (from_end(start), from_end(end));
    if size == 0 {
        return vec![];
    }
    at = if step > 0 { at.clamp(0, size) } else { at.clamp(0, size - 1) };
    let end = if step > 0 { end.clamp(0, size) } else { end.clamp(-1, size - 1) };
    let mut list = vec![];
    while if step > 0 { at < end } else { at > end } {
        list.push(at as usize);
        at += step;
    }
    list
}

/// Slices some axes; returns the step's place and the result.
fn sliced(tape: &mut Tape, trial: &mut Trial, at: Of, value: &Array) -> (Of, Array) {
    let axes: Vec<usize> = tape.permutation(value.rank()).into_iter().filter(|_| tape.below(3) > 0).collect();
    let edge = |tape: &mut Tape| {
        tape.pick(&[0, 1, -1, 2, -2, 3, 5, -4, 7, -9, i64::MAX, i64::MIN, i64::MAX - 1, -6])
    };
    let (mut starts, mut ends, mut steps, mut named) = (vec![], vec![], vec![], vec![]);
    let mut kept: Vec<Vec<usize>> = value.shape.iter().map(|&size| (0..size).collect()).collect();
    for &axis in &axes {
        let (start, end, step) =
            (edge(tape), edge(tape), tape.pick(&[1, -1, 2, -2, 3, -3, i64::MAX, i64::MIN]));
        kept[axis] = taken(value.shape[axis], start, end, step);
        starts.push(start);
        ends.push(end);
        steps.push(step);
        named.push(if tape.below(2) == 1 { axis as i64 - value.rank() as i64 } else { axis as i64 });
    }
    let inputs = [starts, ends, named, steps].map(|list| trial.constant(Tensor::int64s(list)));
    let shape: Vec<usize> = kept.iter().map(Vec::len).collect();
    let result = Array::build(&shape, |at| {
        value.at(&at.iter().zip(&kept).map(|(&at, kept)| kept[at]).collect::<Vec<_>>())
    });
    (trial.step("Slice", vec![], [vec![at], inputs.to_vec()].concat()), result)
}

pub fn slice(tape: &mut Tape) -> Trial {
    let (mut trial, value, dtype) = (Trial::new(), counted(&tape.shape(1..=4)), tape.movable());
    let at = trial.given(value.tensor(dtype));
    let (_, result) = sliced(tape, &mut trial, at, &value);
    trial.expected = result.tensor(dtype);
    trial
}

/// Every mode; pads may be negative, longer than the axis, and name their axes.
pub fn pad(tape: &mut Tape) -> Trial {
    let (mut trial, value, dtype) = (Trial::new(), counted(&tape.shape(1..=4)), tape.movable());
    let mode = tape.pick(&["constant", "edge", "reflect", "wrap"]);
    let axes: Vec<usize> = tape.permutation(value.rank()).into_iter().filter(|_| tape.below(3) > 0).collect();
    let mut edges = vec![(0i64, 0i64); value.rank()];
    for &axis in &axes {
        let size = value.shape[axis] as i64;
        let before = tape.pick(&[0, 1, 2, -1, 3, -2, 6]).max(-size);
        let mut after = tape.pick(&[0, 1, 2, -1, 4, -2, 9]).max(-(size + before.min(0)));
        let kept = size + before.min(0) + after.min(0);
        // What is gone can't be repeated.
        let before = if kept == 0 && mode != "constant" { before.min(0) } else { before };
        after = if kept == 0 && mode != "constant" { after.min(0) } else { after };
        edges[axis] = (before, after);
    }
    let fill = (mode == "constant" && tape.below(2) == 1).then_some(1);
    let result = padded(&value, &edges, mode, fill.unwrap_or(0));
    let pads: Vec<i64> =
        axes.iter().map(|&axis| edges[axis].0).chain(axes.iter().map(|&axis| edges[axis].1)).collect();
    let at = trial.given(value.tensor(dtype));
    let pads = trial.constant(Tensor::int64s(pads));
    let fill = fill.map_or(Of::Absent, |fill| {
        let scalar = Array { shape: vec![], data: vec![fill] };
        trial.constant(scalar.tensor(dtype))
    });
    let named = trial.constant(ints(&axes));
    trial.step("Pad", vec![("mode", text(mode))], vec![at, pads, fill, named]);
    trial.expected = result.tensor(dtype);
    trial
}

fn padded(value: &Array, edges: &[(i64, i64)], mode: &str, fill: i64) -> Array {
    let shape: Vec<usize> =
        value.shape.iter().zip(edges).map(|(&size, edge)| (size as i64 + edge.0 + edge.1) as usize).collect();
    // The element that a position repeats, found a step at a time from the first kept one.
    let source = |size: usize, edge: (i64, i64), at: usize| -> Option<usize> {
        let (low, high) = ((-edge.0).max(0), size as i64 - (-edge.1).max(0) - 1);
        let wanted = at as i64 - edge.0;
        if mode == "constant" {
            return (low..=high).contains(&wanted).then_some(wanted as usize);
        }
        let (mut here, mut way) = (low, (wanted - low).signum());
        for _ in 0..(wanted - low).abs() {
            let next = here + way;
            here = match mode {
                _ if (low..=high).contains(&next) => next,
                "edge" => here,
                "wrap" => {
                    if way > 0 {
                        low
                    } else {
                        high
                    }
                }
                _ if low == high => here,
                _ => {
                    way = -way;
                    here + way
                }
            };
        }
        Some(here as usize)
    };
    Array::build(&shape, |at| {
        let from: Option<Vec<usize>> =
            (0..shape.len()).map(|axis| source(value.shape[axis], edges[axis], at[axis])).collect();
        from.map_or(fill, |from| value.at(&from))
    })
}

/// Chains of what only makes new views, then what reads them: nothing (a copy to the host), arithmetic, or
/// Concat.
pub fn views(tape: &mut Tape) -> Trial {
    let (mut trial, mut value) = (Trial::new(), counted(&tape.shape(1..=4)));
    let dtype = tape.pick(&[DType::F32, DType::I32, DType::F16, DType::I64]);
    let mut at = trial.given(value.tensor(dtype));
    for _ in 0..1 + tape.below(4) {
        (at, value) = match tape.below(4) {
            0 => {
                let order = tape.permutation(value.rank());
                let shape: Vec<usize> = order.iter().map(|&axis| value.shape[axis]).collect();
                let perm = Attribute::Ints(order.iter().map(|&axis| axis as i64).collect());
                let back = |at: &Vec<usize>| {
                    let mut from = vec![0; at.len()];
                    order.iter().zip(at).for_each(|(&axis, &at)| from[axis] = at);
                    value.at(&from)
                };
                (trial.step("Transpose", vec![("perm", perm)], vec![at]), Array::build(&shape, back))
            }
            1 => {
                let shape = tape.split(value.data.len());
                let target = trial.constant(ints(&shape));
                let zeros = Attribute::Int(1);
                (
                    trial.step("Reshape", vec![("allowzero", zeros)], vec![at, target]),
                    Array { shape, data: value.data.clone() },
                )
            }
            2 => {
                let shape: Vec<usize> = value
                    .shape
                    .iter()
                    .map(|&size| if size == 1 { 1 + tape.below(3) } else { size })
                    .collect();
                let target = trial.constant(ints(&shape));
                let result = zip(&value, &Array::build(&shape, |_| 0), |x, _| x);
                (trial.step("Expand", vec![], vec![at, target]), result)
            }
            _ => sliced(tape, &mut trial, at, &value),
        };
    }
    match tape.below(3) {
        1 => {
            trial.step("Neg", vec![], vec![at]);
            value.data.iter_mut().for_each(|x| *x = -*x);
        }
        2 if value.rank() > 0 => {
            value = joined(&mut trial, tape, &[(at, value.clone()), (at, value.clone())])
        }
        _ => {}
    }
    trial.expected = value.tensor(dtype);
    trial
}

impl Tape<'_> {
    /// A shape of so many elements.
    fn split(&mut self, count: usize) -> Vec<usize> {
        let (mut left, mut shape) = (count, vec![]);
        for _ in 0..self.below(3) {
            let divisors: Vec<usize> = (1..=left.min(8)).filter(|d| left.is_multiple_of(*d)).collect();
            let divisor = if divisors.is_empty() { 1 } else { self.pick(&divisors) };
            shape.push(divisor);
            left /= divisor;
        }
        let at = self.below(shape.len() + 1);
        shape.insert(at, left);
        shape
    }
}

fn joined(trial: &mut Trial, tape: &mut Tape, parts: &[(Of, Array)]) -> Array {
    let first = &parts[0].1;
    let axis = tape.below(first.rank());
    let named = if tape.below(2) == 1 { axis as i64 - first.rank() as i64 } else { axis as i64 };
    trial.step("Concat", vec![("axis", Attribute::Int(named))], parts.iter().map(|part| part.0).collect());
    let mut shape = first.shape.clone();
    shape[axis] = parts.iter().map(|part| part.1.shape[axis]).sum();
    Array::build(&shape, |at| {
        let mut at = at.clone();
        for (_, part) in parts {
            if at[axis] < part.shape[axis] {
                return part.at(&at);
            }
            at[axis] -= part.shape[axis];
        }
        unreachable!()
    })
}

/// Parts of several sizes, behind each other: rows that share groups of four.
pub fn concat(tape: &mut Tape) -> Trial {
    let (mut trial, dtype) = (Trial::new(), tape.movable());
    let shape = tape.shape(1..=4);
    // The axis is drawn here and there alike: parts differ only along it.
    let axis = tape.below(shape.len());
    let mut parts = vec![];
    for k in 0..1 + tape.below(4) {
        let mut own = shape.clone();
        own[axis] = tape.size();
        let mut part = counted(&own);
        part.data.iter_mut().for_each(|x| *x = (*x + 13 * k as i64) % 101);
        let at = if tape.below(4) == 3 {
            trial.constant(part.tensor(dtype))
        } else {
            trial.given(part.tensor(dtype))
        };
        parts.push((at, part));
    }
    let result = joined(&mut trial, &mut Tape::new(&[axis as u16]), &parts);
    trial.expected = result.tensor(dtype);
    trial
}
