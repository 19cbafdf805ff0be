//! Data movement on the CPU: what a view of strides shows, copied densely, in runs or in tiles.

use crate::error::{Error, Result};
use crate::threads::chunks;

/// Elements below which one thread does it all.
const SERIAL: usize = 1 << 15;
/// A side of the square in which two axes change places: both its rows and its columns stay in cache.
const TILE: usize = 16;

/// Copies the element at each coordinate of `shape`, which lies at `Σ coordinate · stride` of `from`, to
/// `to`, row-major.
///
/// Errors where an element lies outside, or `to` has another number of elements.
pub fn strided<T: Copy + Send + Sync>(
    from: &[T],
    shape: &[usize],
    strides: &[usize],
    to: &mut [T],
) -> Result<()> {
    let outside = || Error::internal("a view reaches outside its tensor");
    if shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size)) != Some(to.len()) {
        return Err(outside());
    }
    if to.is_empty() {
        return Ok(());
    }
    let reach = shape
        .iter()
        .zip(strides)
        .try_fold(0usize, |sum, (&size, &stride)| sum.checked_add((size - 1).checked_mul(stride)?));
    if reach.is_none_or(|reach| reach >= from.len()) {
        return Err(outside());
    }
    // Dimensions of one element go; one that continues the next joins it.
    let mut dims: Vec<(usize, usize)> = vec![];
    for (&size, &stride) in shape.iter().zip(strides).filter(|(size, _)| **size != 1) {
        match dims.last_mut() {
            Some(last) if last.1 == size * stride => *last = (last.0 * size, stride),
            _ => dims.push((size, stride)),
        }
    }
    let Some((inner, step)) = dims.pop() else {
        to[0] = from[0];
        return Ok(());
    };
    let offset = |mut row: usize, dims: &[(usize, usize)]| {
        let mut at = 0;
        for &(size, stride) in dims.iter().rev() {
            at += row % size * stride;
            row /= size;
        }
        at
    };
    let parallel = to.len() > SERIAL;
    // The axis whose elements are neighbours in `from` changes places with the last one.
    if step > 1
        && let Some(along) = dims.iter().position(|&(_, stride)| stride == 1)
    {
        let rows = dims[along].0;
        // A slab holds all of that axis and what is inside it.
        let middle: Vec<(usize, usize)> = dims[along + 1..].to_vec();
        let outer = &dims[..along];
        let between: usize = middle.iter().map(|dim| dim.0).product();
        let slab = |index: usize, to: &mut [T]| {
            let base = offset(index, outer);
            for between_index in 0..between {
                let (from, to) =
                    (&from[base + offset(between_index, &middle)..], &mut to[between_index * inner..]);
                turned(from, step, [rows, inner], to, between * inner);
            }
        };
        let size = rows * between * inner;
        if outer.is_empty() && parallel && between == 1 {
            // One plane: bands of its rows.
            let band = rows.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(TILE);
            chunks(to, band * inner, |index, to| {
                let (first, rows) = (index * band, to.len() / inner);
                turned(&from[first..], step, [rows, inner], to, inner);
            });
        } else if parallel {
            chunks(to, size, slab);
        } else {
            to.chunks_exact_mut(size).enumerate().for_each(|(index, to)| slab(index, to));
        }
        return Ok(());
    }
    let row = |index: usize, to: &mut [T]| {
        let from = &from[offset(index, &dims)..];
        match step {
            0 => to.fill(from[0]),
            1 => to.copy_from_slice(&from[..inner]),
            _ => to.iter_mut().enumerate().for_each(|(at, to)| *to = from[at * step]),
        }
    };
    if parallel {
        let at_once = (SERIAL / inner).max(1);
        chunks(to, at_once * inner, |first, to| {
            to.chunks_exact_mut(inner).enumerate().for_each(|(index, to)| row(first * at_once + index, to));
        });
    } else {
        to.chunks_exact_mut(inner).enumerate().for_each(|(index, to)| row(index, to));
    }
    Ok(())
}

/// Rows of `to`, `stride` apart, of the columns of `from`, which are `step` apart: `to[r][c] = from[c][r]`.
///
/// A square is read into memory of its own, line by line: where steps are a power of two, as an image's
/// often are, its lines would drive each other out of the cache between one element and the next.
fn turned<T: Copy>(from: &[T], step: usize, [rows, columns]: [usize; 2], to: &mut [T], stride: usize) {
    let Some(&any) = from.first() else { return };
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            let (height, width) = (TILE.min(rows - row), TILE.min(columns - column));
            if height < TILE || width < TILE {
                for r in row..row + height {
                    for c in column..column + width {
                        to[r * stride + c] = from[c * step + r];
                    }
                }
                continue;
            }
            let mut square = [[any; TILE]; TILE];
            for (c, line) in square.iter_mut().enumerate() {
                line.copy_from_slice(&from[(column + c) * step + row..][..TILE]);
            }
            for r in 0..TILE {
                let to = &mut to[(row + r) * stride + column..][..TILE];
                to.iter_mut().zip(&square).for_each(|(to, line)| *to = line[r]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::index::Odometer;

    #[test]
    fn every_view_is_what_a_walk_finds() {
        let from: Vec<u32> = (0..80_000).collect();
        let views: [(&[usize], &[usize]); 10] = [
            (&[3, 5], &[5, 1]),
            (&[200, 300], &[1, 200]),
            (&[3, 40, 50], &[2000, 1, 40]),
            (&[2, 33, 3, 47], &[4653, 1, 1551, 33]),
            (&[7, 1, 9], &[9, 3, 1]),
            (&[5, 6], &[0, 1]),
            (&[5, 6], &[1, 0]),
            (&[4, 100, 90], &[9000, 90, 1]),
            (&[4, 5, 6], &[2, 31, 8]),
            (&[], &[]),
        ];
        for (shape, strides) in views {
            let mut to = vec![0; shape.iter().product()];
            self::strided(&from, shape, strides, &mut to).unwrap();
            let expected: Vec<u32> = Odometer::new(shape, [strides]).map(|[at]| at as u32).collect();
            assert!(to == expected, "{shape:?} by {strides:?}");
        }
        assert!(strided(&from, &[2], &[80_000], &mut [0; 2]).is_err());
        assert!(strided(&from, &[usize::MAX, 2], &[usize::MAX, 1], &mut [0; 2]).is_err());
    }
}
