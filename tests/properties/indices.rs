//! Elements found by indices, negative ones counting from the end.

use super::array::{Array, Of, Trial};
use super::draw::{Tape, counted};
use sardonyx::ops::Attribute;
use sardonyx::tensor::DType;

fn index_tensor(tape: &mut Tape, shape: &[usize], size: usize) -> Array {
    Array::build(shape, |_| tape.below(2 * size) as i64 - size as i64)
}

fn indices(tape: &mut Tape, trial: &mut Trial, index: &Array) -> Of {
    let tensor = index.tensor(tape.pick(&[DType::I64, DType::I32]));
    if tape.below(2) == 1 { trial.constant(tensor) } else { trial.given(tensor) }
}

fn resolved(index: i64, size: usize) -> usize {
    (if index < 0 { index + size as i64 } else { index }) as usize
}

pub fn gather(tape: &mut Tape) -> Trial {
    let (mut trial, dtype) = (Trial::new(), tape.movable());
    let mut shape = tape.shape(1..=3);
    let axis = tape.below(shape.len());
    shape[axis] = shape[axis].max(1);
    let (value, size) = (counted(&shape), shape[axis]);
    let index_shape = tape.shape(0..=2);
    let index = index_tensor(tape, &index_shape, size);
    let result_shape = [&shape[..axis], &index.shape, &shape[axis + 1..]].concat();
    let result = Array::build(&result_shape, |at| {
        let behind = axis + index.rank();
        let chosen = resolved(index.at(&at[axis..behind]), size);
        value.at(&[&at[..axis], &[chosen], &at[behind..]].concat())
    });
    let data = trial.given(value.tensor(dtype));
    let at = indices(tape, &mut trial, &index);
    let named = if tape.below(2) == 1 { axis as i64 - shape.len() as i64 } else { axis as i64 };
    trial.step("Gather", vec![("axis", Attribute::Int(named))], vec![data, at]);
    trial.expected = result.tensor(dtype);
    trial
}

pub fn gather_elements(tape: &mut Tape) -> Trial {
    let (mut trial, dtype) = (Trial::new(), tape.movable());
    let shape: Vec<usize> = tape.shape(1..=3).into_iter().map(|size| size.max(1)).collect();
    let axis = tape.below(shape.len());
    let value = counted(&shape);
    let index_shape: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(d, &size)| if d == axis { 1 + tape.below(4) } else { 1 + tape.below(size) })
        .collect();
    let index = index_tensor(tape, &index_shape, shape[axis]);
    let result = Array::build(&index_shape, |at| {
        let mut from = at.clone();
        from[axis] = resolved(index.at(at), shape[axis]);
        value.at(&from)
    });
    let data = trial.given(value.tensor(dtype));
    let at = indices(tape, &mut trial, &index);
    trial.step("GatherElements", vec![("axis", Attribute::Int(axis as i64))], vec![data, at]);
    trial.expected = result.tensor(dtype);
    trial
}
