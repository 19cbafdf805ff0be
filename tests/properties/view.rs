//! `View::reshaped` against a walk over every element: what it gives must visit the same elements in the same
//! order, and where it gives nothing no strides may exist that would.

use super::array::walk;
use super::draw::Tape;
use proptest::prelude::*;
use sardonyx::plan::{BufferId, View};

/// The address of every element, in row-major order.
fn addresses(view: &View) -> Vec<isize> {
    let address = |at: Vec<usize>| {
        at.iter()
            .zip(&view.strides)
            .fold(view.offset as isize, |sum, (&at, stride)| sum + at as isize * stride)
    };
    walk(&view.shape).into_iter().map(address).collect()
}

/// A view of a dense or padded array, permuted, with some axes repeated, thinned out or turned around.
fn drawn(tape: &mut Tape) -> View {
    let shape: Vec<usize> = (0..1 + tape.below(4)).map(|_| 1 + tape.below(4)).collect();
    let mut strides = vec![0isize; shape.len()];
    let mut next = 1isize;
    for axis in (0..shape.len()).rev() {
        strides[axis] = next;
        next *= shape[axis] as isize + tape.pick(&[0, 0, 0, 1]);
    }
    let mut view = View { buffer: BufferId(0), shape, strides, offset: 0 };
    for axis in 0..view.shape.len() {
        match tape.below(8) {
            7 => view.strides[axis] = 0,
            6 => view.strides[axis] *= 2,
            5 => {
                view.offset =
                    (view.offset as isize + (view.shape[axis] as isize - 1) * view.strides[axis]) as usize;
                view.strides[axis] = -view.strides[axis];
            }
            _ => {}
        }
    }
    if tape.below(3) == 2 {
        let mut order: Vec<usize> = (0..view.shape.len()).collect();
        order.rotate_left(tape.below(view.shape.len()));
        view = view.permuted(&order);
    }
    view
}

/// A shape of as many elements as the view's.
fn target(tape: &mut Tape, count: usize) -> Vec<usize> {
    let (mut left, mut shape) = (count, vec![]);
    while left > 1 {
        let divisors: Vec<usize> = (2..=left).filter(|d| left.is_multiple_of(*d)).collect();
        shape.push(tape.pick(&divisors));
        left /= shape[shape.len() - 1];
        if tape.below(4) == 3 {
            shape.push(1);
        }
    }
    shape
}

/// The strides that the first step along each axis asks for, if they fit every element.
fn possible(addresses: &[isize], shape: &[usize]) -> bool {
    let mut strides = vec![0isize; shape.len()];
    let mut step = 1;
    for axis in (0..shape.len()).rev() {
        strides[axis] = if shape[axis] > 1 { addresses[step] - addresses[0] } else { 0 };
        step *= shape[axis];
    }
    let along = |at: Vec<usize>| {
        at.iter().zip(&strides).fold(addresses[0], |sum, (&at, stride)| sum + at as isize * stride)
    };
    walk(shape).into_iter().map(along).eq(addresses.iter().copied())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reshaping_visits_the_same_elements(tape in prop::collection::vec(any::<u16>(), 40)) {
        let mut tape = Tape::new(&tape);
        let view = drawn(&mut tape);
        let shape = target(&mut tape, view.count());
        let all = addresses(&view);
        match view.reshaped(&shape) {
            Some(reshaped) => {
                prop_assert_eq!(&reshaped.shape, &shape);
                prop_assert_eq!(addresses(&reshaped), all, "{:?} as {:?}", view, shape);
            }
            None => prop_assert!(!possible(&all, &shape), "{:?} as {:?}", view, shape),
        }
    }
}
