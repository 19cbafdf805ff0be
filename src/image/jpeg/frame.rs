//! A picture's sizes and components.

use super::{Bytes, broken, refused};
use crate::error::{Error, Result};
use crate::image::picture::{MAX_BYTES, MAX_SIDE};
use crate::tensor::zeros;

/// A colour's plane, in blocks of 8 × 8 coefficients.
pub(super) struct Component {
    pub id: u8,
    /// How much of the finest resolution it has along each axis.
    pub horizontal: usize,
    pub vertical: usize,
    /// The number of its table of steps, and that table as it stood at the component's first scan.
    pub table: usize,
    pub quantisation: Option<[u16; 64]>,
    /// Its samples.
    pub width: usize,
    pub height: usize,
    /// Blocks in a row, those included that only fill a unit.
    pub columns: usize,
    pub coefficients: Vec<i16>,
    /// The lowest bit that scans have given of each coefficient; −1: none. In the file's order.
    pub given: [i8; 64],
}

pub(super) struct Frame {
    pub progressive: bool,
    pub width: usize,
    pub height: usize,
    /// The finest resolution along each axis.
    pub horizontal: usize,
    pub vertical: usize,
    /// Units of a scan of several components, along each axis.
    pub across: usize,
    pub down: usize,
    pub components: Vec<Component>,
}

impl Frame {
    /// The sizes that a segment states, of a file of so many bytes.
    pub(super) fn read(mut bytes: Bytes<'_>, progressive: bool, file: usize) -> Result<Self> {
        match bytes.u8()? {
            8 => {}
            deep => return Err(refused(&format!("of {deep} bits"))),
        }
        let (height, width, count) = (bytes.u16()?, bytes.u16()?, bytes.u8()?);
        if height == 0 {
            return Err(refused("whose height comes behind it"));
        }
        if width == 0 {
            return Err(broken("without pixels"));
        }
        if !matches!(count, 1 | 3) {
            return Err(refused(&format!("of {count} components")));
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::memory(format!("the picture is too large: {width}x{height} pixels"))
                .remedy("give one with sides up to 16384 pixels"));
        }
        let mut given = vec![];
        for _ in 0..count {
            let (id, [horizontal, vertical], table) = (bytes.u8()?, bytes.halves()?, bytes.u8()?);
            if !(1..=4).contains(&horizontal) || !(1..=4).contains(&vertical) {
                return Err(broken("with a resolution that there isn't"));
            }
            given.push((id, horizontal, vertical, usize::from(table)));
        }
        let finest = |of: fn(&(u8, usize, usize, usize)) -> usize| given.iter().map(of).max().unwrap_or(1);
        let (horizontal, vertical) = (finest(|row| row.1), finest(|row| row.2));
        if given.iter().any(|row| horizontal % row.1 != 0 || vertical % row.2 != 0) {
            return Err(refused("whose resolutions don't divide each other"));
        }
        let (across, down) = (width.div_ceil(8 * horizontal), height.div_ceil(8 * vertical));
        let blocks: usize = given.iter().map(|row| across * row.1 * down * row.2).sum();
        if blocks as u64 * 64 * 2 > MAX_BYTES {
            return Err(Error::memory(format!(
                "the picture of {width}x{height} pixels takes too many bytes"
            ))
            .remedy("give one that takes 512 MiB at most"));
        }
        // A block takes a bit at least; those that only fill a unit aren't always there.
        let own = |row: &(u8, usize, usize, usize)| {
            let [width, height] = [(width * row.1).div_ceil(horizontal), (height * row.2).div_ceil(vertical)];
            width.div_ceil(8) * height.div_ceil(8)
        };
        if given.iter().map(own).sum::<usize>() / 8 > file {
            return Err(broken("that is too short for its sizes"));
        }
        let mut components = vec![];
        for (id, own_horizontal, own_vertical, table) in given {
            let (columns, rows) = (across * own_horizontal, down * own_vertical);
            components.push(Component {
                id,
                horizontal: own_horizontal,
                vertical: own_vertical,
                table,
                quantisation: None,
                width: (width * own_horizontal).div_ceil(horizontal),
                height: (height * own_vertical).div_ceil(vertical),
                columns,
                coefficients: zeros(columns * rows * 64)?,
                given: [-1; 64],
            });
        }
        Ok(Self { progressive, width, height, horizontal, vertical, across, down, components })
    }
}

impl Component {
    /// The coefficients of a block.
    pub(super) fn block(&mut self, row: usize, column: usize) -> Result<&mut [i16; 64]> {
        let at = (row * self.columns + column) * 64;
        let block = self.coefficients.get_mut(at..at + 64).and_then(|block| block.try_into().ok());
        block.ok_or_else(|| broken("with a block outside the picture"))
    }
}
