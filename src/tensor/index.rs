//! Index arithmetic that every backend shares: strides, broadcasting, axes.

use crate::error::{Error, Result};

/// Row-major strides of a shape, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The shape that numpy's broadcasting gives two shapes
/// ([ONNX's description](https://github.com/onnx/onnx/blob/main/docs/Broadcasting.md)).
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size =
        |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(Error::input(format!("the shapes {a:?} and {b:?} don't broadcast"))),
        })
        .collect()
}

/// Strides with which a tensor of shape `from` is read at the coordinates of the broadcast shape `to`: 0
/// where it repeats.
pub fn broadcast_strides<S: Copy + Default>(from: &[usize], own: &[S], to: &[usize]) -> Vec<S> {
    let missing = to.len().saturating_sub(from.len());
    (0..to.len())
        .map(
            |axis| {
                if axis < missing || from[axis - missing] == 1 { S::default() } else { own[axis - missing] }
            },
        )
        .collect()
}

/// Resolves ONNX's negative axes; an error outside [−rank, rank).
pub fn axis(axis: i64, rank: usize) -> Result<usize> {
    let signed = rank as i64;
    let resolved = if axis < 0 { axis.saturating_add(signed) } else { axis };
    if (0..signed).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        Err(Error::model(format!("axis {axis} lies outside a tensor of rank {rank}")))
    }
}

/// Resolves several axes; an error where one comes twice.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut resolved = Vec::with_capacity(list.len());
    for &one in list {
        let one = axis(one, rank)?;
        if resolved.contains(&one) {
            return Err(Error::model(format!("axis {one} is named twice in {list:?}")));
        }
        resolved.push(one);
    }
    Ok(resolved)
}

/// The element of an axis that an index names, negative ones counting from the end.
///
/// Errors: see [`outside`].
pub fn element(index: i64, (axis, size): (usize, usize)) -> Result<usize> {
    let resolved = if index < 0 { index.checked_add_unsigned(size as u64).unwrap_or(-1) } else { index };
    usize::try_from(resolved).ok().filter(|&at| at < size).ok_or_else(|| outside(index, (axis, size), true))
}

/// The error of an index that an axis of so many elements hasn't; `from_end`: negative ones may count from
/// the end.
pub fn outside(index: i64, (axis, size): (usize, usize), from_end: bool) -> Error {
    let error = Error::input(format!(
        "index {index} lies outside axis {axis} of the data, which has {size} elements"
    ));
    if size == 0 {
        error.remedy("leave the indices empty")
    } else if !from_end {
        error.remedy(format!("give numbers that lead to indices from 0 to {}", size - 1))
    } else {
        error.remedy(format!("give indices from -{size} to {}", size - 1))
    }
}

/// Visits the offsets `Σ coordinate · stride` of all coordinates of `shape`, in row-major order, for several
/// sets of strides at once.
///
/// Offsets wrap, so that a negative stride may be given as its two's complement: adding the base takes the
/// wrap back. One odometer instead of a division for each element: the CPU's broadcasting and data movement
/// run on it.
pub struct Odometer<'a, const N: usize> {
    shape: &'a [usize],
    strides: [&'a [usize]; N],
    coordinates: Vec<usize>,
    offsets: [usize; N],
    left: usize,
}

impl<'a, const N: usize> Odometer<'a, N> {
    pub fn new(shape: &'a [usize], strides: [&'a [usize]; N]) -> Self {
        Self {
            shape,
            strides,
            coordinates: vec![0; shape.len()],
            offsets: [0; N],
            left: shape.iter().fold(1, |count, &size| count.saturating_mul(size)),
        }
    }
}

impl<const N: usize> Iterator for Odometer<'_, N> {
    type Item = [usize; N];

    fn next(&mut self) -> Option<[usize; N]> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let here = self.offsets;
        for axis in (0..self.shape.len()).rev() {
            self.coordinates[axis] += 1;
            if self.coordinates[axis] < self.shape[axis] {
                for (offset, strides) in self.offsets.iter_mut().zip(&self.strides) {
                    *offset = offset.wrapping_add(strides[axis]);
                }
                break;
            }
            self.coordinates[axis] = 0;
            for (offset, strides) in self.offsets.iter_mut().zip(&self.strides) {
                *offset = offset.wrapping_sub(strides[axis].wrapping_mul(self.shape[axis] - 1));
            }
        }
        Some(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(broadcast(&[3, 1, 5], &[4, 1]).unwrap(), [3, 4, 5]);
        assert_eq!(broadcast(&[], &[0, 2]).unwrap(), [0, 2]);
        assert!(broadcast(&[2], &[3]).is_err());
        assert_eq!(broadcast_strides(&[4, 1], &[1usize, 1], &[3, 4, 5]), [0, 1, 0]);
    }

    #[test]
    fn the_odometer_visits_a_transpose() {
        let offsets: Vec<_> = Odometer::new(&[2, 3], [&[1, 2]]).map(|[at]| at).collect();
        assert_eq!(offsets, [0, 2, 4, 1, 3, 5]);
        assert_eq!(Odometer::new(&[2, 0], [&[0, 1]]).count(), 0);
        assert_eq!(Odometer::<1>::new(&[], [&[]]).collect::<Vec<_>>(), [[0]]);
    }
}
