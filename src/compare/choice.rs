//! Positions of what was chosen, where another choice is as good.

use super::bounds::Input;
use crate::error::Result;
use crate::tensor::Tensor;

/// The positions along `axis` of `x` that are wanted, each exchanged for the one that was given where the
/// elements at both lie no further apart than they may be off together. `want` and `got` hold as many
/// positions along the axis as they will.
pub fn as_good(x: &Input, axis: usize, want: &Tensor, got: &Tensor) -> Result<Tensor> {
    let (xs, errors) = (x.value.to_f64s()?, x.errors()?);
    let (wanted, given) = (want.to_i64s()?, got.to_i64s()?);
    let length = x.value.shape().get(axis).copied().unwrap_or(1);
    let after: usize = x.value.shape().iter().skip(axis + 1).product();
    // How many positions lie along the axis: one, where it is reduced.
    let lines = x.value.len() / length.max(1);
    let count = (wanted.len() / lines.max(1)).max(1);
    let element = |at: usize, position: i64| {
        let (outer, inner) = (at / after.max(1) / count, at % after.max(1));
        let position = usize::try_from(position).ok().filter(|&position| position < length)?;
        let at = (outer * length + position) * after + inner;
        Some((*xs.get(at)?, *errors.get(at)?))
    };
    let as_good = |at: usize, want: i64, got: i64| match (element(at, want), element(at, got)) {
        (Some((a, e)), Some((b, f))) => a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= e + f,
        _ => false,
    };
    let chosen = wanted
        .iter()
        .zip(&given)
        .enumerate()
        .map(|(at, (&want, &got))| if as_good(at, want, got) { got } else { want });
    Tensor::new(want.shape(), chosen.collect::<Vec<i64>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_as_good_as_another_within_the_tolerance() {
        let value = Tensor::new([2, 3], vec![1.0, 1.5, 1.0, 4.0, 4.0 + 1e-9, 7.0]).unwrap();
        let x = Input { value, unit: 0.0, apart: 1e-6 };
        let positions = |list: [i64; 2]| Tensor::new([2, 1], list.to_vec()).unwrap();
        let chosen =
            |want, got| as_good(&x, 1, &positions(want), &positions(got)).unwrap().to_i64s().unwrap();
        assert_eq!(chosen([0, 1], [2, 0]), [2, 0]);
        assert_eq!(chosen([1, 2], [0, 0]), [1, 2]);
        assert_eq!(chosen([0, 0], [-1, 3]), [0, 0]);
    }
}
