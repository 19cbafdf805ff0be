//! From planes to pixels: colour of half the resolution is interpolated by a triangle, as libjpeg-turbo does
//! it by default, and YCbCr becomes RGB in fixed point.

use super::frame::Frame;
use super::transform::Plane;
use super::{Pixels, refused};
use crate::error::Result;
use crate::tensor::allocate;

/// The RGB pixels of a frame whose scans were read.
pub(super) fn pixels(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Result<Pixels> {
    if frame.progressive && frame.components.iter().any(|component| component.is_coarse()) {
        return Err(refused("whose scans leave out a part of it"));
    }
    let planes = frame.components.iter().map(Plane::of).collect::<Result<Vec<_>>>()?;
    let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
    // JFIF says YCbCr, then Adobe's segment what it says, then the components' names.
    let plain = match adobe {
        _ if jfif => false,
        Some(transform) => transform == 0,
        None => ids == *b"RGB",
    };
    let (width, height) = (frame.width, frame.height);
    let mut rgb = allocate(width * height * 3)?;
    let mut lines: Vec<Vec<u8>> = vec![vec![]; planes.len()];
    for y in 0..height {
        for ((line, plane), component) in lines.iter_mut().zip(&planes).zip(&frame.components) {
            let coarser = [frame.horizontal / component.horizontal, frame.vertical / component.vertical];
            widened(plane, y, coarser, line);
        }
        match &lines[..] {
            [first, second, third] => {
                for ((&a, &b), &c) in first.iter().zip(second).zip(third).take(width) {
                    rgb.extend_from_slice(&if plain { [a, b, c] } else { to_rgb(a, b, c) });
                }
            }
            _ => rgb.extend(lines[0].iter().take(width).flat_map(|&grey| [grey; 3])),
        }
    }
    Ok((width, height, rgb))
}

/// Row `y` of the picture of a plane that is so many times coarser along each axis.
fn widened(plane: &Plane, y: usize, [across, down]: [usize; 2], line: &mut Vec<u8>) {
    line.clear();
    let row = (y / down) as isize;
    let own = plane.row(row);
    // The other row between which and its own a row of half the resolution lies.
    let other = plane.row(if y.is_multiple_of(2) { row - 1 } else { row + 1 });
    let triangle = plane.width > 2;
    match (across, down) {
        (1, 2) => {
            let bias = 1 + y as u32 % 2;
            line.extend(own.iter().zip(other).map(|(&a, &b)| ((3 * a as u32 + b as u32 + bias) >> 2) as u8));
        }
        (2, 1) if triangle => doubled(own.iter().map(|&a| a as u32), [1, 2], 2, line),
        (2, 2) if triangle => {
            doubled(own.iter().zip(other).map(|(&a, &b)| 3 * a as u32 + b as u32), [8, 7], 4, line)
        }
        _ => line.extend(own.iter().flat_map(|&level| std::iter::repeat_n(level, across))),
    }
}

/// Twice as many results: each number's two lie a quarter to its left and to its right, and have 3 parts of it
/// and 1 of its neighbour on that side; the outermost have 4 of it. `bias` rounds, left and right.
fn doubled(numbers: impl Iterator<Item = u32>, bias: [u32; 2], shift: u32, line: &mut Vec<u8>) {
    let mut numbers = numbers.peekable();
    let mut before = numbers.peek().copied().unwrap_or(0);
    while let Some(own) = numbers.next() {
        let behind = numbers.peek().copied().unwrap_or(own);
        line.push(((3 * own + before + bias[0]) >> shift) as u8);
        line.push(((3 * own + behind + bias[1]) >> shift) as u8);
        before = own;
    }
}

/// A pixel by ITU-R BT.601, each product in 16 bits of fixed point.
fn to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (y as i32, cb as i32 - 128, cr as i32 - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|level| level.clamp(0, 255) as u8)
}
