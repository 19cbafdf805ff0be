//! The ways in which a kernel may divide its work.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// One way for a kernel to divide its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileConfiguration {
    /// Rows or pixels that an invocation makes; with `columns`, those of a tile that a workgroup shares.
    pub tile: u32,
    /// Columns of a tile that passes through workgroup memory; 0 where none does.
    pub columns: u32,
    /// Invocations that share a sum.
    pub slices: u32,
    /// Whether neighbouring workgroups go down the rows instead of along the columns.
    pub down: bool,
    /// Whether subgroups multiply by cooperative matrices.
    pub cooperative: bool,
}

impl TileConfiguration {
    /// One whose invocations work alone.
    pub const fn alone(tile: u32, down: bool) -> Self {
        Self { tile, columns: 0, slices: 1, down, cooperative: false }
    }
}

const DOWN: &str = "-down";
const COOPERATIVE: &str = "-cooperative";

impl fmt::Display for TileConfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tile)?;
        if self.columns > 0 {
            write!(f, "x{}", self.columns)?;
        }
        if self.slices > 1 {
            write!(f, "/{}", self.slices)?;
        }
        f.write_str(if self.down { DOWN } else { "" })?;
        f.write_str(if self.cooperative { COOPERATIVE } else { "" })
    }
}

impl FromStr for TileConfiguration {
    type Err = Error;

    /// `10`, `10-down`, `128x64`, `32x32/4`, `4/16`, `64x64-cooperative`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::usage(format!("'{text}' is not a kernel's variant"))
                .remedy("a variant is written like 8, 10-down, 128x64, 32x32/4 or 64x64-cooperative")
        };
        let number =
            |text: &str| text.parse().ok().filter(|number| (1..=256).contains(number)).ok_or_else(wrong);
        let (rest, cooperative) = text.strip_suffix(COOPERATIVE).map_or((text, false), |rest| (rest, true));
        let (rest, down) = rest.strip_suffix(DOWN).map_or((rest, false), |rest| (rest, true));
        let (rest, slices) =
            rest.split_once('/').map_or(Ok((rest, 1)), |(rest, slices)| Ok((rest, number(slices)?)))?;
        let (tile, columns) =
            rest.split_once('x').map_or(Ok((rest, 0)), |(tile, columns)| Ok((tile, number(columns)?)))?;
        Ok(Self { tile: number(tile)?, columns, slices, down, cooperative })
    }
}

/// The candidates of a kernel: the rule's variant, the other tiles, and the rule's in the other direction
/// where there are two.
pub fn candidates(rule: TileConfiguration, tiles: &[u32], both_ways: bool) -> Vec<TileConfiguration> {
    let others =
        tiles.iter().filter(|tile| **tile != rule.tile).map(|&tile| TileConfiguration { tile, ..rule });
    let turned = both_ways.then_some(TileConfiguration { down: !rule.down, ..rule });
    std::iter::once(rule).chain(others).chain(turned).collect()
}

/// A size that varies from run to run, rounded up to a power of two, so that neighbours share what was
/// measured.
pub fn bucket(size: usize) -> usize {
    size.checked_next_power_of_two().unwrap_or(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_reads_as_it_is_written() {
        for text in ["8", "10-down", "128x64", "32x32/4", "4/16", "64x64-cooperative"] {
            assert_eq!(text.parse::<TileConfiguration>().unwrap().to_string(), text);
        }
        for text in ["", "-down", "0", "257", "x", "8-up", "8x", "x8", "8x0", "8/", "8/0", "8/4x2", "-1"] {
            assert!(text.parse::<TileConfiguration>().is_err(), "{text}");
        }
    }
}
